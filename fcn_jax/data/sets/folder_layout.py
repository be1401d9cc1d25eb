"""Where the files of a part of a published data set lie: its lists, images and labels."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from pathlib import Path

from fcn_jax.data.files.lists import read_ids
from fcn_jax.data.files.pairs import Pair, PairReader
from fcn_jax.data.files.pictures import LabelFile
from fcn_jax.data.files.problems import MissingFile, OnProblem, refuse
from fcn_jax.data.files.survey import Part
from fcn_jax.data.labels import LabelSet

Table = Mapping[int, int]  # the label of each value in the files


@dataclasses.dataclass(frozen=True)
class FolderLayout:
    """Where the files of an id are, and how its label is read.

    Attributes:
        name: Name of the part.
        title: What people call it.
        places: Where its folder may be, seen from source_dir; the last one's name is the folder's.
        lists: Text files of ids in that folder, with {} for the name of the list.
        images: Image files in that folder, with {} for the id.
        label_files: Label files in that folder, with {} for the id.
        read_label: Reader of a label file; it takes the table too, if there is `read_table`.
        read_table: Reader of the table, for labels whose values files of the folder explain.
        list_names: Names of the lists that must be there, and between them name every image.
        subsets: Names of lists of some of these images, which may lie beside them.
    """

    name: str
    title: str
    places: tuple[str, ...]
    lists: str
    images: str
    label_files: str
    read_label: Callable[..., LabelFile]
    read_table: Callable[[Path, OnProblem], Table] | None = None
    list_names: tuple[str, ...] = ("train", "val")
    subsets: tuple[str, ...] = ()

    def find(self, source_dir: Path) -> Path | None:
        """Returns the folder: `source_dir` itself, or one below it; None if there is none."""
        folders = [source_dir / place for place in self.places]
        if source_dir.name == folders[0].name:
            folders.insert(0, source_dir)
        for folder in folders:
            if any((folder / files).parent.is_dir() for files in (self.images, self.label_files)):
                return folder
        return None

    def survey(
        self, folder: Path, labels: LabelSet, expected_files: str, *, on_problem: OnProblem = refuse
    ) -> Part:
        """Lists what the folder holds."""
        table, read_label = {}, self.read_label
        if self.read_table:
            table = self.read_table(folder, on_problem=on_problem)
            read_label = functools.partial(read_label, table=table)
        pairs = self._read_lists(folder, expected_files, on_problem)
        subsets = {name: folder / self.lists.format(name) for name in self.subsets}
        return Part(
            name=self.name,
            folder=folder,
            pairs=pairs,
            read_pair=PairReader(labels, read_label),
            subsets={
                name: read_ids(file, on_problem=on_problem)
                for name, file in subsets.items()
                if file.is_file()
            },
            meaning=repr(sorted(table.items())),
        )

    def _read_lists(
        self, folder: Path, expected_files: str, on_problem: OnProblem
    ) -> dict[str, list[Pair]]:
        there = {}
        for kind, files in (("image", self.images), ("label", self.label_files)):
            parent = (folder / files).parent
            there[kind] = parent.is_dir()
            if not there[kind]:  # said once, not for each id
                on_problem(
                    MissingFile(
                        f"the folder {parent} with the {kind}s of {self.title} is missing; "
                        f"expected\n{expected_files}",
                        kind="missing folder",
                    )
                )
        lists: dict[str, list[Pair]] = {listed: [] for listed in self.list_names}
        for listed, pairs in lists.items():
            list_file = folder / self.lists.format(listed)
            if not list_file.is_file():
                on_problem(
                    MissingFile(
                        f"the list {list_file} is missing; expected\n{expected_files}",
                        kind="missing list",
                    )
                )
                continue
            for name in read_ids(list_file, on_problem=on_problem):
                pair = Pair(
                    name, folder / self.images.format(name), folder / self.label_files.format(name)
                )
                files = {"image": pair.image_file, "label": pair.label_file}
                missing = {kind: file for kind, file in files.items() if not file.is_file()}
                for kind, file in missing.items():
                    if there[kind]:
                        on_problem(
                            MissingFile(
                                f"{list_file} lists {name}, but its {kind} {file} is missing",
                                kind="missing file",
                            )
                        )
                if not missing:
                    pairs.append(pair)
        return lists
