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
from typing import ClassVar

import numpy as np
import scipy.io
import tensorflow_datasets as tfds

from fcn_jax.data.labels import VOC
from fcn_jax.data.pairs import Pair, PairReader
from fcn_jax.data.pictures import UPRIGHT, LabelFile, read_label_file
from fcn_jax.data.problems import MissingFile, OnProblem, Problem, refuse
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
    (or, for seg11valid alone, FCN's seg11valid.txt beside val.txt of VOC2012)
  benchmark_RELEASE/dataset/{train,val}.txt          SBD; for *_aug, seg11valid, sbd_*
  benchmark_RELEASE/dataset/{img/*.jpg,cls/*.mat}
in one folder: --config.data.source_dir=/path/to/it (VOCdevkit may also be given itself)"""


def read_voc_label(path: Path) -> LabelFile:
    """Reads a label of VOC: palette numbers as released, grey levels, or the colours of VOC."""
    return read_label_file(path, colors=COLORS)


def read_sbd_label(path: Path) -> LabelFile:
    """Reads GTcls.Segmentation from a `.mat` file of SBD.

    Raises:
      Problem: for a file that is no such struct.
    """
    try:
        struct = scipy.io.loadmat(path, variable_names=["GTcls"])["GTcls"]
        segmentation = struct["Segmentation"][0, 0]
        label = segmentation.astype(np.uint8)
    except FileNotFoundError:
        raise
    except Exception as error:  # loadmat raises almost anything for a damaged file
        raise Problem(
            f"{path}: cannot read GTcls.Segmentation from this file ({error!r}); expected a "
            "MATLAB 5 file of SBD's folder dataset/cls",
            kind="unreadable or damaged file",
        ) from error
    if label.ndim != 2 or (label != segmentation).any():
        raise Problem(
            f"{path}: GTcls.Segmentation must hold one class number per pixel, got shape "
            f"{segmentation.shape} with values {segmentation.min()}..{segmentation.max()}",
            kind="label of an unsupported mode",
        )
    return LabelFile(label, "MATLAB", {}, UPRIGHT)


@dataclasses.dataclass(frozen=True)
class Layout:
    """Where the files of an id are.

    Args:
      title: what people call the data set.
      places: where its folder may be, seen from source_dir; the last part is the folder's name.
      lists, images, labels: files in that folder, with {} for the split or the id.
      subsets: lists that may lie beside those of the splits.
    """

    title: str
    places: tuple[str, ...]
    lists: str
    images: str
    labels: str
    read_label: Callable[[Path], LabelFile]
    subsets: tuple[str, ...] = ()

    def find(self, source_dir: Path) -> Path | None:
        """Returns the folder: `source_dir` itself, or one below it; None if there is none."""
        folders = [source_dir / place for place in self.places]
        if source_dir.name == folders[0].name:
            folders.insert(0, source_dir)
        for folder in folders:
            if any((folder / files).parent.is_dir() for files in (self.images, self.labels)):
                return folder
        return None

    @property
    def read_pair(self) -> PairReader:
        """Reads the two files of an id."""
        return PairReader(VOC, self.read_label)

    def find_pair(self, folder: Path, name: str) -> Pair:
        """Returns where the files of an id are, if they are."""
        return Pair(name, folder / self.images.format(name), folder / self.labels.format(name))


def _make_voc_layout(year: int, *places: str, subsets: tuple[str, ...] = ()) -> Layout:
    return Layout(
        title=f"VOC{year}",
        places=(f"VOCdevkit/VOC{year}", f"VOC{year}", *places),
        lists="ImageSets/Segmentation/{}.txt",
        images="JPEGImages/{}.jpg",
        labels="SegmentationClass/{}.png",
        read_label=read_voc_label,
        subsets=subsets,
    )


@dataclasses.dataclass(eq=False)
class VocConfig(FolderConfig):
    """A folder and the ids of its splits; the name is their fingerprint.

    Args:
      subsets: ids of further lists, some of which the splits hold.
    """

    ids: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)
    subsets: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)


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
            subsets=config.subsets,
        )

    def list_items(self) -> Mapping[str, Sequence[str]]:
        return self.builder_config.ids

    def make_record(self, split: str, item: str) -> dict[str, str | bytes]:
        pair = self.layout.find_pair(Path(self.builder_config.source_dir), item)
        return encode_pair(pair, self.layout.read_pair(pair))


class Voc2012(VocBuilder):
    """VOC2012: 1464 images to train, 1449 to validate."""

    name = "voc2012"
    # The released FCN has the list as data/pascal/seg11valid.txt; all of its images are in val.
    layout = _make_voc_layout(2012, subsets=("seg11valid",))


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
      MissingFile: if a list, or a file of an id, is missing.
      Problem: if a list cannot be understood.
    """
    fingerprint = hashlib.sha256()
    lists = read_lists(layout, folder)
    for split, pairs in lists.items():
        for name, image_file, label_file in pairs:
            entry = [split, name, image_file.stat().st_size, label_file.stat().st_size]
            fingerprint.update(repr(entry).encode())
    subsets = read_subsets(layout, folder)
    fingerprint.update(repr(subsets).encode() if subsets else b"")
    return VocConfig(
        name=fingerprint.hexdigest()[:16],
        source_dir=os.fspath(folder),
        ids={split: [pair.id for pair in pairs] for split, pairs in lists.items()},
        subsets=subsets,
        description=f"Files of {folder}",
    )


def read_lists(
    layout: Layout, folder: Path, on_problem: OnProblem = refuse
) -> dict[str, list[Pair]]:
    """Returns the pairs of each split."""
    lists = {}
    for split in SPLITS:
        list_file = folder / layout.lists.format(split)
        lists[split] = []
        for name in read_ids(list_file, on_problem):
            pair = layout.find_pair(folder, name)
            missing = [
                (kind, file)
                for kind, file in (("image", pair.image_file), ("label", pair.label_file))
                if not file.is_file()
            ]
            for kind, file in missing:
                on_problem(
                    MissingFile(
                        f"{list_file} lists {name}, but its {kind} {file} is missing",
                        kind="missing file",
                    )
                )
            if not missing:
                lists[split].append(pair)
    return lists


def read_subsets(
    layout: Layout, folder: Path, on_problem: OnProblem = refuse
) -> dict[str, list[str]]:
    """Returns the ids of the further lists that lie beside those of the splits."""
    files = {name: folder / layout.lists.format(name) for name in layout.subsets}
    return {name: read_ids(file, on_problem) for name, file in files.items() if file.is_file()}


def read_ids(list_file: Path, on_problem: OnProblem = refuse) -> list[str]:
    """Reads a list with one id per line; empty lines and spaces around an id do not count.

    A problem is a list that is missing or empty, a line with more than an id, an id listed twice.
    """
    if not list_file.is_file():
        on_problem(
            MissingFile(
                f"the list {list_file} is missing; expected\n{EXPECTED_FILES}",
                kind="missing list",
            )
        )
        return []
    first_seen: dict[str, int] = {}
    lines = list_file.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    for number, line in enumerate(lines, start=1):
        words = line.split()
        if len(words) > 1:
            on_problem(
                Problem(
                    f"{list_file}, line {number}: expected one id, got {line.strip()!r}; the lists "
                    "for segmentation name one image per line",
                    kind="line of a list",
                )
            )
        elif words and words[0] in first_seen:
            on_problem(
                Problem(
                    f"{list_file}, line {number}: {words[0]} is listed twice "
                    f"(first on line {first_seen[words[0]]}); remove one of the lines",
                    kind="file listed twice",
                )
            )
        elif words:
            first_seen[words[0]] = number
    if not first_seen:
        on_problem(
            Problem(f"{list_file} lists no image; expected one id per line", kind="empty list")
        )
    return list(first_seen)
