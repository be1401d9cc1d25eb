"""What it takes to read a network from a file of somebody else's: names, shapes, preparation."""

import json
import re
from collections.abc import Iterable
from typing import NamedTuple

from fcn_jax.errors import UserError
from fcn_jax.ops import papers

CAFFE, TORCHVISION, TIMM, HUGGING_FACE = "caffe", "torchvision", "timm", "huggingface"
EFFICIENTNET_PYTORCH = "efficientnet_pytorch"
OWNERS = {
    CAFFE: "Caffe's",
    TORCHVISION: "torchvision's",
    TIMM: "timm's",
    HUGGING_FACE: "Hugging Face's",
    EFFICIENTNET_PYTORCH: "EfficientNet-PyTorch's",
}

# How files expect an image to be prepared, as JSON has it.
PREPROCESS = {name: json.loads(json.dumps(each)) for name, each in papers.PREPROCESS.items()}
TENSORFLOW, EFFICIENTNET_LITE = "tensorflow", "efficientnet_lite"

# What every batch norm here adds to the variance, and what TensorFlow's add in these networks.
NORM_EPSILON, TENSORFLOW_EPSILON = 1e-5, 1e-3

# Said of weights that were trained with TensorFlow's padding, which is one-sided where a size is
# even.
TENSORFLOW_PADDING = (
    "it was trained with TensorFlow's padding: this network is the same at sizes 32 k + 1 (225, "
    "513), and with --config.model.tf_padding=True at multiples of 32; otherwise its units lie on "
    "other pixels"
)


# Collection and leaf of each vector of a batch norm here, and its name in a torch state dict.
NORM_LEAVES = (
    ("params", "scale", "weight"),
    ("params", "bias", "bias"),
    ("batch_stats", "mean", "running_mean"),
    ("batch_stats", "var", "running_var"),
)


# What torch counts: the batches that a batch norm has seen, the updates of an average. Nothing
# depends on it.
COUNTER = re.compile(r"(.*\.)?(num_batches_tracked|n_averaged)")

# Layers of heads, whose names are the same here, in Caffe's segmentation nets and in our exports.
HEAD_LAYER = re.compile(r"(fc[678]|score|upscore|scale|data|pool\d)\d*(_\w+)?|fc1_\w+")


class NamedLayer(NamedTuple):
    """A convolution, and the batch norm after it if there is one.

    Attributes:
        path: Path of the convolution here.
        shape: Shape of the kernel there: (out, in / groups, height, width).
        name: Name of the convolution there.
        norm: Name of the batch norm there; empty for none.
        scale: Name there of what scales after the norm, where it is a layer of its own.
        has_bias: Whether the convolution has a bias there, even if a batch norm makes it redundant.
    """

    path: str
    shape: tuple[int, ...]
    name: str
    norm: str = ""
    has_bias: bool = True
    scale: str = ""

    @property
    def kernel(self) -> tuple[str, str]:
        """The path of the kernel here, and its name there."""
        return f"params/{self.path}/kernel", f"{self.name}.weight"

    @property
    def vectors(self) -> dict[str, str]:
        """Paths here, and names there, of arrays with one number for each output channel."""
        if self.norm:
            owners = {"params": self.scale or self.norm, "batch_stats": self.norm}
            return {
                f"{collection}/{self.path}/norm/{leaf}": f"{owners[collection]}.{name}"
                for collection, leaf, name in NORM_LEAVES
            }
        return {f"params/{self.path}/bias": f"{self.name}.bias"} if self.has_bias else {}

    @property
    def folded(self) -> dict[str, str]:
        """The path of a batch norm's mean here, and the name there of the bias before this norm."""
        both = self.norm and self.has_bias
        return {f"batch_stats/{self.path}/norm/mean": f"{self.name}.bias"} if both else {}


class Naming(NamedTuple):
    """One set of names that a network has elsewhere.

    Attributes:
        origin: Whose names they are; one of `OWNERS`.
        layers: Layers of the backbone, all of which a file must hold.
        classifier: Names of the fully connected layers there: fc6 and fc7 where the network has
            them, and last the layer that scores ImageNet's classes, which is of no use here.
        fc6_kernel: Size of the map that fc6 sees; 0 where there is no fc6.
        preprocess: How files with these names expect an image, unless they say otherwise.
        epsilon: What the batch norms there add to the variance.
        note: What a user has to know who imports such a file; empty for nothing.
    """

    origin: str
    layers: tuple[NamedLayer, ...]
    classifier: tuple[str, ...]
    fc6_kernel: int = 0
    preprocess: str = TORCHVISION
    epsilon: float = NORM_EPSILON
    note: str = ""

    @property
    def stem(self) -> tuple[str, tuple[int, ...]]:
        """Name and shape of the first kernel."""
        return self.layers[0].kernel[1], self.layers[0].shape


def check_known(what: str, value: str, known: Iterable[str]) -> None:
    """Raises UserError unless `value` is one of those that are known."""
    if value not in known:
        raise UserError(f"unknown {what} {value!r}; known: {', '.join(known)}")
