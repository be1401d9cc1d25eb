"""Any data set that TFDS has prepared and that has masks, such as oxford_iiit_pet, read as it lies.

Only its files are read, in array_record format, without its builder and without TensorFlow. To
have them: `tfds build oxford_iiit_pet --file_format=array_record`, where TFDS is installed with
what that data set needs.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from fcn_jax.data.files.pictures import read_image_file, read_label_file
from fcn_jax.data.files.problems import MissingFile, Problem, list_folder
from fcn_jax.data.labels import IGNORE_LABEL, VOID_NAME, LabelSet
from fcn_jax.data.sets import records
from fcn_jax.data.sets.dataset import Dataset
from fcn_jax.data.sets.shards import Shards, damaged_build
from fcn_jax.errors import UserError

NUM_LOOKED_AT = 20  # masks, to say what values they hold


def find_build(name: str, *, data_dir: str) -> Path:
    """Returns the folder of a prepared data set: of the highest version, unless one is named.

    Args:
        name: "name", "name/config" or either with ":version".
        data_dir: Where it is prepared; empty means the default of TFDS.

    Raises:
        MissingFile: If there is none.
        UserError: If there are several configs.
    """
    root = Path(data_dir or tfds.core.constants.DATA_DIR)
    path, _, version = name.partition(":")
    found = [file.parent for file in (root / path).rglob("features.json")]
    builds = [folder for folder in found if version in ("", folder.name)]
    if not builds:
        raise MissingFile(
            f"no prepared data set {name!r} under {root} ({list_folder(root)})\n"
            f"prepare it there: tfds build {path} --file_format=array_record --data_dir={root}",
            kind="missing folder",
        )
    if len({folder.parent for folder in builds}) > 1:
        configs = sorted({str(folder.parent.relative_to(root)) for folder in builds})
        raise UserError(
            f"{name!r} is prepared as {configs}; say which: data.name=tfds:{configs[0]}"
        )
    return max(builds, key=lambda folder: [int(n) for n in folder.name.split(".") if n.isdecimal()])


@dataclasses.dataclass(frozen=True)
class Prepared:
    """The splits of a prepared data set.

    Attributes:
        builder: TFDS builder that reads its files.
        image_key: Feature of a record that is the image.
        mask_key: Feature of a record that is the mask.
        labels: Its classes.
        table: Class number of each value of the mask.
    """

    builder: Any
    image_key: str
    mask_key: str
    labels: LabelSet
    table: Mapping[int, int]

    def source(self, split: str) -> "PreparedSource":
        """Returns the pairs of a split."""
        return PreparedSource(self, split, Shards(self.builder, split))

    def find_folders(self) -> list[Path]:
        """Returns where the files are."""
        return [Path(self.builder.data_path)]


class PreparedSource(Sequence):
    """One split: `len`, and `[i]` -> {"id", "image", "label"} as arrays."""

    def __init__(self, prepared: Prepared, split: str, records: Sequence[Mapping[str, Any]]):
        self._prepared, self._split, self._records = prepared, split, records
        self._lookup = np.full(256, -1, np.int16)
        for value, number in prepared.table.items():
            self._lookup[value] = number

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> dict[str, Any]:
        name, record = f"{self._split}_{index:06d}", self._records[index]
        image_key, mask_key = self._prepared.image_key, self._prepared.mask_key
        image = read_image_file(Path(name, image_key), data=record[image_key]).pixels
        mask = read_label_file(Path(name, mask_key), data=record[mask_key]).numbers
        if mask.shape != image.shape[:2]:
            raise Problem(
                f"{name}: {mask_key} is {mask.shape[::-1]} but {image_key} is "
                f"{image.shape[1::-1]}; both must have the same width x height",
                kind="label of another size than its image",
            )
        label = self._lookup[mask]
        if (label < 0).any():
            values = np.unique(mask[label < 0]).tolist()
            raise Problem(
                f"{name}: {mask_key} holds {values}, which no class has; name every value, or call "
                f"it {VOID_NAME}: --config.data.mask_classes=NAME:VALUE,{VOID_NAME}:{values[0]}",
                kind="label value outside the classes",
            )
        return {"id": name, "image": image, "label": label.astype(np.uint8)}


@dataclasses.dataclass(frozen=True)
class PreparedSet:
    """The data set `tfds:NAME`.

    Attributes:
        name: "NAME", "NAME/CONFIG" or either with ":VERSION".
    """

    name: str

    def open(
        self,
        source_dir: str,
        data_dir: str,
        *,
        mask_key: str = "",
        mask_classes: Sequence[str] = (),
    ) -> Dataset:
        """Returns the data set; it takes no `source_dir`.

        Args:
            source_dir: Must be empty.
            data_dir: Folder that it is prepared in.
            mask_key: Feature that is the mask; empty means the only one that may be.
            mask_classes: Classes of the mask as "name:value" (or "void:value"), in the order of
                their numbers; empty means the names that the data set gives itself.

        Raises:
            UserError: If it cannot be read without TensorFlow, or it is not clear which feature is
                the mask and what its values mean.
        """
        if source_dir:
            raise UserError(
                f"data set 'tfds:{self.name}' takes no source_dir: it must be prepared, in "
                "data_dir or where TFDS keeps its data sets"
            )
        folder = find_build(self.name, data_dir=data_dir)
        with records.quiet_tfds():
            try:
                builder = tfds.builder_from_directory(folder)
            except (OSError, MemoryError):
                raise
            except Exception as error:  # of any kind: whatever a parser says
                raise damaged_build(
                    folder, f"a .json file there cannot be read ({error})"
                ) from error
            prepared = _find_masks(builder, self.name, mask_key, mask_classes)
        identity = (
            f"{builder.info.full_name} {prepared.mask_key} {prepared.labels} {prepared.table}"
        )
        return Dataset(
            name=f"tfds:{self.name}",
            labels=prepared.labels,
            splits=tuple(builder.info.splits),
            builder=prepared,
            fingerprint=records.hash_text(identity),
        )


def _find_masks(
    builder: tfds.core.DatasetBuilder, name: str, mask_key: str, mask_classes: Sequence[str]
) -> Prepared:
    if builder.info.file_format != tfds.core.FileFormat.ARRAY_RECORD:
        raise UserError(
            f"{builder.data_path} is prepared as {builder.info.file_format.value}, which only "
            "TensorFlow reads; prepare it as array_record: tfds build NAME "
            "--file_format=array_record"
        )
    image_key = _find_feature(builder, channels=3, wanted="image", option="")
    mask_key = _find_feature(builder, channels=1, wanted=mask_key, option="mask_key")
    feature = builder.info.features[mask_key]
    if mask_classes:
        names, table = _parse_classes(mask_classes)
    elif isinstance(feature, tfds.features.LabeledImage) and feature.names:
        names = list(feature.names)
        table = {**{number: number for number in range(len(names))}, IGNORE_LABEL: IGNORE_LABEL}
    else:
        raise UserError(
            f"{name}: {mask_key} does not say what its values mean; its first masks hold "
            f"{_look_at(builder, mask_key)}\nname them, in the order of the classes: "
            f"--config.data.mask_classes=NAME:VALUE,NAME:VALUE,{VOID_NAME}:VALUE"
        )
    return Prepared(builder, image_key, mask_key, LabelSet.in_voc_colors(names), table)


def _find_feature(builder, *, channels: int, wanted: str, option: str) -> str:
    features = builder.info.features
    found = sorted(
        key
        for key, feature in features.items()
        if isinstance(feature, tfds.features.Image) and feature.shape[-1] == channels
    )
    if wanted in found:
        return wanted
    if len(found) == 1 and (not option or not wanted):
        return found[0]
    what = "image" if channels == 3 else "mask"
    hint = f"; say which is the {what}: --config.data.{option}=KEY" if option and found else ""
    raise UserError(
        f"{builder.name} has {found or 'no'} features that may be the {what} ({channels} channels)"
        f"{f', and not {wanted!r}' if option and wanted else ''}; its features: "
        f"{sorted(features)}{hint}"
    )


def _parse_classes(mask_classes: Sequence[str]) -> tuple[list[str], dict[int, int]]:
    names, table = [], {}
    for entry in mask_classes:
        name, _, text = entry.rpartition(":")
        if not name or not text.isdecimal() or int(text) > 255 or int(text) in table:
            raise UserError(
                f"data.mask_classes holds {entry!r}; expected NAME:VALUE with a value in 0..255 "
                "that no other class has"
            )
        if name == VOID_NAME:
            table[int(text)] = IGNORE_LABEL
            continue
        if name not in names:
            names.append(name)
        table[int(text)] = names.index(name)
    if len(names) < 2:
        raise UserError(f"data.mask_classes={tuple(mask_classes)} must name two classes or more")
    return names, table


def _look_at(builder, mask_key: str) -> list[int]:
    split = next(iter(builder.info.splits))
    records = Shards(builder, split)
    values: set[int] = set()
    for index in range(min(NUM_LOOKED_AT, len(records))):
        mask = read_label_file(Path(f"{split}_{index}", mask_key), data=records[index][mask_key])
        values.update(np.unique(mask.numbers).tolist())
    return sorted(values)
