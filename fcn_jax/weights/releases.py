"""Segmentation networks that Caffe's files hold, and of which the names do not say everything.

Source: siftflow_layers.py, nyud_layers.py, siftflow-fcn*/net.py and nyud-fcn32s-*/net.py in
shelhamer/fcn.berkeleyvision.org.
"""

import re
from typing import NamedTuple

import numpy as np

from fcn_jax.errors import UserError
from fcn_jax.weights.axes import Arrays


class Release(NamedTuple):
    """What is known of a released network.

    Attributes:
        score: Name of the layer that scores the deepest features.
        num_classes: Number of classes that it scores.
        mean_question: What a user has to be asked who does not say which mean was subtracted, since
            it is not ImageNet's.
        branch: Ending of the names of the branch that is taken, where the head has several.
        note: What is said of a head that is taken.
    """

    score: str
    num_classes: int
    mean_question: str
    branch: str = ""
    note: str = ""

    def take_branch(self, arrays: Arrays) -> dict[str, np.ndarray]:
        """Names the arrays of the branch as they are named in a network of one branch.

        Raises:
            UserError: Some names are those of both.
        """
        if not self.branch:
            return dict(arrays)
        taken = {}
        for name, array in arrays.items():
            layer, _, kind = name.rpartition(".")
            if not layer.endswith(OTHER_BRANCH):
                name = f"{layer.removesuffix(self.branch)}.{kind}"
                if name in taken:
                    raise UserError(f"it has both {name} and {layer}.{kind}; leave one of them out")
                taken[name] = array
        return taken

    def name_there(self, name: str) -> str:
        """Names an array of `take_branch` as it is named in the file."""
        layer, _, kind = name.rpartition(".")
        is_head = re.match(r"(score|upscore)", layer)
        return f"{layer}{self.branch}.{kind}" if is_head else name


OTHER_BRANCH = "_geo"

RELEASES = (
    Release(
        score="score_fr_sem",
        num_classes=33,
        mean_question="it is SIFT Flow's, whose mean is not ImageNet's; give "
        "--preprocess=caffe:108.353,115.294,114.578, which its release subtracts",
        branch="_sem",
        note="of SIFT Flow's two branches the semantic one (33 classes) is taken, and the "
        "geometric one (3) is left out",
    ),
    Release(
        score="score_fr",
        num_classes=40,
        mean_question="it has 40 classes as NYUDv2's, whose mean is not ImageNet's; give "
        "--preprocess=caffe:92.318,97.203,116.190 for nyud-fcn32s-color, or --preprocess=caffe if "
        "it is another\n(nyud-fcn32s-hha has the same names, and reads HHA images: no network here "
        "does)",
    ),
)


def find_release(arrays: Arrays) -> Release | None:
    """Finds which release the arrays of a network are; None if they are of none of them."""
    for release in RELEASES:
        score = arrays.get(f"{release.score}.weight")
        if score is not None and (release.branch or len(score) == release.num_classes):
            return release
    return None
