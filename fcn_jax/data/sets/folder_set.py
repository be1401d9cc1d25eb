"""Lists of ids with two files for each, an image and its label, as a TFDS data set.

Nothing is downloaded: the folders are the user's, as the archives unpack, and a part of them will
do. A `Layout` says where the files of one such set are and how its labels are read;
`fcn_jax.data.sets.splits` makes the splits of papers from the lists of one or several.
"""

import dataclasses
import functools
import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import tensorflow_datasets as tfds

from fcn_jax.data.files.pairs import Pair, PairReader
from fcn_jax.data.files.pictures import LabelFile
from fcn_jax.data.files.problems import MissingFile, OnProblem, Problem, refuse
from fcn_jax.data.labels import LabelSet
from fcn_jax.data.sets.records import FolderConfig, RecordBuilder, encode_pair

Table = Mapping[int, int]  # the label of each value in the files


@dataclasses.dataclass(frozen=True)
class Layout:
    """Where the files of an id are, and how its label is read.

    Args:
      title: what people call the data set.
      expected_files: the tree of files, for messages.
      places: where its folder may be, seen from source_dir; the last part is the folder's name.
      lists, images, labels: files in that folder, with {} for the split or the id.
      read_label: takes the table too, if there is `read_table`.
      read_table: for labels whose values are explained by files of the folder.
      splits: the lists that must be there.
      subsets: lists that may lie beside them.
      hash_labels: whether builds are told apart by the content of labels, not by their size alone.
    """

    title: str
    label_set: LabelSet
    expected_files: str
    places: tuple[str, ...]
    lists: str
    images: str
    labels: str
    read_label: Callable[..., LabelFile]
    read_table: Callable[[Path, OnProblem], Table] | None = None
    splits: tuple[str, ...] = ("train", "val")
    subsets: tuple[str, ...] = ()
    hash_labels: bool = False

    def find(self, source_dir: Path) -> Path | None:
        """Returns the folder: `source_dir` itself, or one below it; None if there is none."""
        folders = [source_dir / place for place in self.places]
        if source_dir.name == folders[0].name:
            folders.insert(0, source_dir)
        for folder in folders:
            if any((folder / files).parent.is_dir() for files in (self.images, self.labels)):
                return folder
        return None

    def find_table(self, folder: Path, on_problem: OnProblem = refuse) -> Table:
        """Returns what the files of the folder say about label values; empty if nothing has to."""
        return self.read_table(folder, on_problem) if self.read_table else {}

    def make_reader(self, table: Table) -> PairReader:
        """Returns what reads the two files of an id."""
        read_label = self.read_label
        if self.read_table:
            read_label = functools.partial(read_label, table=table)
        return PairReader(self.label_set, read_label)

    def find_pair(self, folder: Path, name: str) -> Pair:
        """Returns where the files of an id are, if they are."""
        return Pair(name, folder / self.images.format(name), folder / self.labels.format(name))


@dataclasses.dataclass(eq=False)
class ListedConfig(FolderConfig):
    """A folder and the ids of its splits; the name is their fingerprint.

    Args:
      subsets: ids of further lists, some of which the splits hold.
      table: as in `Layout.find_table`; empty if the data set is read where it was built.
    """

    ids: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)
    subsets: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)
    table: Table = dataclasses.field(default_factory=dict)


class ListedBuilder(RecordBuilder, skip_registration=True):
    """The TFDS builder of a layout."""

    layout: ClassVar[Layout]
    VERSION = tfds.core.Version("1.0.0")  # raise it when the records change

    def _info(self) -> tfds.core.DatasetInfo:
        config = self.builder_config
        return self.make_info(
            self.layout.label_set,
            f"Images and class labels of {self.layout.title}.",
            source_dir=config.source_dir,
            ids=config.ids,
            subsets=config.subsets,
        )

    def list_items(self) -> Mapping[str, Sequence[str]]:
        return self.builder_config.ids

    def make_record(self, split: str, item: str) -> dict[str, str | bytes]:
        config = self.builder_config
        pair = self.layout.find_pair(Path(config.source_dir), item)
        return encode_pair(pair, self.layout.make_reader(config.table)(pair))


def make_config(layout: Layout, folder: Path) -> ListedConfig:
    """Returns the builder config of a folder; its name changes when the folder's content does.

    The fingerprint covers the lists id by id, the images by size, and the labels by size or byte by
    byte, as the layout says.

    Raises:
      MissingFile: if a list, or a file of an id, is missing.
      Problem: if a list cannot be understood.
    """
    fingerprint = hashlib.sha256()
    table = layout.find_table(folder)
    fingerprint.update(repr(sorted(table.items())).encode() if table else b"")
    lists = read_lists(layout, folder)
    for split, pairs in lists.items():
        for name, image_file, label_file in pairs:
            entry = [split, name, image_file.stat().st_size, label_file.stat().st_size]
            fingerprint.update(repr(entry).encode())
            if layout.hash_labels:
                fingerprint.update(hashlib.sha256(label_file.read_bytes()).digest())
    subsets = read_subsets(layout, folder)
    fingerprint.update(repr(subsets).encode() if subsets else b"")
    return ListedConfig(
        name=fingerprint.hexdigest()[:16],
        source_dir=os.fspath(folder),
        ids={split: [pair.id for pair in pairs] for split, pairs in lists.items()},
        subsets=subsets,
        table=table,
        description=f"Files of {folder}",
    )


def read_lists(
    layout: Layout, folder: Path, on_problem: OnProblem = refuse
) -> dict[str, list[Pair]]:
    """Returns the pairs of each split."""
    there = {}
    for kind, files in (("image", layout.images), ("label", layout.labels)):
        parent = (folder / files).parent
        there[kind] = parent.is_dir()
        if not there[kind]:  # said once, not for each id
            on_problem(
                MissingFile(
                    f"the folder {parent} with the {kind}s of {layout.title} is missing; expected\n"
                    f"{layout.expected_files}",
                    kind="missing folder",
                )
            )
    lists = {}
    for split in layout.splits:
        list_file = folder / layout.lists.format(split)
        lists[split] = []
        if not list_file.is_file():
            on_problem(
                MissingFile(
                    f"the list {list_file} is missing; expected\n{layout.expected_files}",
                    kind="missing list",
                )
            )
            continue
        for name in read_ids(list_file, on_problem):
            pair = layout.find_pair(folder, name)
            missing = [
                (kind, file)
                for kind, file in (("image", pair.image_file), ("label", pair.label_file))
                if not file.is_file()
            ]
            for kind, file in missing:
                if there[kind]:
                    on_problem(
                        MissingFile(
                            f"{list_file} lists {name}, but its {kind} {file} is missing",
                            kind="missing file",
                        )
                    )
            if not missing:
                lists[split].append(pair)
    return lists


def read_subsets(
    layout: Layout, folder: Path, on_problem: OnProblem = refuse
) -> dict[str, list[str]]:
    """Returns the ids of the further lists that lie beside those of the splits."""
    files = {name: folder / layout.lists.format(name) for name in layout.subsets}
    return {name: read_ids(file, on_problem) for name, file in files.items() if file.is_file()}


def read_ids(list_file: Path, on_problem: OnProblem = refuse) -> list[str]:
    """Reads a list with one id per line; empty lines and spaces around an id do not count.

    A problem is a list that is empty, a line with more than an id, an id listed twice.
    """
    first_seen: dict[str, int] = {}
    lines = list_file.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    for number, line in enumerate(lines, start=1):
        words = line.split()
        if len(words) > 1:
            on_problem(
                Problem(
                    f"{list_file}, line {number}: expected one id, got {line.strip()!r}; the lists "
                    "for segmentation name one image per line",
                    kind="line of a list",
                )
            )
        elif words and words[0] in first_seen:
            on_problem(
                Problem(
                    f"{list_file}, line {number}: {words[0]} is listed twice "
                    f"(first on line {first_seen[words[0]]}); remove one of the lines",
                    kind="file listed twice",
                )
            )
        elif words:
            first_seen[words[0]] = number
    if not first_seen:
        on_problem(
            Problem(f"{list_file} lists no image; expected one id per line", kind="empty list")
        )
    return list(first_seen)
