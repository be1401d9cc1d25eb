"""Data sets by name: built once into TFDS files, then read by index."""

import dataclasses
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fcn_jax.data.labels import CAMVID, SHAPES, LabelSet

if TYPE_CHECKING:
    from fcn_jax.data.records import RecordSource


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A built data set: its classes, its splits, and random access to the pairs of a split."""

    name: str
    labels: LabelSet
    splits: tuple[str, ...]
    builder: Any = dataclasses.field(repr=False)  # the TFDS builder that reads it

    def source(self, split: str) -> "RecordSource":
        """Returns the pairs of a split in fixed order: `len(source)`, `source[i]`.

        `source[i]` is {"id": str, "image": uint8 [h, w, 3] RGB, "label": uint8 [h, w]}.
        """
        from fcn_jax.data.records import RecordSource

        if split not in self.splits:
            raise ValueError(
                f"data set {self.name!r} has no split {split!r}; it has {list(self.splits)}"
            )
        return RecordSource(self.builder, split)


def get_dataset(name: str, *, source_dir: str = "", data_dir: str = "") -> Dataset:
    """Returns a data set by name; builds it first if that has not been done.

    Args:
      name: one of `DATASETS`.
      source_dir: the folder with the user's files, for data sets that come from files. Empty
        means the one build that already exists under `data_dir`.
      data_dir: where the built data sets are kept; empty means the default of TFDS,
        `$TFDS_DATA_DIR` or `~/tensorflow_datasets`.

    Raises:
      ValueError: for an unknown name, or files that are not as they should be.
      FileNotFoundError: if files are missing; the message shows the expected folder.
    """
    if name not in DATASETS:
        raise ValueError(f"unknown data set {name!r}; known: {sorted(DATASETS)}")
    return DATASETS[name](source_dir, os.path.expanduser(data_dir))


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
        else:
            config = _get_only_build(data_dir)
        builder = camvid.CamVid(
            data_dir=data_dir or None, config=config, file_format=records.FILE_FORMAT
        )
    builder = records.build(builder, message=f"building camvid in {builder.data_dir} ...")
    return _make_dataset("camvid", CAMVID, builder)


def _get_only_build(data_dir: str):
    """Returns the config of the one CamVid build under data_dir; more or fewer are an error."""
    import tensorflow_datasets as tfds

    from fcn_jax.data import camvid

    root = Path(data_dir or tfds.core.constants.DATA_DIR) / camvid.CamVid.name
    found = sorted(root.glob(f"*/{camvid.CamVid.VERSION}/dataset_info.json"))
    if not found:
        raise FileNotFoundError(
            f"data set 'camvid' needs source_dir: it is not built under {root}; expected\n"
            f"{camvid.EXPECTED_FILES}"
        )
    if len(found) > 1:
        folders = sorted(
            json.loads((file.parent / "metadata.json").read_text())["source_dir"] for file in found
        )
        raise ValueError(
            f"data set 'camvid' is built {len(found)} times under {root}, from {folders}; "
            "say which is meant with --config.data.source_dir=/path/to/CamVid"
        )
    return camvid.CamVidConfig(name=found[0].parent.parent.name)


def _make_dataset(name: str, labels: LabelSet, builder: Any) -> Dataset:
    return Dataset(name=name, labels=labels, splits=tuple(builder.info.splits), builder=builder)


DATASETS: dict[str, Callable[[str, str], Dataset]] = {
    "camvid": _get_camvid,
    "shapes": _get_shapes,
}
