"""PASCAL VOC 2012, VOC 2011 and SBD, each as a TFDS data set: lists of ids, two files for each id.

An image is a JPEG file and is stored as it is. A label of VOC is a palette PNG whose numbers are the
classes, with 255 for void: the outlines of objects, and what is too hard to tell. A label of SBD is
a `.mat` file; SBD has annotated the images of VOC2011 once more, in splits of its own, and draws no
outlines. Nothing is downloaded: the folders are the user's, as the archives unpack, and a part of
them will do. `fcn_jax.data.pascal` makes the splits of papers from the three.

Source: Everingham et al. 2010; Hariharan et al. 2011 (SBD, dataset/cls/*.mat: GTcls.Segmentation).
"""

import dataclasses
import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import scipy.io
import tensorflow_datasets as tfds
from jaxtyping import UInt8

from fcn_jax.data.labels import VOC
from fcn_jax.data.pictures import check_label, read_label_file
from fcn_jax.data.records import FolderConfig, RecordBuilder, encode_pair
from fcn_jax.ops.palette import VOID_COLOR

SPLITS = ("train", "val")
COLORS = {color: number for number, color in enumerate(VOC.colors)}
COLORS[VOID_COLOR] = VOC.ignore_label

EXPECTED_FILES = """\
  VOCdevkit/VOC2012/ImageSets/Segmentation/{train,val}.txt
  VOCdevkit/VOC2012/JPEGImages/*.jpg
  VOCdevkit/VOC2012/SegmentationClass/*.png
  VOCdevkit/VOC2011/...                              as VOC2012; for seg11valid, voc11_*
  benchmark_RELEASE/dataset/{train,val}.txt          SBD; for *_aug, seg11valid, sbd_*
  benchmark_RELEASE/dataset/{img/*.jpg,cls/*.mat}
in one folder: --config.data.source_dir=/path/to/it (VOCdevkit may also be given itself)"""


def read_voc_label(path: Path) -> UInt8[np.ndarray, "h w"]:
    """Reads a label of VOC: palette numbers as released, grey levels, or the colours of VOC."""
    return read_label_file(path, colors=COLORS)


def read_sbd_label(path: Path) -> UInt8[np.ndarray, "h w"]:
    """Reads GTcls.Segmentation from a `.mat` file of SBD.

    Raises:
      ValueError: for a file that is no such struct.
    """
    try:
        struct = scipy.io.loadmat(path, variable_names=["GTcls"])["GTcls"]
        segmentation = struct["Segmentation"][0, 0]
        label = segmentation.astype(np.uint8)
    except FileNotFoundError:
        raise
    except Exception as error:  # loadmat raises almost anything for a damaged file
        raise ValueError(
            f"{path}: cannot read GTcls.Segmentation from this file ({error!r}); expected a "
            "MATLAB 5 file of SBD's folder dataset/cls"
        ) from error
    if label.ndim != 2 or (label != segmentation).any():
        raise ValueError(
            f"{path}: GTcls.Segmentation must hold one class number per pixel, got shape "
            f"{segmentation.shape} with values {segmentation.min()}..{segmentation.max()}"
        )
    return label


@dataclasses.dataclass(frozen=True)
class Layout:
    """Where the files of an id are.

    Args:
      title: what people call the data set.
      places: where its folder may be, seen from source_dir; the last part is the folder's name.
      lists, images, labels: files in that folder, with {} for the split or the id.
    """

    title: str
    places: tuple[str, ...]
    lists: str
    images: str
    labels: str
    read_label: Callable[[Path], UInt8[np.ndarray, "h w"]]

    def find(self, source_dir: Path) -> Path | None:
        """Returns the folder: `source_dir` itself, or one below it; None if there is none."""
        folders = [source_dir / place for place in self.places]
        if source_dir.name == folders[0].name:
            folders.insert(0, source_dir)
        for folder in folders:
            if any((folder / files).parent.is_dir() for files in (self.images, self.labels)):
                return folder
        return None


def _make_voc_layout(year: int, *places: str) -> Layout:
    return Layout(
        title=f"VOC{year}",
        places=(f"VOCdevkit/VOC{year}", f"VOC{year}", *places),
        lists="ImageSets/Segmentation/{}.txt",
        images="JPEGImages/{}.jpg",
        labels="SegmentationClass/{}.png",
        read_label=read_voc_label,
    )


@dataclasses.dataclass(eq=False)
class VocConfig(FolderConfig):
    """A folder and the ids of its splits; the name is their fingerprint."""

    ids: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)


class VocBuilder(RecordBuilder, skip_registration=True):
    """What the three have in common."""

    layout: ClassVar[Layout]
    VERSION = tfds.core.Version("1.0.0")  # raise it when the records change

    def _info(self) -> tfds.core.DatasetInfo:
        config = self.builder_config
        return self.make_info(
            VOC,
            f"Images and class labels of {self.layout.title}.",
            source_dir=config.source_dir,
            ids=config.ids,
        )

    def list_items(self) -> Mapping[str, Sequence[str]]:
        return self.builder_config.ids

    def make_record(self, split: str, item: str) -> dict[str, str | bytes]:
        folder = Path(self.builder_config.source_dir)
        label_file = folder / self.layout.labels.format(item)
        label = self.layout.read_label(label_file)
        check_label(label_file, label, num_classes=VOC.num_classes, void=VOC.ignore_label)
        return encode_pair(folder / self.layout.images.format(item), label_file, label)


class Voc2012(VocBuilder):
    """VOC2012: 1464 images to train, 1449 to validate."""

    name = "voc2012"
    layout = _make_voc_layout(2012)


class Voc2011(VocBuilder):
    """VOC2011: 1112 images to train, 1111 to validate."""

    name = "voc2011"
    layout = _make_voc_layout(2011, "TrainVal/VOCdevkit/VOC2011")


class Sbd(VocBuilder):
    """SBD: 8498 images to train, 2857 to validate."""

    name = "sbd"
    layout = Layout(
        title="SBD",
        places=(
            "benchmark_RELEASE/dataset",
            "VOCdevkit/benchmark_RELEASE/dataset",
            "dataset",
        ),
        lists="{}.txt",
        images="img/{}.jpg",
        labels="cls/{}.mat",
        read_label=read_sbd_label,
    )


def make_config(layout: Layout, folder: Path) -> VocConfig:
    """Returns the builder config of a folder; its name changes when the folder's content does.

    The fingerprint covers the lists id by id, and images and labels by size: SBD has 22710 files.

    Raises:
      FileNotFoundError: if a list, or a file of an id, is missing.
      ValueError: if a list cannot be understood.
    """
    fingerprint = hashlib.sha256()
    ids = {split: read_ids(folder / layout.lists.format(split)) for split in SPLITS}
    for split in SPLITS:
        for name in ids[split]:
            entry: list[Any] = [split, name]
            for kind, file in (("image", layout.images), ("label", layout.labels)):
                file = folder / file.format(name)
                try:
                    entry.append(file.stat().st_size)
                except FileNotFoundError:
                    raise FileNotFoundError(
                        f"{folder / layout.lists.format(split)} lists {name}, but its {kind} "
                        f"{file} is missing"
                    ) from None
            fingerprint.update(repr(entry).encode())
    return VocConfig(
        name=fingerprint.hexdigest()[:16],
        source_dir=os.fspath(folder),
        ids=ids,
        description=f"Files of {folder}",
    )


def read_ids(list_file: Path) -> list[str]:
    """Reads a list with one id per line; empty lines and spaces around an id do not count.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: for a line that holds more than an id, an id listed twice, or an empty list.
    """
    if not list_file.is_file():
        raise FileNotFoundError(f"the list {list_file} is missing; expected\n{EXPECTED_FILES}")
    first_seen: dict[str, int] = {}
    lines = list_file.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    for number, line in enumerate(lines, start=1):
        words = line.split()
        if not words:
            continue
        if len(words) > 1:
            raise ValueError(
                f"{list_file}, line {number}: expected one id, got {line.strip()!r}; the lists "
                "for segmentation name one image per line"
            )
        if words[0] in first_seen:
            raise ValueError(
                f"{list_file}, line {number}: {words[0]} is listed twice "
                f"(first on line {first_seen[words[0]]}); remove one of the lines"
            )
        first_seen[words[0]] = number
    if not first_seen:
        raise ValueError(f"{list_file} lists no image; expected one id per line")
    return list(first_seen)
