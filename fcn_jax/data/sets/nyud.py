"""NYUDv2 indoor scenes, colour images only, with the 40 classes of Gupta et al. 2013.

A label is the array `segmentation` of a `.mat` file: 0 for void, then the classes from 1 on.

Source: Silberman et al. 2012; Gupta et al. 2013; nyud_layers.py and data/nyud of the released FCN,
which trains on `trainval` and scores on `test`.
"""

from functools import partial

from fcn_jax.data.files.matlab import number_from_one, read_mat_label
from fcn_jax.data.labels import NYUD
from fcn_jax.data.sets.folder_set import Layout, ListedBuilder
from fcn_jax.data.sets.splits import PublishedSet, Split

EXPECTED_FILES = """\
  data/images/img_*.png
  segmentation/img_*.mat
  {train,val,test}.txt           from shelhamer/fcn.berkeleyvision.org, folder data/nyud
in one folder: --config.data.source_dir=/path/to/it"""


class Nyud(ListedBuilder):
    """NYUDv2: 381 images to train, 414 to validate, 654 to test."""

    name = "nyud"
    layout = Layout(
        title="NYUDv2",
        label_set=NYUD,
        expected_files=EXPECTED_FILES,
        places=("nyud", "."),
        lists="{}.txt",
        images="data/images/img_{}.png",
        labels="segmentation/img_{}.mat",
        read_label=partial(
            read_mat_label, variable="segmentation", table=number_from_one(NYUD, void=(0,))
        ),
        splits=("train", "val", "test"),
        hash_labels=True,
    )


NYUDV2 = PublishedSet(
    name="nyud",
    title="NYUDv2",
    builders=(Nyud,),
    splits={
        "train": Split(381, take=("nyud/train",)),
        "val": Split(414, take=("nyud/val",)),
        "trainval": Split(795, take=("nyud/train", "nyud/val")),
        "test": Split(654, take=("nyud/test",)),
    },
    disjoint=(("train", "val"), ("trainval", "test")),
)
