"""PASCAL VOC 2012, VOC 2011 and SBD, each as a TFDS data set.

An image is a JPEG file and is stored as it is. A label of VOC is a palette PNG whose numbers are the
classes, with 255 for void: the outlines of objects, and what is too hard to tell. A label of SBD is
a `.mat` file; SBD has annotated the images of VOC2011 once more, in splits of its own, and draws no
outlines. `fcn_jax.data.sets.pascal` makes the splits of papers from the three.

Source: Everingham et al. 2010; Hariharan et al. 2011 (SBD, dataset/cls/*.mat: GTcls.Segmentation).
"""

from pathlib import Path

from fcn_jax.data.files.matlab import read_mat_label
from fcn_jax.data.files.pictures import LabelFile, read_label_file
from fcn_jax.data.labels import VOC
from fcn_jax.data.sets.folder_set import Layout, ListedBuilder
from fcn_jax.ops.palette import VOID_COLOR

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
    """Reads a label of SBD, whose struct also holds boundaries and the classes present."""
    return read_mat_label(path, variable="GTcls.Segmentation")


def _make_voc_layout(year: int, *places: str, subsets: tuple[str, ...] = ()) -> Layout:
    return Layout(
        title=f"VOC{year}",
        label_set=VOC,
        expected_files=EXPECTED_FILES,
        places=(f"VOCdevkit/VOC{year}", f"VOC{year}", *places),
        lists="ImageSets/Segmentation/{}.txt",
        images="JPEGImages/{}.jpg",
        labels="SegmentationClass/{}.png",
        read_label=read_voc_label,
        subsets=subsets,
    )


class Voc2012(ListedBuilder):
    """VOC2012: 1464 images to train, 1449 to validate."""

    name = "voc2012"
    # The released FCN has the list as data/pascal/seg11valid.txt; all of its images are in val.
    layout = _make_voc_layout(2012, subsets=("seg11valid",))


class Voc2011(ListedBuilder):
    """VOC2011: 1112 images to train, 1111 to validate."""

    name = "voc2011"
    layout = _make_voc_layout(2011, "TrainVal/VOCdevkit/VOC2011")


class Sbd(ListedBuilder):
    """SBD: 8498 images to train, 2857 to validate."""

    name = "sbd"
    layout = Layout(
        title="SBD",
        label_set=VOC,
        expected_files=EXPECTED_FILES,
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
