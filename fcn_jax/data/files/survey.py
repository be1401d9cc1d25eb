"""What a user's folder holds before it is built: pairs of files in lists, and the splits they make.

A build and `check_data` look at a folder through the same survey, so they cannot disagree.
"""

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from fcn_jax.data.files.consistency import Consistency
from fcn_jax.data.files.digests import Digests
from fcn_jax.data.files.pairs import Pair, PairReader
from fcn_jax.data.labels import LabelSet

Place = tuple[str, int]  # of a pair: the name "part/list" of its list, and its index in that


@dataclasses.dataclass(frozen=True)
class Part:
    """Lists of pairs that are built together.

    Attributes:
        name: Name of what is built from it.
        folder: Folder of the user's that the files are in.
        pairs: Pairs of each list.
        read_pair: Reader of the pairs.
        subsets: Ids of further lists, which name images of the others.
        compare_labels: Whether labels are looked at together too, as `Consistency` does.
        meaning: Text that says whatever else of the folder the records depend on.
    """

    name: str
    folder: Path
    pairs: Mapping[str, Sequence[Pair]]
    read_pair: PairReader
    subsets: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)
    compare_labels: bool = False
    meaning: str = ""

    @property
    def ids(self) -> dict[str, list[str]]:
        """Ids of each list."""
        return {name: [pair.id for pair in pairs] for name, pairs in self.pairs.items()}

    def make_consistency(self) -> Consistency | None:
        """Returns what looks at labels together, if that is wanted."""
        if not self.compare_labels:
            return None
        return Consistency(self.read_pair.labels, void_is_named=self.read_pair.void_is_named)

    def fingerprint(self, digests: Digests) -> str:
        """Returns 16 hexadecimal digits of all that the records are made from.

        It is the same policy for every data set: ids in the order of their lists, images and labels
        byte by byte, and what else decides on the meaning of labels. Paths and times do not count:
        a folder that was moved or copied is the same data set, and a file that was replaced by
        another of the same size, within the same second, makes another one.
        """
        digest = hashlib.sha256(self.meaning.encode())
        files = [file for pairs in self.pairs.values() for pair in pairs for file in pair[1:]]
        found = digests.read(files)
        for name, pairs in self.pairs.items():
            for pair in pairs:
                entry = (name, pair.id, found[pair.image_file], found[pair.label_file])
                digest.update(repr(entry).encode())
        digest.update(repr({name: list(ids) for name, ids in self.subsets.items()}).encode())
        return digest.hexdigest()[:16]


@dataclasses.dataclass(frozen=True)
class Survey:
    """What a folder holds, as far as names and lists say.

    Attributes:
        labels: Classes of the data set.
        parts: What is built, each by itself.
        splits: Places of the pairs of each split.
        ids_are_global: Whether an id means the same photograph in every list.
        split_by: What the splits were made by, in words.
        left_out: Reason why a split is left out, by split.
        remarks: What somebody should know, in words.
    """

    labels: LabelSet
    parts: Sequence[Part]
    splits: Mapping[str, Sequence[Place]]
    ids_are_global: bool = False
    split_by: str = ""
    left_out: Mapping[str, str] = dataclasses.field(default_factory=dict)
    remarks: Sequence[str] = ()

    def list_remarks(self) -> list[str]:
        """Returns all remarks, also those on what was left out."""
        left_out = [f"{split} is left out: {reason}" for split, reason in self.left_out.items()]
        return [*self.remarks, *left_out]
