"""A user's own folder: pictures, index, palette or colour labels, `classes.txt`.

    my_folder/
      classes.txt            a class a line, `name` or `name red green blue`; line 1 is class 0
      images/  labels/       a label has the name of its image: images/a.jpg, labels/a.png

A label holds class numbers (8-bit grey or palette PNG; `fcn_jax.data.files.pictures` says what else
is read) or, if classes.txt has colours, those; 255 means unlabelled. Colour labels show it as VOC
does, (224, 224, 192), or in the colour of a last line `void red green blue`.

Splits are, whichever is there first:

1. lists `train.txt`, `val.txt` and, if wanted, `test.txt`; see `fcn_jax.data.files.lists`.
2. folders `images/train`, `labels/train`, `images/val`, ...
3. chance: an image goes to `val` if the hash of its name and the seed says so. More images never
   move those that are there from one split to the other.
"""

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from fcn_jax.data.files.classes_txt import read_classes
from fcn_jax.data.files.lists import REQUIRED_SPLITS, SPLITS, SUFFIXES, read_pair_lists
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
from fcn_jax.data.labels import IGNORE_LABEL, Color, LabelSet
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
        source = Path(folder).expanduser().resolve()
        classes = find_classes(source, on_problem=on_problem)
        pairs = find_pairs(source, on_problem=on_problem, val_frac=val_frac, split_seed=split_seed)
        check_splits(pairs, on_problem=on_problem)
        # Without classes every file can still be opened, and every number is accepted.
        labels, table = classes or (LabelSet.in_voc_colors([*map(str, range(IGNORE_LABEL))]), {})
        part = Part(
            name=self.name,
            folder=source,
            pairs=pairs,
            read_pair=PairReader(
                labels, partial(read_label_file, colors=table or None), orient=True
            ),
            compare_labels=True,
            meaning=repr(classes),
        )
        return self.make_survey(labels, [part], on_problem)


def find_classes(
    source: Path, *, on_problem: OnProblem = refuse
) -> tuple[LabelSet, dict[Color, int]] | None:
    """Reads the folder's classes.txt; nothing if it is missing or has a mistake."""
    file = source / "classes.txt"
    if file.is_file():
        return read_classes(file, on_problem=on_problem)
    return on_problem(
        MissingFile(
            f"{file} is missing ({list_folder(source)}); expected\n{EXPECTED_FILES}",
            kind="missing classes.txt",
        )
    )


def find_pairs(
    source: Path, *, on_problem: OnProblem = refuse, val_frac: float, split_seed: int
) -> dict[str, list[Pair]]:
    """Returns the pairs of each split, by lists, by folders, or by chance."""
    if not 0 < val_frac < 1:
        raise UserError(f"data.val_frac={val_frac} must lie between 0 and 1, such as 0.2")
    if any((source / f"{split}.txt").is_file() for split in SPLITS):
        return read_pair_lists(source, on_problem=on_problem, expected_files=EXPECTED_FILES)
    images, labels = source / "images", source / "labels"
    for folder in (images, labels):
        if not folder.is_dir():
            on_problem(
                MissingFile(
                    f"the folder {folder} is missing ({list_folder(source)}); expected\n"
                    f"{EXPECTED_FILES}",
                    kind="missing folder",
                )
            )
            return {}
    below = {path.name for path in images.iterdir() if path.is_dir()}
    if below:
        return _read_folders(images, labels, below, on_problem)
    pairs = _match(images, labels, on_problem)
    splits: dict[str, list[Pair]] = {split: [] for split in REQUIRED_SPLITS}
    for pair in pairs:
        splits["val" if draw(pair.id, split_seed) < val_frac else "train"].append(pair)
    for split in REQUIRED_SPLITS:
        if pairs and not splits[split]:
            on_problem(
                Problem(
                    f"none of the {len(pairs)} images of {images} falls into {split} with "
                    f"val_frac={val_frac} and split_seed={split_seed}; choose others "
                    "(--config.data.split_seed=1), or write train.txt and val.txt",
                    kind="empty split",
                )
            )
    return splits


def draw(name: str, seed: int) -> float:
    """Returns a number in [0, 1) that depends on the name and the seed alone."""
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def _read_folders(
    images: Path, labels: Path, below: set[str], on_problem: OnProblem
) -> dict[str, list[Pair]]:
    files = [path.name for path in sorted(images.iterdir()) if path.suffix.lower() in SUFFIXES]
    if unknown := sorted(below - set(SPLITS)):
        on_problem(
            Problem(
                f"{images} holds the folders {name_some(unknown)}; expected none, or those of the "
                f"splits: {', '.join(SPLITS)}. Other folders need lists, train.txt and val.txt",
                kind="unknown folder",
            )
        )
    elif files:
        on_problem(
            Problem(
                f"{images} holds folders of splits and, beside them, {name_some(files)}; put every "
                "image into the folder of its split",
                kind="image outside the splits",
            )
        )
    splits = {}
    for split in SPLITS:
        if split not in below and split not in REQUIRED_SPLITS:
            continue
        for folder in (images / split, labels / split):
            if not folder.is_dir():
                on_problem(
                    MissingFile(
                        f"the folder {folder} is missing; expected images/train, labels/train, "
                        "images/val, labels/val",
                        kind="missing folder",
                    )
                )
                break
        else:
            splits[split] = _match(images / split, labels / split, on_problem)
    return splits


def _match(images: Path, labels: Path, on_problem: OnProblem) -> list[Pair]:
    """Pairs the pictures of two folders by their names without suffix."""
    image_files = _list_pictures(images, on_problem)
    label_files = _list_pictures(labels, on_problem)
    if not image_files:
        on_problem(
            MissingFile(
                f"{images} holds no picture ({list_folder(images)}); expected "
                f"*{' *'.join(SUFFIXES)}",
                kind="empty folder",
            )
        )
    unmatched = [
        (file, "label", labels) for name, file in image_files.items() if name not in label_files
    ]
    unmatched += [
        (file, "image", images) for name, file in label_files.items() if name not in image_files
    ]
    for file, partner, folder in unmatched:
        on_problem(
            MissingFile(
                f"{file} has no {partner}: expected {file.stem} with a suffix of a picture in "
                f"{folder} ({list_folder(folder)})",
                kind="image without label" if partner == "label" else "label without image",
            )
        )
    return [
        Pair(name, image_files[name], label_files[name])
        for name in image_files
        if name in label_files
    ]


def _list_pictures(folder: Path, on_problem: OnProblem) -> dict[str, Path]:
    """Returns the pictures of a folder by name, sorted; hidden and other files are passed over."""
    pictures: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.suffix.lower() not in SUFFIXES:
            continue
        if not _is_text(path.name):
            on_problem(
                Problem(f"the name of {str(path)!a} is no UTF-8 text; rename it", kind="file name")
            )
        elif not path.is_file():
            on_problem(MissingFile(f"{path} is no file (a broken link?)", kind="missing file"))
        elif path.stem in pictures:
            on_problem(
                Problem(
                    f"{path} and {pictures[path.stem].name} have the same name; remove one",
                    kind="two files of one name",
                )
            )
        else:
            pictures[path.stem] = path
    return pictures


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


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
