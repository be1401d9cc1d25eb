"""What a network has to be like for weights to mean what they meant, where no shape shows it."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from fcn_jax.ops import papers
from fcn_jax.weights.naming import CAFFE, HUGGING_FACE, TORCHVISION

# Options of a network on which the meaning of its weights depends, though no shape shows it, with
# the values that the paper and torchvision have.
REQUIRED_OPTIONS: Mapping[str, dict[str, Any]] = {
    "mobilenetv2": {"first_expand": False, "strides": (1, 2, 2, 2, 1, 2, 1), "activation": "relu6"},
    **{f"resnet{depth}": {"stride_in_1x1": False} for depth in papers.RESNET_BOTTLENECKS},
}

# The Caffe net expands in its first bottleneck too, and only there do the arrays show which of the
# two it is; besides, its fourth stride is one stage later, and it has ReLU. Its weights are handed
# on under torchvision's names.
CAFFE_MOBILENET = {"first_expand": True, "strides": (1, 2, 2, 1, 2, 2, 1), "activation": "relu"}


def find_requires(
    network: str, arrays: Mapping[str, np.ndarray], *, origin: str = TORCHVISION
) -> dict[str, Any]:
    """Finds the options that a backbone must have for its weights to mean what they meant.

    Args:
        network: Name of the backbone.
        arrays: Weights by path.
        origin: Whose names they had.
    """
    requires = dict(REQUIRED_OPTIONS.get(network, {}))
    if "stride_in_1x1" in requires:
        requires["stride_in_1x1"] = origin == CAFFE
    if network == "mobilenetv2" and "params/backbone/bottleneck1/expand/kernel" in arrays:
        # Hugging Face's network has an option for the expansion, and nothing else is changed by it.
        return requires | {"first_expand": True} if origin == HUGGING_FACE else CAFFE_MOBILENET
    if network == "alexnet":
        conv1 = arrays.get("params/backbone/conv1/kernel")
        requires["one_tower"] = conv1 is not None and conv1.shape[-1] == 64
    return requires
