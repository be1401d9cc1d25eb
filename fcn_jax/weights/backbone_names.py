"""Names and shapes that the layers of each backbone have elsewhere.

A backbone may have several namings: Caffe's names, torchvision's, timm's, Hugging Face's or
EfficientNet-PyTorch's, with and without batch norm, with and without an optional layer. `NAMINGS`
lists them; a file has to fit one of them whole.

Source: the released VGG_ILSVRC_16_layers, bvlc_reference_caffenet and ResNet-50 and -101 prototxts
(KaimingHe/deep-residual-networks); the modules of
torchvision.models (vgg.py, alexnet.py, resnet.py, mobilenetv2.py), of timm 1.0 (vgg.py,
efficientnet.py) and of transformers 5 (modeling_mobilenet_v2.py, modeling_resnet.py);
mobilenet_v2_deploy.prototxt of shicai/MobileNet-Caffe; model.py of lukemelas/EfficientNet-PyTorch.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

from fcn_jax.ops import papers
from fcn_jax.weights.naming import (
    CAFFE,
    EFFICIENTNET_LITE,
    EFFICIENTNET_PYTORCH,
    HUGGING_FACE,
    TENSORFLOW,
    TENSORFLOW_EPSILON,
    TENSORFLOW_PADDING,
    TIMM,
    TORCHVISION,
    NamedLayer,
    Naming,
)

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


def caffe_resnet(depth: int, *, conv1_bias: bool) -> Naming:
    """Names the layers of Caffe's ResNet-50 or 101, and of those that DeepLab v2 was trained from.

    Its batch norm is two layers: one that normalises, and one that scales.

    Args:
        depth: 50 or 101.
        conv1_bias: Whether the first convolution has a bias before its norm, as in ResNet-50.
    """
    suffixes = {"conv1": "_conv1"}
    for stage, blocks in enumerate(papers.RESNET_BLOCKS[depth], start=1):
        # ResNet-101 counts the blocks of its longer stages: a, b1, b2, ...
        counts = depth == 101 and blocks > 3
        for index in range(blocks):
            block = f"b{index}" if counts and index else "abcdef"[index]
            path, suffix = f"layer{stage}_{index}", f"{stage + 1}{block}_branch"
            suffixes[f"{path}/downsample"] = f"{suffix}1"
            suffixes |= {f"{path}/conv{at}": f"{suffix}2{'abc'[at - 1]}" for at in (1, 2, 3)}
    layers = []
    for layer in resnet(depth).layers:
        suffix = suffixes[layer.path.removeprefix("backbone/")]
        is_first = suffix == "_conv1"
        names = {"norm": f"bn{suffix}", "scale": f"scale{suffix}"}
        names["name"] = "conv1" if is_first else f"res{suffix}"
        layers.append(layer._replace(has_bias=is_first and conv1_bias, **names))
    return Naming(CAFFE, tuple(layers), ("fc1000",), preprocess=CAFFE)


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
        f"resnet{depth}": (
            resnet(depth),
            resnet(depth, origin=HUGGING_FACE),
            *(
                caffe_resnet(depth, conv1_bias=conv1_bias)
                for conv1_bias in (False, True)
                if depth in papers.RESNET_BOTTLENECKS
            ),
        )
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
