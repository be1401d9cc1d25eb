"""A user's own folder: pictures, index, palette or colour labels, `classes.txt`.

    my_folder/
      classes.txt            a class a line, `name` or `name red green blue`; line 1 is class 0
      images/  labels/       a label has the name of its image: images/a.jpg, labels/a.png

A label holds class numbers (8-bit grey or palette PNG; `fcn_jax.data.files.pictures` says what else
is read) or, if classes.txt has colours, those; 255 means unlabelled. Colour labels show it as VOC
does, (224, 224, 192), or in the colour of a last line `void red green blue`. Files of classes as
other programs write them are read too: see `fcn_jax.data.files.class_formats`.

Splits are, whichever is there first:

1. lists `train.txt`, `val.txt` and, if wanted, `test.txt`; see `fcn_jax.data.files.lists`. The
   usual other names and forms count as well; see `split_names` and `entries` there.
2. folders `images/train`, `labels/train`, `images/val`, ... or `train/images`, `train/labels`, ...
3. lists in folders below, and JSON files of lists.
4. chance: an image goes to `val` if the hash of its name and the seed says so. More images never
   move those that are there from one split to the other. Not if files or folders seem to say how
   images are split and are not understood: that is a problem.

Names are compared as `fcn_jax.data.files.file_names` says; hidden files and folders do not count.
"""

import dataclasses
import hashlib
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

from fcn_jax.data.files import chance, split_files
from fcn_jax.data.files.classes_txt import CLASS_FILES, Classes, read_classes
from fcn_jax.data.files.file_names import (
    IMAGES,
    LABELS,
    find_folder,
    find_hidden_pictures,
    list_visible,
)
from fcn_jax.data.files.folder_pairs import (
    FolderSplits,
    find_folders_of_splits,
    find_split_folders,
    match,
    read_folders,
    read_folders_of_splits,
)
from fcn_jax.data.files.lists import PairLists
from fcn_jax.data.files.pairs import Pair, PairReader
from fcn_jax.data.files.pictures import read_label_file
from fcn_jax.data.files.problems import (
    MissingFile,
    OnProblem,
    Problem,
    list_folder,
    name_some,
    refuse,
)
from fcn_jax.data.files.survey import Part, Survey
from fcn_jax.data.labels import IGNORE_LABEL, LabelSet
from fcn_jax.data.sets.folder_set import FolderSet
from fcn_jax.errors import UserError

EXPECTED_FILES = """\
  FOLDER/classes.txt                  a class a line: name, or name red green blue
  FOLDER/images/*.jpg                 or .png, .bmp, .tif, .webp
  FOLDER/labels/*.png                 the same names; or images/train, labels/train, images/val, ...
  FOLDER/{train,val}.txt              if you have lists: lines 'image label'
with --config.data.source_dir=FOLDER"""


class Custom(FolderSet):
    """A user's own folder."""

    name = "custom"
    labels = None  # classes.txt names them
    expected_files = EXPECTED_FILES

    def survey(
        self,
        folder: str | Path,
        *,
        on_problem: OnProblem = refuse,
        val_frac: float = 0.2,
        split_seed: int = 0,
    ) -> Survey:
        """Lists what a folder holds.

        Args:
            folder: The user's folder.
            on_problem: Is told of what is missing or cannot be understood.
            val_frac: Share of the images that goes to `val`, where neither lists nor folders say
                which.
            split_seed: Seed of that choice; another one draws another `val`.
        """
        if not 0 < val_frac < 1:
            raise UserError(f"data.val_frac={val_frac} must lie between 0 and 1, such as 0.2")
        source = Path(folder).expanduser().resolve()
        classes = find_classes(source, on_problem=on_problem)
        found = find_pairs(source, on_problem=on_problem, val_frac=val_frac, split_seed=split_seed)
        check_splits(found.pairs, on_problem=on_problem)
        # Without classes every file can still be opened, and every number is accepted.
        labels = LabelSet.in_default_colors([*map(str, range(IGNORE_LABEL))])
        read_pair = PairReader(labels, orient=True)
        if classes:
            labels = classes.labels
            read_label = partial(read_label_file, colors=classes.colors or None)
            read_pair = PairReader(
                labels,
                read_label,
                numbers=classes.numbers,
                void_is_named=classes.names_void,
                orient=True,
            )
        part = Part(
            name=self.name,
            folder=source,
            pairs=found.pairs,
            read_pair=read_pair,
            compare_labels=True,
            meaning=classes.meaning if classes else "",
        )
        survey = self.make_survey(labels, [part], on_problem)
        understood = [classes.understood] if classes and classes.understood else []
        return dataclasses.replace(
            survey,
            split_by=found.split_by,
            left_out=found.left_out,
            remarks=[*understood, *found.remarks, *_find_hidden(source, found.pairs)],
        )


@dataclasses.dataclass(frozen=True)
class Found:
    """The pairs of a folder.

    Attributes:
        pairs: Pairs of each split.
        split_by: What the splits were made by, in words.
        remarks: What somebody should know, in words.
        left_out: Reason why a split is left out, by split.
    """

    pairs: Mapping[str, Sequence[Pair]]
    split_by: str = ""
    remarks: Sequence[str] = ()
    left_out: Mapping[str, str] = dataclasses.field(default_factory=dict)


def find_classes(source: Path, *, on_problem: OnProblem = refuse) -> Classes | None:
    """Reads the folder's classes.txt; nothing if it is missing or has a mistake.

    Without it, the one file of classes that another program is known to call so.
    """
    names = {path.name.casefold(): path for path in list_visible(source)} if source.is_dir() else {}
    files = [names[name] for name in CLASS_FILES if name in names and names[name].is_file()]
    if files and (files[0].name.casefold() == CLASS_FILES[0] or len(files) == 1):
        return read_classes(files[0], on_problem=on_problem)
    if files:
        return on_problem(
            Problem(
                f"{source} holds {name_some([file.name for file in files])}; call the one that "
                f"names the classes {CLASS_FILES[0]}",
                kind="missing classes.txt",
            )
        )
    return on_problem(
        MissingFile(
            f"{source / CLASS_FILES[0]} is missing ({list_folder(source)}); expected\n"
            f"{EXPECTED_FILES}",
            kind="missing classes.txt",
        )
    )


def find_pairs(
    source: Path, *, on_problem: OnProblem = refuse, val_frac: float, split_seed: int
) -> Found:
    """Returns the pairs of each split, by lists, by folders, or by chance."""
    images = find_folder(source, IMAGES, on_problem=on_problem)
    labels = find_folder(source, LABELS, on_problem=on_problem)
    files = split_files.SplitFiles({}, {}, [], [])
    if source.is_dir():
        files = split_files.find_split_files(source, on_problem=on_problem)
    unread = [file for file in files.others if split_files.names_splits(file)]
    if split_files.lie_in(source, files.used):
        return _read_lists(source, images, labels, files, unread, on_problem)
    folders = {}
    if images and labels and any(path.is_dir() for path in list_visible(images)):
        if not files.used or find_split_folders(images, on_problem=on_problem):
            return _by_folders(read_folders(images, labels, on_problem), source, files, unread)
    elif not images and source.is_dir():
        folders = find_folders_of_splits(source, on_problem=on_problem)
    if folders:
        splits = read_folders_of_splits(source, folders, on_problem)
        return _by_folders(splits, source, files, unread)
    if files.used:
        return _read_lists(source, images, labels, files, unread, on_problem)
    for folder, name in ((images, IMAGES[0]), (labels, LABELS[0])):
        if not folder:
            on_problem(
                MissingFile(
                    f"the folder {source / name} is missing ({list_folder(source)}); expected\n"
                    f"{EXPECTED_FILES}",
                    kind="missing folder",
                )
            )
            return Found({})
    pairs = match(images, labels, on_problem)
    remarks = chance.refuse_hints(
        source, images, files.others, [pair.id for pair in pairs], on_problem
    )
    splits = chance.draw_splits(pairs, images, on_problem, val_frac=val_frac, split_seed=split_seed)
    split_by = (
        f"chance: {val_frac:.0%} of the images to val, drawn by their names; write train.txt and "
        "val.txt to choose"
    )
    return Found(splits, split_by, remarks)


def _read_lists(
    source: Path,
    images: Path | None,
    labels: Path | None,
    files: split_files.SplitFiles,
    unread: Sequence[Path],
    on_problem: OnProblem,
) -> Found:
    folders = [folder.name if folder else "" for folder in (images, labels)]
    lists = PairLists(
        source,
        expected_files=EXPECTED_FILES,
        folders=(folders[0] or IMAGES[0], folders[1] or LABELS[0]),
        on_problem=on_problem,
    )
    pairs = lists.read(files.lists) if files.lists else lists.find_table(*files.used, files.table)
    split_by = f"{_join(source, files.used)}"
    return Found(pairs, split_by, split_files.remark_unread(source, unread), lists.left_out)


def _by_folders(
    splits: FolderSplits,
    source: Path,
    files: split_files.SplitFiles,
    unread: Sequence[Path],
) -> Found:
    split_by = f"the folders {_join(source, splits.folders)}"
    remarks = split_files.remark_unread(source, [*files.used, *unread])
    return Found(splits.pairs, split_by, remarks, splits.left_out)


def _join(source: Path, paths: Iterable[Path]) -> str:
    *names, last = (os.path.relpath(path, source) for path in paths)
    return f"{', '.join(names)} and {last}" if names else last


def _find_hidden(source: Path, pairs: Mapping[str, Sequence[Pair]]) -> list[str]:
    """Says which pictures are passed over since they are hidden."""
    parents = {file.parent for found in pairs.values() for pair in found for file in pair[1:]}
    inside = [folder.relative_to(source) for folder in parents if source in folder.parents]
    folders = {source / folder.parts[0] for folder in inside}
    hidden = [
        os.path.relpath(path, source)
        for folder in sorted(folders)
        for path in find_hidden_pictures(folder)
    ]
    return (
        [f"hidden, and passed over with the pictures there: {name_some(hidden)}"] if hidden else []
    )


def check_splits(pairs: Mapping[str, Sequence[Pair]], *, on_problem: OnProblem = refuse) -> None:
    """Refuses images that are in two splits, as the same file or as copies of it."""
    by_size = defaultdict(list)
    for split, listed in pairs.items():
        for pair in listed:
            by_size[pair.image_file.stat().st_size].append((split, pair.image_file))
    for files in by_size.values():
        if len({split for split, _ in files}) < 2:
            continue
        first: dict[bytes, tuple[str, Path]] = {}
        for split, file in files:
            digest = hashlib.sha256(file.read_bytes()).digest()
            there, twin = first.setdefault(digest, (split, file))
            if there != split:
                same = f"is in {there} too" if twin == file else f"is a copy of {twin} in {there}"
                on_problem(
                    Problem(
                        f"{file} of {split} {same}; a score on it would be wrong. Remove one",
                        kind="image in two splits",
                    )
                )


DATA_SET = Custom()
