"""A user's own folder as a TFDS data set: pictures, index, palette or colour labels, `classes.txt`.

    my_folder/
      classes.txt            a class a line, `name` or `name red green blue`; line 1 is class 0
      images/  labels/       a label has the name of its image: images/a.jpg, labels/a.png

A label holds class numbers (8-bit grey or palette PNG) or, if classes.txt has colours, those; 255
means unlabelled. Colour labels show it as VOC does, (224, 224, 192), or in the colour of a last
line `void red green blue`.

How the images fall into splits says `custom_pairs`.
"""

import dataclasses
import hashlib
import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import tensorflow_datasets as tfds

from fcn_jax.data.files.classes_txt import IGNORE_LABEL, make_labels, read_classes
from fcn_jax.data.files.lists import EXPECTED_FILES
from fcn_jax.data.files.pairs import Consistency, Pair, PairReader, Survey
from fcn_jax.data.files.pictures import Color, read_label_file
from fcn_jax.data.files.problems import MissingFile, OnProblem, list_folder, refuse
from fcn_jax.data.labels import LabelSet
from fcn_jax.data.sets.custom_pairs import check_splits, find_pairs
from fcn_jax.data.sets.records import FolderConfig, RecordBuilder, encode_pair


@dataclasses.dataclass(eq=False)
class CustomConfig(FolderConfig):
    """A folder, its classes, and its pairs; the name is their fingerprint.

    Args:
      pairs: of each split; empty if the data set is read where it was built.
    """

    names: Sequence[str] = ()
    colors: Sequence[Color] = ()
    table: Mapping[Color, int] = dataclasses.field(default_factory=dict)
    pairs: Mapping[str, Sequence[Pair]] = dataclasses.field(default_factory=dict)

    @property
    def labels(self) -> LabelSet:
        """The classes of classes.txt."""
        return LabelSet(tuple(self.names), tuple(map(tuple, self.colors)), IGNORE_LABEL)


class Custom(RecordBuilder):
    """A user's own folder."""

    name = "custom"
    VERSION = tfds.core.Version("1.0.0")  # raise it when the records change

    def _info(self) -> tfds.core.DatasetInfo:
        config = self.builder_config
        return self.make_info(
            config.labels,
            "A user's own folder.",
            source_dir=config.source_dir,
            names=config.names,
            colors=config.colors,
        )

    def list_items(self) -> dict[str, list[tuple[Pair, bool]]]:
        config = self.builder_config
        self._read_pair = make_reader(config.labels, config.table)
        self._consistency = Consistency(config.labels)
        items = {split: [(pair, False) for pair in pairs] for split, pairs in config.pairs.items()}
        *_, last = items.values()
        last[-1] = (last[-1][0], True)
        return items

    def make_record(self, split: str, item: tuple[Pair, bool]) -> dict[str, str | bytes]:
        pair, is_last = item
        reading = self._read_pair(pair)
        self._consistency.add(pair.label_file, reading.counts, reading.label.palette)
        if is_last:
            self._consistency.finish()
        return encode_pair(pair, reading)


def make_reader(labels: LabelSet, table: Mapping[Color, int]) -> PairReader:
    """Returns the reader of a folder's pairs.

    Args:
      table: the number of each colour; empty if classes.txt has none.
    """
    return PairReader(labels, partial(read_label_file, colors=table or None), orient=True)


def find_classes(
    source: Path, on_problem: OnProblem = refuse
) -> tuple[LabelSet, dict[Color, int]] | None:
    """Reads the folder's classes.txt; nothing if it is missing or has a mistake."""
    file = source / "classes.txt"
    if file.is_file():
        return read_classes(file, on_problem)
    return on_problem(
        MissingFile(
            f"{file} is missing ({list_folder(source)}); expected\n{EXPECTED_FILES}",
            kind="missing classes.txt",
        )
    )


def make_config(source_dir: str, *, val_frac: float, split_seed: int) -> CustomConfig:
    """Returns the builder config of a folder; its name changes when the folder's content does.

    The fingerprint covers classes.txt and the labels byte by byte, the images by size and time.

    Raises:
      Problem: if something is missing or cannot be understood.
    """
    source = Path(source_dir).expanduser().resolve()
    classes = find_classes(source)
    pairs = find_pairs(source, val_frac=val_frac, split_seed=split_seed)
    check_splits(pairs)
    fingerprint = hashlib.sha256(repr(classes).encode())
    for split, listed in pairs.items():
        for name, image_file, label_file in listed:
            image = image_file.stat()
            entry = (split, name, image.st_size, int(image.st_mtime))
            fingerprint.update(repr(entry).encode())
            fingerprint.update(hashlib.sha256(label_file.read_bytes()).digest())
    labels, table = classes
    return CustomConfig(
        name=fingerprint.hexdigest()[:16],
        source_dir=os.fspath(source),
        description=f"Files of {source}",
        names=labels.names,
        colors=labels.colors,
        table=table,
        pairs=pairs,
    )


def make_survey(
    source_dir: str, on_problem: OnProblem, *, val_frac: float, split_seed: int
) -> Survey:
    """Lists what a folder holds."""
    source = Path(source_dir).expanduser().resolve()
    classes = find_classes(source, on_problem)
    pairs = find_pairs(source, on_problem, val_frac=val_frac, split_seed=split_seed)
    check_splits(pairs, on_problem)
    # Without classes every file can still be opened, and every number is accepted.
    labels, table = classes or (make_labels([str(n) for n in range(IGNORE_LABEL)]), {})
    return Survey(
        labels=labels,
        pairs=pairs,
        readers=dict.fromkeys(pairs, make_reader(labels, table)),
        splits={split: [(split, i) for i in range(len(pairs[split]))] for split in pairs},
        consistency=Consistency(labels),
    )
