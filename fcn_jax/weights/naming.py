"""Names and shapes that the layers of each network have elsewhere.

A network may have several namings: Caffe's names or torchvision's, with and without batch norm,
with and without an optional layer. `NAMINGS` lists them; a file has to fit one of them whole.

Source: the released VGG_ILSVRC_16_layers and bvlc_reference_caffenet prototxts; the modules of
torchvision.models (vgg.py, alexnet.py, resnet.py, mobilenetv2.py); mobilenet_v2_deploy.prototxt of
shicai/MobileNet-Caffe.
"""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from fcn_jax.errors import UserError
from fcn_jax.ops import papers

CAFFE, TORCHVISION = "caffe", "torchvision"

# What the weights of each origin expect of an image, as JSON has it.
PREPROCESS = {
    origin: json.loads(json.dumps(expected)) for origin, expected in papers.PREPROCESS.items()
}


# Collection and leaf of each vector of a batch norm here, and its name in a torch state dict.
NORM_LEAVES = (
    ("params", "scale", "weight"),
    ("params", "bias", "bias"),
    ("batch_stats", "mean", "running_mean"),
    ("batch_stats", "var", "running_var"),
)


# Layers of heads, whose names are the same here, in Caffe's segmentation nets and in our exports.
HEAD_LAYER = re.compile(r"(fc[678]|score|upscore|data|pool\d)(_\w+|\d+)?")


class NamedLayer(NamedTuple):
    """A convolution, and the batch norm after it if there is one.

    Attributes:
        path: Path of the convolution here.
        shape: Shape of the kernel there: (out, in / groups, height, width).
        name: Name of the convolution there.
        norm: Name of the batch norm there; empty for none.
        has_bias: Whether the convolution has a bias there, even if a batch norm makes it redundant.
    """

    path: str
    shape: tuple[int, ...]
    name: str
    norm: str = ""
    has_bias: bool = True

    @property
    def kernel(self) -> tuple[str, str]:
        """The path of the kernel here, and its name there."""
        return f"params/{self.path}/kernel", f"{self.name}.weight"

    @property
    def vectors(self) -> dict[str, str]:
        """Paths here, and names there, of arrays with one number for each output channel."""
        if self.norm:
            return {
                f"{collection}/{self.path}/norm/{leaf}": f"{self.norm}.{name}"
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
        origin: Whose names they are, `caffe` or `torchvision`.
        layers: Layers of the backbone, all of which a file must hold.
        classifier: Names of the fully connected layers there: fc6 and fc7 where the network has
            them, and last the layer that scores ImageNet's classes, which is of no use here.
        fc6_kernel: Size of the map that fc6 sees; 0 where there is no fc6.
    """

    origin: str
    layers: tuple[NamedLayer, ...]
    classifier: tuple[str, ...]
    fc6_kernel: int = 0


CAFFE_CLASSIFIER = ("fc6", "fc7", "fc8")


def vgg16(origin: str, *, norm: bool) -> Naming:
    """Names VGG16's layers; torchvision counts them, activations and pools included."""
    layers, number, channels = [], 0, 3
    for stage, (convs, outs) in enumerate(papers.VGG16_STAGES, start=1):
        for index in range(1, convs + 1):
            name = f"conv{stage}_{index}"
            layers.append(
                NamedLayer(
                    path=f"backbone/{name}",
                    shape=(outs, channels, 3, 3),
                    name=f"features.{number}" if origin == TORCHVISION else name,
                    norm=f"features.{number + 1}" if norm else "",
                )
            )
            number += 3 if norm else 2
            channels = outs
        number += 1  # the pool
    classifier = CAFFE_CLASSIFIER
    if origin == TORCHVISION:
        classifier = ("classifier.0", "classifier.3", "classifier.6")
    return Naming(origin, tuple(layers), classifier, fc6_kernel=7)


def caffenet() -> Naming:
    """Names CaffeNet's layers; conv2, conv4 and conv5 have two groups."""
    shapes = ((96, 3, 11), (256, 48, 5), (384, 256, 3), (384, 192, 3), (256, 192, 3))
    names = [f"conv{number}" for number in range(1, 6)]
    return Naming(CAFFE, _alexnet(shapes, names), CAFFE_CLASSIFIER, fc6_kernel=6)


def torchvision_alexnet() -> Naming:
    """Names the layers of torchvision's AlexNet: one tower of fewer channels, without groups."""
    shapes = ((64, 3, 11), (192, 64, 5), (384, 192, 3), (256, 384, 3), (256, 256, 3))
    names = [f"features.{number}" for number in (0, 3, 6, 8, 10)]
    classifier = ("classifier.1", "classifier.4", "classifier.6")
    return Naming(TORCHVISION, _alexnet(shapes, names), classifier, fc6_kernel=6)


def _alexnet(
    shapes: Iterable[tuple[int, int, int]], names: Iterable[str]
) -> tuple[NamedLayer, ...]:
    return tuple(
        NamedLayer(f"backbone/conv{number}", (outs, ins, kernel, kernel), name)
        for number, ((outs, ins, kernel), name) in enumerate(zip(shapes, names, strict=True), 1)
    )


def resnet(depth: int) -> Naming:
    """Names a ResNet's layers: basic blocks up to depth 34, and bottlenecks from 50 on."""
    layers = [_normed("backbone/conv1", (64, 3, 7, 7), "conv1", "bn1")]
    channels = 64
    for stage, blocks in enumerate(papers.RESNET_BLOCKS[depth], start=1):
        inner = 64 * 2 ** (stage - 1)
        outs = inner if depth not in papers.RESNET_BOTTLENECKS else 4 * inner
        for index in range(blocks):
            if depth not in papers.RESNET_BOTTLENECKS:
                shapes = [(inner, channels, 3, 3), (outs, inner, 3, 3)]
            else:
                shapes = [(inner, channels, 1, 1), (inner, inner, 3, 3), (outs, inner, 1, 1)]
            path, name = f"backbone/layer{stage}_{index}", f"layer{stage}.{index}"
            layers += [
                _normed(f"{path}/conv{number}", shape, f"{name}.conv{number}", f"{name}.bn{number}")
                for number, shape in enumerate(shapes, start=1)
            ]
            if channels != outs:
                shape, name = (outs, channels, 1, 1), f"{name}.downsample"
                layers.append(_normed(f"{path}/downsample", shape, f"{name}.0", f"{name}.1"))
            channels = outs
    return Naming(TORCHVISION, tuple(layers), classifier=("fc",))


def mobilenet_v2(*, first_expand: bool, conv_last: bool = True) -> Naming:
    """Names MobileNetV2's layers.

    Args:
        first_expand: Whether the first bottleneck holds an expansion; see `CAFFE_MOBILENET`.
        conv_last: Whether the layer before the classifier is there; DeepLab leaves it out.
    """
    layers = [_normed("backbone/conv0", (32, 3, 3, 3), "features.0.0", "features.0.1")]
    number, channels = 0, 32
    for expansion, outs, repeats in papers.MOBILENETV2_STAGES:
        for _ in range(repeats):
            number += 1
            path, name = f"backbone/bottleneck{number}", f"features.{number}.conv"
            hidden, position = channels * expansion, 0
            if expansion > 1 or first_expand:
                shape = (hidden, channels, 1, 1)
                layers.append(_normed(f"{path}/expand", shape, f"{name}.0.0", f"{name}.0.1"))
                position = 1
            shape, part = (hidden, 1, 3, 3), f"{name}.{position}"
            layers.append(_normed(f"{path}/depthwise", shape, f"{part}.0", f"{part}.1"))
            shape = (outs, hidden, 1, 1)
            names = f"{name}.{position + 1}", f"{name}.{position + 2}"
            layers.append(_normed(f"{path}/project", shape, *names))
            channels = outs
    if conv_last:
        last = "features.18.0", "features.18.1"
        layers.append(_normed("backbone/conv_last", (1280, channels, 1, 1), *last))
    return Naming(TORCHVISION, tuple(layers), classifier=("classifier.1",))


def _normed(path: str, shape: tuple[int, int, int, int], name: str, norm: str) -> NamedLayer:
    return NamedLayer(path, shape, name, norm, has_bias=False)


NAMINGS: Mapping[str, tuple[Naming, ...]] = {
    "vgg16": (
        vgg16(CAFFE, norm=False),
        vgg16(TORCHVISION, norm=False),
        vgg16(TORCHVISION, norm=True),
    ),
    "alexnet": (caffenet(), torchvision_alexnet()),
    **{f"resnet{depth}": (resnet(depth),) for depth in papers.RESNET_BLOCKS},
    "mobilenetv2": tuple(
        mobilenet_v2(first_expand=first_expand, conv_last=conv_last)
        for conv_last in (True, False)
        for first_expand in (False, True)
    ),
}


# Options of a network on which the meaning of its weights depends, though no shape shows it, with
# the values that the paper and torchvision have.
REQUIRED_OPTIONS: Mapping[str, dict[str, Any]] = {
    "mobilenetv2": {"first_expand": False, "strides": (1, 2, 2, 2, 1, 2, 1), "activation": "relu6"}
}

# The Caffe net expands in its first bottleneck too, and only there do the arrays show which of the
# two it is; besides, its fourth stride is one stage later, and it has ReLU. Its weights are handed
# on under torchvision's names.
CAFFE_MOBILENET = {"first_expand": True, "strides": (1, 2, 2, 1, 2, 2, 1), "activation": "relu"}


def find_requires(network: str, leaves: Iterable[str]) -> dict[str, Any]:
    """Finds the options that a backbone must have for its weights to mean what they meant.

    Args:
        network: Name of the backbone.
        leaves: Paths of the weights.
    """
    if network == "mobilenetv2" and "params/backbone/bottleneck1/expand/kernel" in leaves:
        return dict(CAFFE_MOBILENET)
    return dict(REQUIRED_OPTIONS.get(network, {}))


def check_known(what: str, value: str, known: Iterable[str]) -> None:
    """Raises UserError unless `value` is one of those that are known."""
    if value not in known:
        raise UserError(f"unknown {what} {value!r}; known: {', '.join(known)}")
