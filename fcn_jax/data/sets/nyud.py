"""NYUDv2 indoor scenes, colour images only, with the 40 classes of Gupta et al. 2013.

A label is the array `segmentation` of a `.mat` file: 0 for void, then the classes from 1 on.

Source: Silberman et al. 2012; Gupta et al. 2013; nyud_layers.py and data/nyud of the released FCN,
which trains on `trainval` and scores on `test`.
"""

from functools import partial

from fcn_jax.data.files.matlab import read_mat_label
from fcn_jax.data.files.value_table import number_from_one
from fcn_jax.data.labels import LabelSet
from fcn_jax.data.sets.folder_layout import FolderLayout
from fcn_jax.data.sets.splits import PublishedSet, Split

# In the order of the numbers in the files, and spelled as FCN's data/nyud/classes.txt spells them.
NAMES = (
    "wall, floor, cabinet, bed, chair, sofa, table, door, window, bookshelf, picture, counter, "
    "blinds, desk, shelves, curtain, dresser, pillow, mirror, floor mat, clothes, ceiling, books, "
    "refridgerator, television, paper, towel, shower curtain, box, whiteboard, person, "
    "night stand, toilet, sink, lamp, bathtub, bag, otherstructure, otherfurniture, otherprop"
)
LABELS = LabelSet.in_voc_colors(NAMES.split(", "))

EXPECTED_FILES = """\
  data/images/img_*.png
  segmentation/img_*.mat
  {train,val,test}.txt           from shelhamer/fcn.berkeleyvision.org, folder data/nyud
in one folder: --config.data.source_dir=/path/to/it"""


LAYOUT = FolderLayout(
    name="nyud",
    title="NYUDv2",
    places=("nyud", "."),
    lists="{}.txt",
    images="data/images/img_{}.png",
    label_files="segmentation/img_{}.mat",
    read_label=partial(
        read_mat_label, variable="segmentation", table=number_from_one(LABELS, void=(0,))
    ),
    list_names=("train", "val", "test"),
)

DATA_SET = PublishedSet(
    name="nyud",
    title="NYUDv2",
    labels=LABELS,
    expected_files=EXPECTED_FILES,
    layouts=(LAYOUT,),
    splits={
        "train": Split(381, take=("nyud/train",)),
        "val": Split(414, take=("nyud/val",)),
        "trainval": Split(795, take=("nyud/train", "nyud/val")),
        "test": Split(654, take=("nyud/test",)),
    },
    disjoint=(("train", "val"), ("trainval", "test")),
)
