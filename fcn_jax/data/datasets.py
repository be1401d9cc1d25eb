"""Data sets by name: built once into TFDS files, then read by index."""

import dataclasses
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fcn_jax.data.labels import CAMVID, SHAPES, VOC, LabelSet

if TYPE_CHECKING:
    from fcn_jax.data.loader import Source


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A data set: its classes, its splits, and random access to the pairs of a split.

    Args:
      builder: reads the pairs: `builder.source(split)`.
      missing: why it lacks a split that it could have, by split.
    """

    name: str
    labels: LabelSet
    splits: tuple[str, ...]
    builder: Any = dataclasses.field(repr=False)
    missing: Mapping[str, str] = dataclasses.field(default_factory=dict, repr=False)

    def source(self, split: str) -> "Source":
        """Returns the pairs of a split in fixed order: `len(source)`, `source[i]`.

        `source[i]` is {"id": str, "image": uint8 [h, w, 3] RGB, "label": uint8 [h, w]}.
        """
        if split in self.missing:
            raise FileNotFoundError(self.missing[split])
        if split not in self.splits:
            raise ValueError(
                f"data set {self.name!r} has no split {split!r}; it has {list(self.splits)}"
            )
        return self.builder.source(split)

    def select(self, classes: Sequence[str]) -> "Dataset":
        """Returns the same images with these classes only; pixels of all others become void."""
        labels = self.labels.select(classes)
        reader = _Relabelled(self.builder, labels.table_from(self.labels))
        return dataclasses.replace(self, labels=labels, builder=reader)


@dataclasses.dataclass(frozen=True)
class _Relabelled:
    builder: Any
    table: bytes

    def source(self, split: str) -> "Source":
        from fcn_jax.data.records import RelabelledSource

        return RelabelledSource(self.builder.source(split), self.table)


def get_dataset(
    name: str, *, source_dir: str = "", data_dir: str = "", classes: Sequence[str] = ()
) -> Dataset:
    """Returns a data set by name; what it has to read is built first, unless that has been done.

    Args:
      name: one of `DATASETS`.
      source_dir: the folder with the user's files, for data sets that come from files. Empty
        means the one build that already exists under `data_dir`.
      data_dir: where the built data sets are kept; empty means the default of TFDS,
        `$TFDS_DATA_DIR` or `~/tensorflow_datasets`.
      classes: the classes to tell apart, in the order of their numbers; pixels of all other
        classes become void. Empty means all classes.

    Raises:
      ValueError: for an unknown name, or files that are not as they should be.
      FileNotFoundError: if files are missing; the message shows the expected folder.
    """
    if name not in DATASETS:
        raise ValueError(f"unknown data set {name!r}; known: {sorted(DATASETS)}")
    dataset = DATASETS[name](source_dir, os.path.expanduser(data_dir))
    return dataset.select(classes) if classes else dataset


# tfds is imported by those who build or read, so that listing the names stays cheap.


def _get_shapes(source_dir: str, data_dir: str) -> Dataset:
    from fcn_jax.data import records
    from fcn_jax.data.shapes import Shapes

    if source_dir:
        raise ValueError(
            f"data set 'shapes' is drawn, not read, and takes no source_dir (got {source_dir!r}); "
            "leave --config.data.source_dir out, or choose another data set"
        )
    with records.quiet_tfds():
        builder = Shapes(data_dir=data_dir or None, file_format=records.FILE_FORMAT)
    builder = records.build(builder, message=f"building shapes in {builder.data_dir} ...")
    return _make_dataset("shapes", SHAPES, builder)


def _get_camvid(source_dir: str, data_dir: str) -> Dataset:
    from fcn_jax.data import camvid, records

    with records.quiet_tfds():
        if source_dir:
            config = camvid.make_config(source_dir)
        elif build := records.find_only_build(camvid.CamVid, data_dir=data_dir):
            config = records.FolderConfig(name=build[0])
        else:
            raise FileNotFoundError(
                f"data set 'camvid' needs source_dir: it is not built yet; expected\n"
                f"{camvid.EXPECTED_FILES}"
            )
        builder = camvid.CamVid(
            data_dir=data_dir or None, config=config, file_format=records.FILE_FORMAT
        )
    builder = records.build(builder, message=f"building camvid in {builder.data_dir} ...")
    return _make_dataset("camvid", CAMVID, builder)


def _get_voc(source_dir: str, data_dir: str) -> Dataset:
    from fcn_jax.data import pascal, records

    configs = pascal.find_parts(source_dir, data_dir=data_dir)
    with records.quiet_tfds():
        builders = {
            part: pascal.PARTS[part](
                data_dir=data_dir or None, config=config, file_format=records.FILE_FORMAT
            )
            for part, config in configs.items()
        }
    reader = pascal.Pascal(builders)
    if differences := reader.find_differences():
        folders = ", ".join(config.source_dir for config in configs.values())
        print(
            f"voc: not all of PASCAL VOC is in {folders}: {', '.join(differences)}", file=sys.stderr
        )
    return Dataset(
        name="voc",
        labels=VOC,
        splits=tuple(reader.splits),
        builder=reader,
        missing=pascal.explain_missing(source_dir, configs),
    )


def _make_dataset(name: str, labels: LabelSet, builder: Any) -> Dataset:
    return Dataset(name=name, labels=labels, splits=tuple(builder.info.splits), builder=builder)


DATASETS: dict[str, Callable[[str, str], Dataset]] = {
    "camvid": _get_camvid,
    "shapes": _get_shapes,
    "voc": _get_voc,
}
