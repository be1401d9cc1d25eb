"""A data set as everybody else sees it: its classes, its splits, and the pairs of a split."""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fcn_jax.data.files.consistency import find_lack
from fcn_jax.data.labels import LabelSet
from fcn_jax.data.source import Source
from fcn_jax.errors import MissingError, UserError, counted


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A data set: its classes, its splits, and random access to the pairs of a split.

    Attributes:
        name: Name that users call it by.
        labels: Its classes.
        splits: Names of its splits.
        builder: Reader of the pairs: `builder.source(split)`; `builder.find_folders()` returns the
            folders of the built files that were read so far.
        missing: Reason why it lacks a split that it could have, by split.
        ids: Ids of the images of splits that may have some in common.
        fingerprint: Hexadecimal digits that tell it from the same data set with other content; they
            do not depend on where files lie, nor on the classes that are selected.
        split_by: What the splits were made by, in words.
        remarks: What somebody should know of the files, in words.
    """

    name: str
    labels: LabelSet
    splits: tuple[str, ...]
    builder: Any = dataclasses.field(repr=False)
    missing: Mapping[str, str] = dataclasses.field(default_factory=dict, repr=False)
    ids: Mapping[str, Collection[str]] = dataclasses.field(default_factory=dict, repr=False)
    fingerprint: str = ""
    split_by: str = ""
    remarks: Sequence[str] = dataclasses.field(default=(), repr=False)

    def source(self, split: str) -> Source:
        """Returns the pairs of a split in fixed order: `len(source)`, `source[i]`.

        `source[i]` is {"id": str, "image": uint8 [h, w, 3] RGB, "label": uint8 [h, w]}.
        """
        self.check_split(split)
        return self.builder.source(split)

    def check_split(self, split: str) -> None:
        """Raises UserError unless there is such a split; builds nothing."""
        if split in self.missing:
            raise MissingError(self.missing[split])
        if split not in self.splits:
            raise UserError(
                f"data set {self.name!r} has no split {split!r}; it has {list(self.splits)}"
            )

    def check_classes(self, split: str) -> None:
        """Refuses a split whose labels hold fewer than two classes: no score could be wrong.

        Looks at labels until there are two.
        """
        source, counts = self.source(split), np.zeros(256, np.int64)
        for index in range(len(source)):
            counts += np.bincount(source[index]["label"].ravel(), minlength=256)
            if np.count_nonzero(counts[: self.labels.num_classes]) > 1:
                return
        if problem := find_lack(split, len(source), counts, self.labels):
            raise problem

    def find_shared(self, trained: str, scored: str) -> str:
        """Says which images of `scored` were trained on; '' if none, or if it is the same split."""
        shared = {*self.ids.get(trained, ())} & {*self.ids.get(scored, ())}
        if trained == scored or not shared:
            return ""
        free = [name for name, ids in self.ids.items() if {*ids}.isdisjoint(self.ids[trained])]
        return (
            f"{scored} shares {counted(len(shared), 'image')}, such as {min(shared)}, with "
            f"{trained}, "
            f"which is trained on; splits that share none: {', '.join(free) or 'none'}"
        )

    def select(self, classes: Sequence[str]) -> "Dataset":
        """Returns the same images with these classes only; pixels of all others become void."""
        labels = self.labels.select(classes)
        reader = _Relabelled(self.builder, labels.table_from(self.labels))
        return dataclasses.replace(self, labels=labels, builder=reader)

    def find_folders(self) -> list[Path]:
        """Returns the folders of the built files that were read so far."""
        return self.builder.find_folders()


@dataclasses.dataclass(frozen=True)
class _Relabelled:
    builder: Any
    table: bytes

    def source(self, split: str) -> "_RelabelledSource":
        return _RelabelledSource(self.builder.source(split), self.table)

    def find_folders(self) -> list[Path]:
        return self.builder.find_folders()


class _RelabelledSource(Sequence):
    """The pairs of another source with every label value `v` replaced by `table[v]`."""

    def __init__(self, source: Source, table: bytes):
        self._source, self._table = source, np.frombuffer(table, np.uint8)

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> dict[str, Any]:
        record = self._source[index]
        return {**record, "label": self._table[record["label"]]}
