"""What the layers of each network are called elsewhere, and what shapes they have there.

A network may be laid out in several ways: Caffe's or torchvision's names, with and without batch
norm, with and without an optional layer. `LAYOUTS` lists them; a file has to fit one of them whole.

Source: the released VGG_ILSVRC_16_layers and bvlc_reference_caffenet prototxts; the modules of
torchvision.models (vgg.py, alexnet.py, resnet.py, mobilenetv2.py).
"""

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from fcn_jax.errors import UserError

CAFFE, TORCHVISION = "caffe", "torchvision"

# What the weights of each origin expect: (image - mean_rgb) / std_rgb of an RGB image in 0..255,
# and then BGR if so. Caffe's mean is ILSVRC's, as FCN's nets write it; torchvision's is for 0..1.
PREPROCESS = {
    CAFFE: {"mean_rgb": [122.67892, 116.66877, 104.00699], "std_rgb": [1.0, 1.0, 1.0], "bgr": True},
    TORCHVISION: {
        "mean_rgb": [0.485 * 255, 0.456 * 255, 0.406 * 255],
        "std_rgb": [0.229 * 255, 0.224 * 255, 0.225 * 255],
        "bgr": False,
    },
}


# Collection and leaf here, and the name in a torch state dict.
NORM_LEAVES = (
    ("params", "scale", "weight"),
    ("params", "bias", "bias"),
    ("batch_stats", "mean", "running_mean"),
    ("batch_stats", "var", "running_var"),
)


# Layers of heads, called the same here, in Caffe's segmentation nets and in what we export.
HEAD_LAYER = re.compile(r"(fc[678]|score|upscore|data|pool\d)(_\w+|\d+)?")


class Layer(NamedTuple):
    """A convolution, and the batch norm after it if there is one.

    Attributes:
        path: here.
        shape: of the kernel there: (out, in / groups, height, width).
        name: there.
        norm: name of the batch norm there; empty for none.
        has_bias: whether the convolution has one there, be it redundant before a batch norm.
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
        """The paths here, and the names there, of what has one number for each output channel."""
        if self.norm:
            return {
                f"{collection}/{self.path}/norm/{leaf}": f"{self.norm}.{name}"
                for collection, leaf, name in NORM_LEAVES
            }
        return {f"params/{self.path}/bias": f"{self.name}.bias"} if self.has_bias else {}

    @property
    def folded(self) -> dict[str, str]:
        """The path of the batch norm's mean, and the name of the bias there that is before it."""
        both = self.norm and self.has_bias
        return {f"batch_stats/{self.path}/norm/mean": f"{self.name}.bias"} if both else {}


class Layout(NamedTuple):
    """One way in which a network is laid out elsewhere.

    Attributes:
        layers: of the backbone, all of which a file must hold.
        classifier: names of its fully connected layers there: fc6 and fc7 where the network has
            them, and last the one that scores ImageNet's classes, which is of no use here.
        fc6_kernel: size of the map that fc6 sees.
    """

    origin: str
    layers: tuple[Layer, ...]
    classifier: tuple[str, ...]
    fc6_kernel: int = 0


CAFFE_CLASSIFIER = ("fc6", "fc7", "fc8")

# Convolutions in each stage and their channels; see models/vgg.py.
VGG_STAGES = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))


def vgg16(origin: str, *, norm: bool) -> Layout:
    """Lays VGG16 out; torchvision numbers its layers, activations and pools included."""
    layers, number, channels = [], 0, 3
    for stage, (convs, outs) in enumerate(VGG_STAGES, start=1):
        for index in range(1, convs + 1):
            name = f"conv{stage}_{index}"
            layers.append(
                Layer(
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
    return Layout(origin, tuple(layers), classifier, fc6_kernel=7)


def caffenet() -> Layout:
    """Lays CaffeNet out: two groups in conv2, conv4 and conv5."""
    shapes = ((96, 3, 11), (256, 48, 5), (384, 256, 3), (384, 192, 3), (256, 192, 3))
    names = [f"conv{number}" for number in range(1, 6)]
    return Layout(CAFFE, _alexnet(shapes, names), CAFFE_CLASSIFIER, fc6_kernel=6)


def torchvision_alexnet() -> Layout:
    """Lays torchvision's AlexNet out: one tower of fewer channels, without groups."""
    shapes = ((64, 3, 11), (192, 64, 5), (384, 192, 3), (256, 384, 3), (256, 256, 3))
    names = [f"features.{number}" for number in (0, 3, 6, 8, 10)]
    classifier = ("classifier.1", "classifier.4", "classifier.6")
    return Layout(TORCHVISION, _alexnet(shapes, names), classifier, fc6_kernel=6)


def _alexnet(shapes, names) -> tuple[Layer, ...]:
    return tuple(
        Layer(f"backbone/conv{number}", (outs, ins, kernel, kernel), name)
        for number, ((outs, ins, kernel), name) in enumerate(zip(shapes, names, strict=True), 1)
    )


RESNET_BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}


def resnet(depth: int) -> Layout:
    """Lays a ResNet out, of basic blocks up to depth 34 and of bottlenecks from 50 on."""
    layers = [_normed("backbone/conv1", (64, 3, 7, 7), "conv1", "bn1")]
    channels = 64
    for stage, blocks in enumerate(RESNET_BLOCKS[depth], start=1):
        inner = 64 * 2 ** (stage - 1)
        outs = inner if depth < 50 else 4 * inner
        for index in range(blocks):
            if depth < 50:
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
    return Layout(TORCHVISION, tuple(layers), classifier=("fc",))


# (expansion, channels, bottlenecks); see models/mobilenet.py.
MOBILENET_STAGES = (
    (1, 16, 1), (6, 24, 2), (6, 32, 3), (6, 64, 4), (6, 96, 3), (6, 160, 3), (6, 320, 1),
)  # fmt: skip


def mobilenet_v2(*, first_expand: bool, conv_last: bool = True) -> Layout:
    """Lays MobileNetV2 out; torchvision's first bottleneck has no expansion, some files' has.

    Args:
        conv_last: whether the layer before the classifier is there; DeepLab leaves it out.
    """
    layers = [_normed("backbone/conv0", (32, 3, 3, 3), "features.0.0", "features.0.1")]
    number, channels = 0, 32
    for expansion, outs, repeats in MOBILENET_STAGES:
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
    return Layout(TORCHVISION, tuple(layers), classifier=("classifier.1",))


def _normed(path: str, shape: tuple[int, int, int, int], name: str, norm: str) -> Layer:
    return Layer(path, shape, name, norm, has_bias=False)


LAYOUTS: Mapping[str, tuple[Layout, ...]] = {
    "vgg16": (
        vgg16(CAFFE, norm=False),
        vgg16(TORCHVISION, norm=False),
        vgg16(TORCHVISION, norm=True),
    ),
    "alexnet": (caffenet(), torchvision_alexnet()),
    **{f"resnet{depth}": (resnet(depth),) for depth in RESNET_BLOCKS},
    "mobilenetv2": tuple(
        mobilenet_v2(first_expand=first_expand, conv_last=conv_last)
        for conv_last in (True, False)
        for first_expand in (False, True)
    ),
}


def check_known(what: str, value: str, known: Iterable[str]) -> None:
    """Raises ValueError unless `value` is one of those that are known."""
    if value not in known:
        raise UserError(f"unknown {what} {value!r}; known: {', '.join(known)}")
