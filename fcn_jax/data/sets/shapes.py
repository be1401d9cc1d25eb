"""Shapes: a synthetic data set that tells coarse networks from fine ones; see `scenes`."""

import dataclasses
from pathlib import Path
from typing import ClassVar

import tensorflow_datasets as tfds

from fcn_jax.data.files.pictures import array_to_png
from fcn_jax.data.sets import records
from fcn_jax.data.sets.dataset import Dataset
from fcn_jax.data.sets.scenes import LABELS, SPLITS, draw_scene
from fcn_jax.errors import UserError


@dataclasses.dataclass(eq=False)
class ShapesConfig(tfds.core.BuilderConfig):
    """The numbers of the data set; they make its name, so another set is another folder."""

    name: str = ""
    seed: int = 0
    num_train: int = 600
    num_val: int = 100

    def __post_init__(self):
        self.name = self.name or f"seed{self.seed}_{self.num_train}_{self.num_val}"


class Shapes(records.RecordBuilder):
    """Synthetic scenes with 12 classes, drawn on the spot."""

    name = "shapes"
    VERSION = tfds.core.Version("1.0.0")  # raise it when a pixel changes
    BUILDER_CONFIGS: ClassVar = [ShapesConfig(description="The default set.")]

    def _info(self) -> tfds.core.DatasetInfo:
        return self.make_info(
            LABELS, "Synthetic scenes of large regions, solid figures and thin structures."
        )

    def list_items(self) -> dict[str, range]:
        return {
            "train": range(self.builder_config.num_train),
            "val": range(self.builder_config.num_val),
        }

    def make_record(self, split: str, item: int) -> dict[str, str | bytes]:
        image, label = draw_scene(self.builder_config.seed, split, item)
        return {
            "id": f"{split}_{item:05d}",
            "image": array_to_png(image),
            "label": array_to_png(label),
        }


class ShapesSet:
    """The data set `shapes`, with the numbers that the experiments use."""

    def open(self, source_dir: str, data_dir: str) -> Dataset:
        """Returns the data set, which takes no `source_dir`; it is built when it is first read."""
        if source_dir:
            raise UserError(
                "data set 'shapes' is drawn, not read, and takes no source_dir (got "
                f"{source_dir!r}); leave --config.data.source_dir out, or choose another data set"
            )
        with records.quiet_tfds():
            builder = Shapes(data_dir=data_dir or None, file_format=records.FILE_FORMAT)
        drawn = f"shapes/{builder.builder_config.name}/{builder.version}"
        return Dataset(
            name="shapes",
            labels=LABELS,
            splits=SPLITS,
            builder=ShapesReader(builder),
            fingerprint=records.hash_text(drawn),
        )


class ShapesReader:
    """The splits of the data set, which need not be built."""

    def __init__(self, builder: Shapes):
        self._builder = builder

    def source(self, split: str) -> records.RecordSource:
        """Returns the pairs of a split."""
        message = f"building shapes in {self._builder.data_dir} ..."
        self._builder = records.build(self._builder, message=message)
        return records.RecordSource(self._builder, split)

    def find_folders(self) -> list[Path]:
        """Returns where the built files are, if they are."""
        return [Path(self._builder.data_path)] if self._builder.info.splits else []


DATA_SET = ShapesSet()
