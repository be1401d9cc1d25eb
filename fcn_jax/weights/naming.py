"""Names and shapes that the layers of each network have elsewhere.

A network may have several namings: Caffe's names, torchvision's, timm's, Hugging Face's or
EfficientNet-PyTorch's, with and without batch norm, with and without an optional layer. `NAMINGS`
lists them; a file has to fit one of them whole.

Source: the released VGG_ILSVRC_16_layers and bvlc_reference_caffenet prototxts; the modules of
torchvision.models (vgg.py, alexnet.py, resnet.py, mobilenetv2.py), of timm 1.0 (vgg.py,
efficientnet.py) and of transformers 5 (modeling_mobilenet_v2.py, modeling_resnet.py);
mobilenet_v2_deploy.prototxt of shicai/MobileNet-Caffe; model.py of lukemelas/EfficientNet-PyTorch.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
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
    "513), and at others its units lie on other pixels"
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
HEAD_LAYER = re.compile(r"(fc[678]|score|upscore|scale|data|pool\d)\d*(_\w+)?")


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


CAFFE_CLASSIFIER = ("fc6", "fc7", "fc8")
VGG16_CLASSIFIERS = {
    CAFFE: CAFFE_CLASSIFIER,
    TORCHVISION: ("classifier.0", "classifier.3", "classifier.6"),
    TIMM: ("pre_logits.fc1", "pre_logits.fc2", "head.fc"),
}


def vgg16(origin: str, *, norm: bool) -> Naming:
    """Names VGG16's layers; torchvision and timm count them, activations and pools included."""
    layers, number, channels = [], 0, 3
    for stage, (convs, outs) in enumerate(papers.VGG16_STAGES, start=1):
        for index in range(1, convs + 1):
            name = f"conv{stage}_{index}"
            layers.append(
                NamedLayer(
                    path=f"backbone/{name}",
                    shape=(outs, channels, 3, 3),
                    name=name if origin == CAFFE else f"features.{number}",
                    norm=f"features.{number + 1}" if norm else "",
                )
            )
            number += 3 if norm else 2
            channels = outs
        number += 1  # the pool
    return Naming(
        origin,
        tuple(layers),
        VGG16_CLASSIFIERS[origin],
        fc6_kernel=7,
        preprocess=CAFFE if origin == CAFFE else TORCHVISION,
    )


def caffenet() -> Naming:
    """Names CaffeNet's layers; conv2, conv4 and conv5 have two groups."""
    shapes = ((96, 3, 11), (256, 48, 5), (384, 256, 3), (384, 192, 3), (256, 192, 3))
    names = [f"conv{number}" for number in range(1, 6)]
    layers = _alexnet(shapes, names)
    return Naming(CAFFE, layers, CAFFE_CLASSIFIER, fc6_kernel=6, preprocess=CAFFE)


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


def resnet(depth: int, *, origin: str = TORCHVISION) -> Naming:
    """Names a ResNet's layers: basic blocks up to depth 34, and bottlenecks from 50 on.

    timm's names are torchvision's.
    """
    hugging_face = origin == HUGGING_FACE
    stem = _hugging_face("embedder.embedder") if hugging_face else ("conv1", "bn1")
    layers = [_normed("backbone/conv1", (64, 3, 7, 7), *stem)]
    channels = 64
    for stage, blocks in enumerate(papers.RESNET_BLOCKS[depth], start=1):
        inner = 64 * 2 ** (stage - 1)
        outs = inner if depth not in papers.RESNET_BOTTLENECKS else 4 * inner
        for index in range(blocks):
            if depth not in papers.RESNET_BOTTLENECKS:
                shapes = [(inner, channels, 3, 3), (outs, inner, 3, 3)]
            else:
                shapes = [(inner, channels, 1, 1), (inner, inner, 3, 3), (outs, inner, 1, 1)]
            path = f"backbone/layer{stage}_{index}"
            if hugging_face:
                block = f"encoder.stages.{stage - 1}.layers.{index}"
                names = [_hugging_face(f"{block}.layer.{number}") for number in range(len(shapes))]
                shortcut = _hugging_face(f"{block}.shortcut")
            else:
                block = f"layer{stage}.{index}"
                numbers = range(1, len(shapes) + 1)
                names = [(f"{block}.conv{number}", f"{block}.bn{number}") for number in numbers]
                shortcut = f"{block}.downsample.0", f"{block}.downsample.1"
            for number, (shape, pair) in enumerate(zip(shapes, names, strict=True), start=1):
                layers.append(_normed(f"{path}/conv{number}", shape, *pair))
            if channels != outs:
                layers.append(_normed(f"{path}/downsample", (outs, channels, 1, 1), *shortcut))
            channels = outs
    return Naming(origin, tuple(layers), ("classifier.1" if hugging_face else "fc",))


# Names of MobileNetV2's first layer, its last one, and the classifier.
MOBILENETV2_ENDS = {
    TORCHVISION: (("features.0.0", "features.0.1"), ("features.18.0", "features.18.1")),
    TIMM: (("conv_stem", "bn1"), ("conv_head", "bn2")),
    HUGGING_FACE: tuple(
        (f"{name}.convolution", f"{name}.normalization")
        for name in ("conv_stem.first_conv", "conv_1x1")
    ),
}


def mobilenet_v2(
    *, first_expand: bool, conv_last: bool = True, origin: str = TORCHVISION
) -> Naming:
    """Names MobileNetV2's layers.

    Args:
        first_expand: Whether the first bottleneck holds an expansion; see `CAFFE_MOBILENET`.
        conv_last: Whether the layer before the classifier is there; DeepLab leaves it out.
        origin: Whose names they are.
    """
    layers = _inverted_residuals(
        papers.MOBILENETV2_STAGES,
        MOBILENETV2_ENDS[origin],
        partial(_bottleneck, origin),
        first_expand=first_expand,
        conv_last=conv_last,
    )
    classifier = ("classifier.1" if origin == TORCHVISION else "classifier",)
    if origin == HUGGING_FACE:  # all of whose files were converted from TensorFlow's
        return Naming(
            origin,
            layers,
            classifier,
            preprocess=TENSORFLOW,
            epsilon=TENSORFLOW_EPSILON,
            note=TENSORFLOW_PADDING,
        )
    return Naming(origin, layers, classifier)


def efficientnet_lite(variant: int, *, conv_last: bool = True) -> Naming:
    """Names the layers of EfficientNet-Lite0, 1 or 2.

    Args:
        variant: Which of them: 0, 1 or 2.
        conv_last: Whether the layer before the classifier is there; DeepLab leaves it out.
    """
    layers = _inverted_residuals(
        papers.scale_efficientnet_lite(variant),
        (("_conv_stem", "_bn0"), ("_conv_head", "_bn1")),
        _efficientnet_block,
        conv_last=conv_last,
    )
    return Naming(
        EFFICIENTNET_PYTORCH,
        layers,
        ("_fc",),
        preprocess=EFFICIENTNET_LITE,
        epsilon=TENSORFLOW_EPSILON,
    )


def _efficientnet_block(number: int, block: str, *, convs: int) -> list[tuple[str, str]]:
    """Names the two or three convolutions of a block, and their norms."""
    del block  # EfficientNet-PyTorch counts the blocks of all stages
    names = (("_expand_conv", "_bn0"), ("_depthwise_conv", "_bn1"), ("_project_conv", "_bn2"))
    return [tuple(f"_blocks.{number - 1}.{name}" for name in pair) for pair in names[-convs:]]


def _inverted_residuals(
    stages: Sequence[papers.Stage],
    ends: tuple[tuple[str, str], tuple[str, str]],
    name_block: Callable[..., list[tuple[str, str]]],
    *,
    first_expand: bool = False,
    conv_last: bool = True,
) -> tuple[NamedLayer, ...]:
    """Names the layers of a network of bottlenecks.

    Args:
        stages: Stages of the network.
        ends: Names of the first layer and of the last one, and of their norms.
        name_block: `name_block(number, block, convs=...)` names the convolutions of the bottleneck
            of this number, which timm calls `block`, and their norms.
        first_expand: Whether the first bottleneck holds an expansion.
        conv_last: Whether the last layer is there.
    """
    first, last = ends
    layers = [_normed("backbone/conv0", (32, 3, 3, 3), *first)]
    number, channels = 0, 32
    for place, stage in enumerate(stages):
        for index in range(stage.repeats):
            number += 1
            path, hidden = f"backbone/bottleneck{number}", channels * stage.expansion
            shapes = {
                "expand": (hidden, channels, 1, 1),
                "depthwise": (hidden, 1, stage.kernel, stage.kernel),
                "project": (stage.channels, hidden, 1, 1),
            }
            if stage.expansion == 1 and not first_expand:
                del shapes["expand"]
            names = name_block(number, f"blocks.{place}.{index}", convs=len(shapes))
            for (part, shape), pair in zip(shapes.items(), names, strict=True):
                layers.append(_normed(f"{path}/{part}", shape, *pair))
            channels = stage.channels
    if conv_last:
        layers.append(_normed("backbone/conv_last", (1280, channels, 1, 1), *last))
    return tuple(layers)


def _bottleneck(origin: str, number: int, block: str, *, convs: int) -> list[tuple[str, str]]:
    """Names the two or three convolutions of a bottleneck, and their norms."""
    if origin == TIMM:
        names = ("conv_pw", "conv_dw", "conv_pwl") if convs == 3 else ("conv_dw", "conv_pw")
        return [(f"{block}.{name}", f"{block}.bn{at}") for at, name in enumerate(names, start=1)]
    if origin == HUGGING_FACE:
        block = "conv_stem" if number == 1 else f"layer.{number - 2}"
        names = ("expand_1x1", "conv_3x3", "reduce_1x1")[-convs:]
        return [_hugging_face(f"{block}.{name}") for name in names]
    block = f"features.{number}.conv"
    pairs = [(f"{block}.{at}.0", f"{block}.{at}.1") for at in range(convs - 1)]
    return [*pairs, (f"{block}.{convs - 1}", f"{block}.{convs}")]


def _hugging_face(layer: str) -> tuple[str, str]:
    return f"{layer}.convolution", f"{layer}.normalization"


def _normed(path: str, shape: tuple[int, int, int, int], name: str, norm: str) -> NamedLayer:
    return NamedLayer(path, shape, name, norm, has_bias=False)


NAMINGS: Mapping[str, tuple[Naming, ...]] = {
    "vgg16": (
        vgg16(CAFFE, norm=False),
        vgg16(TORCHVISION, norm=False),
        vgg16(TORCHVISION, norm=True),
        vgg16(TIMM, norm=False),
        vgg16(TIMM, norm=True),
    ),
    "alexnet": (caffenet(), torchvision_alexnet()),
    **{
        f"resnet{depth}": (resnet(depth), resnet(depth, origin=HUGGING_FACE))
        for depth in papers.RESNET_BLOCKS
    },
    "mobilenetv2": tuple(
        mobilenet_v2(first_expand=first_expand, conv_last=conv_last, origin=origin)
        for origin in MOBILENETV2_ENDS
        for conv_last in (True, False)
        for first_expand in (False, True)
    ),
    **{
        f"efficientnetlite{variant}": tuple(
            efficientnet_lite(variant, conv_last=conv_last) for conv_last in (True, False)
        )
        for variant in papers.EFFICIENTNET_LITE_FACTORS
    },
}
TITLES = {
    "vgg16": "VGG16",
    "alexnet": "AlexNet",
    **{f"resnet{depth}": f"ResNet-{depth}" for depth in papers.RESNET_BLOCKS},
    "mobilenetv2": "MobileNetV2",
    **{
        f"efficientnetlite{variant}": f"EfficientNet-Lite{variant}"
        for variant in papers.EFFICIENTNET_LITE_FACTORS
    },
}


def check_known(what: str, value: str, known: Iterable[str]) -> None:
    """Raises UserError unless `value` is one of those that are known."""
    if value not in known:
        raise UserError(f"unknown {what} {value!r}; known: {', '.join(known)}")
