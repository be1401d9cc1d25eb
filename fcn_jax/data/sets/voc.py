"""The data set `voc`: what a user has of VOC2012, VOC2011 and SBD, and the splits made of them.

An image is a JPEG file and is stored as it is. A label of VOC is a palette PNG whose numbers are
the classes, with 255 for void: the outlines of objects, and what is too hard to tell. A label of
SBD is a `.mat` file; SBD has annotated the images of VOC2011 once more, in splits of its own, and
draws no outlines.

Where both label an image, VOC's label goes before SBD's: what comes out where people copy the
labels of VOC over those of SBD to merge the two. seg11valid has two definitions: VOC2011 without
what SBD trains on, and, for those who have neither, the list that FCN released. All of its images
are in the val list of VOC2012.

Source: Everingham et al. 2010; Hariharan et al. 2011 (SBD, dataset/cls/*.mat: GTcls.Segmentation);
Long et al. 2015 (seg11valid), Chen et al. 2015 (train_aug, trainval_aug; the lists of
martinkersner/train-DeepLab).
"""

from pathlib import Path

from fcn_jax.data.files.matlab import read_mat_label
from fcn_jax.data.files.pictures import LabelFile, read_label_file
from fcn_jax.data.labels import LabelSet
from fcn_jax.data.sets.folder_layout import FolderLayout
from fcn_jax.data.sets.splits import PublishedSet, Split
from fcn_jax.ops.palette import VOID_COLOR

# In the order of PASCAL VOC since 2007.
NAMES = (
    "background, aeroplane, bicycle, bird, boat, bottle, bus, car, cat, chair, cow, "
    "diningtable, dog, horse, motorbike, person, pottedplant, sheep, sofa, train, tvmonitor"
)
LABELS = LabelSet.in_voc_colors(NAMES.split(", "))
COLORS = {color: number for number, color in enumerate(LABELS.colors)}
COLORS[VOID_COLOR] = LABELS.ignore_label

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


def _make_voc_layout(year: int, *places: str, subsets: tuple[str, ...] = ()) -> FolderLayout:
    return FolderLayout(
        name=f"voc{year}",
        title=f"VOC{year}",
        places=(f"VOCdevkit/VOC{year}", f"VOC{year}", *places),
        lists="ImageSets/Segmentation/{}.txt",
        images="JPEGImages/{}.jpg",
        label_files="SegmentationClass/{}.png",
        read_label=read_voc_label,
        subsets=subsets,
    )


# The released FCN has the list as data/pascal/seg11valid.txt; all of its images are in val.
VOC2012 = _make_voc_layout(2012, subsets=("seg11valid",))
VOC2011 = _make_voc_layout(2011, "TrainVal/VOCdevkit/VOC2011")
SBD = FolderLayout(
    name="sbd",
    title="SBD",
    places=("benchmark_RELEASE/dataset", "VOCdevkit/benchmark_RELEASE/dataset", "dataset"),
    lists="{}.txt",
    images="img/{}.jpg",
    label_files="cls/{}.mat",
    read_label=read_sbd_label,
)

DATA_SET = PublishedSet(
    name="voc",
    title="PASCAL VOC",
    labels=LABELS,
    expected_files=EXPECTED_FILES,
    layouts=(VOC2012, VOC2011, SBD),
    splits={
        "train": Split(1464, take=("voc2012/train",)),
        "val": Split(1449, take=("voc2012/val",)),
        "trainval": Split(2913, take=("voc2012/train", "voc2012/val")),
        "train_aug": Split(
            10582, take=("voc2012/train", "sbd/train", "sbd/val"), without=("voc2012/val",)
        ),
        "trainval_aug": Split(12031, take=("voc2012/train", "voc2012/val", "sbd/train", "sbd/val")),
        "sbd_train": Split(8498, take=("sbd/train",)),
        "sbd_val": Split(2857, take=("sbd/val",)),
        "voc11_train": Split(1112, take=("voc2011/train",)),
        "voc11_val": Split(1111, take=("voc2011/val",)),
        "seg11valid": Split(736, take=("voc2011/val",), without=("sbd/train",)),
    },
    second_choices={
        "seg11valid": Split(736, take=("voc2012/val",), within=("voc2012/seg11valid",)),
    },
    disjoint=(
        ("train", "val"),
        ("train_aug", "val"),
        ("train_aug", "seg11valid"),
        ("sbd_train", "sbd_val"),
        ("sbd_train", "seg11valid"),
        ("voc11_train", "voc11_val"),
    ),
)
