"""SIFT Flow outdoor scenes: 33 semantic classes, or as `siftflow_geometric` 3 geometric ones.

A label is the array `S` of a `.mat` file, with the classes from 1 on. Void is 0 in semantic labels
and -1 in geometric ones, where the released FCN takes 0 for void as well. Two of the 2688 images
have no annotation; FCN's lists leave them out. No image of `test` shows cow, desert or moon.

Source: Liu et al. 2009; Tighe and Lazebnik 2010 (the folder); siftflow_layers.py and data/sift-flow
of the released FCN.
"""

from collections.abc import Sequence
from functools import partial

from fcn_jax.data.files.matlab import number_from_one, read_mat_label
from fcn_jax.data.labels import SIFTFLOW, SIFTFLOW_GEOMETRIC, LabelSet
from fcn_jax.data.sets.folder_set import Layout, ListedBuilder
from fcn_jax.data.sets.splits import PublishedSet, Split

SCENES = "spatial_envelope_256x256_static_8outdoorcategories"

EXPECTED_FILES = f"""\
  Images/{SCENES}/*.jpg
  SemanticLabels/{SCENES}/*.mat
  GeoLabels/{SCENES}/*.mat (for siftflow_geometric)
  {{trainval,test}}.txt           from shelhamer/fcn.berkeleyvision.org, folder data/sift-flow
in one folder: --config.data.source_dir=/path/to/SiftFlowDataset"""


def _make_layout(title: str, label_set: LabelSet, labels: str, void: Sequence[int]) -> Layout:
    return Layout(
        title=title,
        label_set=label_set,
        expected_files=EXPECTED_FILES,
        places=("SiftFlowDataset", "."),
        lists="{}.txt",
        images=f"Images/{SCENES}/{{}}.jpg",
        labels=f"{labels}/{SCENES}/{{}}.mat",
        read_label=partial(
            read_mat_label, variable="S", table=number_from_one(label_set, void=void)
        ),
        splits=("trainval", "test"),
        hash_labels=True,
    )


class SiftFlow(ListedBuilder):
    """SIFT Flow, 33 semantic classes."""

    name = "siftflow"
    layout = _make_layout("SIFT Flow", SIFTFLOW, "SemanticLabels", void=(0,))


class SiftFlowGeometric(ListedBuilder):
    """SIFT Flow, 3 geometric classes."""

    name = "siftflow_geometric"
    layout = _make_layout("SIFT Flow (geometric)", SIFTFLOW_GEOMETRIC, "GeoLabels", void=(-1, 0))


def _publish(builder: type[ListedBuilder]) -> PublishedSet:
    return PublishedSet(
        name=builder.name,
        title=builder.layout.title,
        builders=(builder,),
        splits={
            "trainval": Split(2486, take=(f"{builder.name}/trainval",)),
            "test": Split(200, take=(f"{builder.name}/test",)),
        },
        disjoint=(("trainval", "test"),),
    )


SEMANTIC, GEOMETRIC = _publish(SiftFlow), _publish(SiftFlowGeometric)
