"""Finds the head in a foreign file.

It is ImageNet's classifier, made convolutional and perhaps smaller, or the head of a segmentation
network as it is stored.
"""

import re
from collections.abc import Mapping
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from fcn_jax.errors import UserError
from fcn_jax.weights import axes
from fcn_jax.weights.axes import Arrays, format_names, format_shape
from fcn_jax.weights.naming import HEAD_LAYER, NamedLayer, Naming
from fcn_jax.weights.transplant import COPIED, DECIMATED, RESHAPED


class Head(NamedTuple):
    """What is kept of ImageNet's fc6 and fc7.

    Attributes:
        kernel: Taps of fc6 that are kept along an axis; None for all.
        share: Share of the filters of both that is kept.
    """

    kernel: int | None
    share: Fraction


AS_STORED = "own"
HEADS: Mapping[str, Head | None] = {
    "none": None,  # the backbone alone is imported
    AS_STORED: None,  # the head of a segmentation network is taken as it is
    "fcn": Head(kernel=None, share=Fraction(1)),  # DeepLab-7x7 takes this one too
    "largefov": Head(kernel=3, share=Fraction(1, 4)),  # 1024 of 4096
    "4x4": Head(kernel=4, share=Fraction(1)),
}

# The name of DeepLab's fc8 ends in the data set that it was trained on; that of ASPP's has a number
# behind, which counts from 1, and on a ResNet, where it is fc1, a letter and a number from 0.
DEEPLAB_SCORES = re.compile(r"fc8_(?:voc|pascal|coco)\w*?(_\d)?")
DEEPLAB_RESNET_SCORES = re.compile(r"fc1_(?:voc|pascal|coco)\w*?_c(\d)")

# A layer that multiplies the features of a skip before they are scored.
SKIP_SCALE = re.compile(r"scale_(\w+)\.weight")

BACKBONE_ALONE = "import the backbone alone, --head=none"
HEAD_AS_IT_IS = f"take its head as it is, --head={AS_STORED}"


class HeadConv(NamedTuple):
    """A convolution of a head, as it is found in a file.

    Attributes:
        layer: Names of the layer here and there.
        weights: Kernel of the layer, OIHW.
        action: What becomes of the kernel.
        ins: Input channels that are taken; None for all.
        outs: Output channels that are taken; None for all.
    """

    layer: NamedLayer
    weights: np.ndarray
    action: str
    ins: np.ndarray | None = None
    outs: np.ndarray | None = None


def find_head(
    rng: np.random.Generator, source: Arrays, naming: Naming, head: str
) -> list[HeadConv]:
    """Finds the layers of a head.

    Args:
        rng: Generator that chooses the filters where the head keeps only some.
        source: Arrays of a file by the names there.
        naming: Naming that the backbone in the file has.
        head: One of `HEADS`.
    Raises:
        UserError: The file has no such head.
    """
    if head == AS_STORED:
        return _find_stored_head(source, naming)
    kept = HEADS[head]
    return [] if kept is None else _find_classifier(rng, source, naming, kept)


def _find_classifier(
    rng: np.random.Generator, source: Arrays, naming: Naming, head: Head
) -> list[HeadConv]:
    """Finds fc6 and fc7 of ImageNet's classifier, and makes them smaller if asked to."""
    if scores := [name for name in _head_convs(source) if name not in naming.classifier]:
        raise UserError(
            f"it is a segmentation network, with {format_names(scores)}; {HEAD_AS_IT_IS}"
        )
    if not naming.fc6_kernel:
        raise UserError(f"its network has no fc6 and fc7; {BACKBONE_ALONE}")
    for name in naming.classifier[:-1]:
        if f"{name}.weight" not in source:
            raise UserError(f"it has no {name}.weight; {BACKBONE_ALONE}")
    fc6, fc7 = _find_fc(source, naming)
    for fc, kernel in ((fc6, naming.fc6_kernel), (fc7, 1)):
        if (taps := fc.weights.shape[2:]) != (kernel, kernel):
            raise UserError(
                f"{fc.layer.name} has {format_shape(taps)} taps, ImageNet's has {kernel}x{kernel}; "
                f"{HEAD_AS_IT_IS}"
            )
    if head.kernel in (None, naming.fc6_kernel):
        return [fc6, fc7]
    weights = axes.decimate(fc6.weights, kernel=head.kernel)
    fc6 = fc6._replace(weights=weights, action=DECIMATED)
    if head.share == 1:
        return [fc6, fc7]
    outs6, outs7 = (
        axes.choose_channels(rng, filters, keep=int(filters * head.share))
        for filters in (len(fc6.weights), len(fc7.weights))
    )
    return [fc6._replace(outs=outs6), fc7._replace(action=DECIMATED, ins=outs6, outs=outs7)]


def _find_stored_head(source: Arrays, naming: Naming) -> list[HeadConv]:
    """Finds all layers of a segmentation network's head."""
    convs = _find_fc(source, naming)
    names = {conv.layer.name for conv in convs}
    for name in _head_convs(source):
        if name not in names:
            path = name
            if scores := DEEPLAB_SCORES.fullmatch(name):
                path = f"fc8{scores[1] or ''}"
            elif scores := DEEPLAB_RESNET_SCORES.fullmatch(name):
                path = f"fc8_{int(scores[1]) + 1}"
            layer, weights = _head_layer(path, name, source), source[f"{name}.weight"]
            if name.startswith("upscore"):
                # Caffe's may have a group for every class; here it is dense, and has no bias.
                layer, weights = layer._replace(has_bias=False), axes.ungroup(weights)
            convs.append(HeadConv(layer, weights, COPIED))
    return convs


def find_skip_scales(source: Arrays) -> dict[str, float]:
    """Finds the factors of the features of all skips, coarse to fine, by the layer's kernel there.

    Returns:
        A factor for every skip that the head scores; 1 for one without such a layer, and nothing at
        all if no skip has one.
    Raises:
        UserError: A layer has more than one factor, or adds something.
    """
    scales = {}
    for name, array in source.items():
        if match := SKIP_SCALE.fullmatch(name):
            bias = source.get(f"scale_{match[1]}.bias", np.zeros(1))
            if np.ptp(array) > 1e-6 * abs(array).max() or bias.any():
                raise UserError(
                    f"{name} is more than one factor for all channels, which no network here has; "
                    f"multiply it into score_{match[1]}, or {BACKBONE_ALONE}"
                )
            # As it was written before it became float32.
            scales[match[1]] = float(str(np.float32(array.flat[0])))
    if not scales:
        return {}
    skips = [name[len("score_") :] for name in _head_convs(source) if name.startswith("score_")]
    skips = sorted({*skips, *scales} - {"fr"}, key=_depth, reverse=True)
    return {f"scale_{skip}.weight": scales.get(skip, 1.0) for skip in skips}


def _depth(skip: str) -> int:
    """The number in the name of a map: the coarser a map is, the later it comes."""
    return int(re.search(r"\d*$", skip)[0] or 0)


def _find_fc(source: Arrays, naming: Naming) -> list[HeadConv]:
    """Finds fc6 and fc7, each if the file has it."""
    found, channels, kernels = [], naming.layers[-1].shape[0], (naming.fc6_kernel, 1)
    for number, (name, kernel) in enumerate(
        zip(naming.classifier[:-1], kernels, strict=False), start=6
    ):
        if f"{name}.weight" not in source:
            continue
        layer = _head_layer(f"fc{number}", name, source)
        if naming.layers[-1].norm and not layer.norm:
            raise UserError(
                f"its {name} has no batch norm, as fc{number} has here if the backbone has; "
                f"{BACKBONE_ALONE}"
            )
        if not layer.vectors:
            raise UserError(f"it has no {name}.bias; {BACKBONE_ALONE}")
        weights, action = source[f"{name}.weight"], COPIED
        shape = format_shape(weights.shape)
        if weights.ndim == 2:
            weights, action = axes.fc_to_conv(weights, kernel=kernel), RESHAPED
        if weights.ndim != 4 or weights.shape[1] != channels:
            raise UserError(f"{name}.weight is {shape}, which does not follow {channels} channels")
        channels = len(weights)
        found.append(HeadConv(layer, weights, action))
    return found


def _head_convs(source: Arrays) -> list[str]:
    """Lists the convolutions whose names are those of layers of a segmentation network's head."""
    layers = (name.rpartition(".") for name, array in source.items() if array.ndim == 4)
    return [layer for layer, _, kind in layers if kind == "weight" and HEAD_LAYER.fullmatch(layer)]


def _head_layer(path: str, name: str, names: Arrays) -> NamedLayer:
    norm = f"{name}.norm" if f"{name}.norm.weight" in names else ""
    return NamedLayer(path, (), name, norm, has_bias=f"{name}.bias" in names)
