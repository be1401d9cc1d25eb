"""The data set `voc`: what a user has of VOC2012, VOC2011 and SBD, and the splits made from them.

Where both label an image, VOC's label goes before SBD's, which has no void outlines: what comes out
where people copy the labels of VOC over those of SBD to merge the two.

seg11valid has two definitions: VOC2011 without what SBD trains on, and, for those who have neither,
the list that FCN released. All of its images are in the val list of VOC2012.

Source: Long et al. 2015 (seg11valid), Chen et al. 2015 (train_aug, trainval_aug; the lists of
martinkersner/train-DeepLab).
"""

from fcn_jax.data.sets.splits import PublishedSet, Split
from fcn_jax.data.sets.voc import Sbd, Voc2011, Voc2012

PASCAL_VOC = PublishedSet(
    name="voc",
    title="PASCAL VOC",
    builders=(Voc2012, Voc2011, Sbd),
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
