"""SIFT Flow outdoor scenes: 33 semantic classes, or as `siftflow_geometric` 3 geometric ones.

A label is the array `S` of a `.mat` file, with the classes from 1 on. Void is 0 in semantic labels
and -1 in geometric ones, where the released FCN takes 0 for void as well. Two of the 2688 images
have no annotation; FCN's lists leave them out. No image of `test` shows cow, desert or moon.

Source: Liu et al. 2009; Tighe and Lazebnik 2010 (the folder); siftflow_layers.py and data/sift-flow
of the released FCN.
"""

from functools import partial

from fcn_jax.data.files.matlab import read_mat_label
from fcn_jax.data.files.value_table import number_from_one
from fcn_jax.data.labels import LabelSet
from fcn_jax.data.sets.folder_layout import FolderLayout
from fcn_jax.data.sets.splits import PublishedSet, Split

# In the order of FCN's data/sift-flow/classes.txt, which is that of the numbers in the files.
NAMES = (
    "awning, balcony, bird, boat, bridge, building, bus, car, cow, crosswalk, desert, door, "
    "fence, field, grass, moon, mountain, person, plant, pole, river, road, rock, sand, sea, "
    "sidewalk, sign, sky, staircase, streetlight, sun, tree, window"
)
SEMANTIC_LABELS = LabelSet.in_voc_colors(NAMES.split(", "))
GEOMETRIC_LABELS = LabelSet.in_voc_colors(["sky", "horizontal", "vertical"])

SCENES = "spatial_envelope_256x256_static_8outdoorcategories"

EXPECTED_FILES = f"""\
  Images/{SCENES}/*.jpg
  SemanticLabels/{SCENES}/*.mat
  GeoLabels/{SCENES}/*.mat (for siftflow_geometric)
  {{trainval,test}}.txt           from shelhamer/fcn.berkeleyvision.org, folder data/sift-flow
in one folder: --config.data.source_dir=/path/to/SiftFlowDataset"""


def _make_set(
    name: str, title: str, labels: LabelSet, folder: str, void: tuple[int, ...]
) -> PublishedSet:
    layout = FolderLayout(
        name=name,
        title=title,
        places=("SiftFlowDataset", "."),
        lists="{}.txt",
        images=f"Images/{SCENES}/{{}}.jpg",
        label_files=f"{folder}/{SCENES}/{{}}.mat",
        read_label=partial(read_mat_label, variable="S", table=number_from_one(labels, void=void)),
        list_names=("trainval", "test"),
    )
    return PublishedSet(
        name=name,
        title=title,
        labels=labels,
        expected_files=EXPECTED_FILES,
        layouts=(layout,),
        splits={
            "trainval": Split(2486, take=(f"{name}/trainval",)),
            "test": Split(200, take=(f"{name}/test",)),
        },
        disjoint=(("trainval", "test"),),
    )


SEMANTIC = _make_set("siftflow", "SIFT Flow", SEMANTIC_LABELS, "SemanticLabels", void=(0,))
GEOMETRIC = _make_set(
    "siftflow_geometric", "SIFT Flow (geometric)", GEOMETRIC_LABELS, "GeoLabels", void=(-1, 0)
)
