"""The head of a file: ImageNet's classifier made convolutional, or a segmentation network's own."""

import re
from collections.abc import Mapping
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from fcn_jax.errors import UserError
from fcn_jax.weights import axes as layouts
from fcn_jax.weights.axes import format_names, format_shape
from fcn_jax.weights.naming import HEAD_LAYER, Layer, Layout
from fcn_jax.weights.transplant import COPIED, DECIMATED, RESHAPED

Arrays = Mapping[str, np.ndarray]


class Head(NamedTuple):
    """What is kept of ImageNet's fc6 and fc7: taps along an axis (None for all), and of filters."""

    kernel: int | None
    share: Fraction


OWN = "own"
HEADS: Mapping[str, Head | None] = {
    "none": None,  # the backbone alone
    OWN: None,  # that of a segmentation network, as it is
    "fcn": Head(kernel=None, share=Fraction(1)),  # and DeepLab-7x7
    "largefov": Head(kernel=3, share=Fraction(1, 4)),  # 1024 of 4096
    "4x4": Head(kernel=4, share=Fraction(1)),
}

# DeepLab's fc8 is called after the data set that it was trained on; ASPP's has a number behind.
DEEPLAB_SCORES = re.compile(r"fc8_(?:voc|pascal|coco)\w*?(_\d)?")

BACKBONE_ALONE = "import the backbone alone, --head=none"
HEAD_AS_IT_IS = f"take its head as it is, --head={OWN}"


class Conv(NamedTuple):
    """A layer of a file.

    Attributes:
        weights: its kernel, OIHW.
        action: what becomes of the kernel.
        ins, outs: the channels that are taken; None for all.
    """

    layer: Layer
    weights: np.ndarray
    action: str
    ins: np.ndarray | None = None
    outs: np.ndarray | None = None


def find_head(source: Arrays, layout: Layout, head: str, rng: np.random.Generator) -> list[Conv]:
    """Finds the layers of a head.

    Args:
        source: the arrays of a file.
        layout: of the backbone below.
        head: one of `HEADS`.
        rng: chooses the filters where the head keeps only some.
    Raises:
        ValueError: if the file has no such head.
    """
    if head == OWN:
        return _find_own_head(source, layout)
    kept = HEADS[head]
    return [] if kept is None else _find_classifier(source, layout, kept, rng)


def _find_classifier(
    source: Arrays, layout: Layout, head: Head, rng: np.random.Generator
) -> list[Conv]:
    """Finds fc6 and fc7 of ImageNet's classifier, and makes them smaller if asked to."""
    if scores := [name for name in _head_convs(source) if name not in layout.classifier]:
        raise UserError(
            f"it is a segmentation network, with {format_names(scores)}; {HEAD_AS_IT_IS}"
        )
    if not layout.fc6_kernel:
        raise UserError(f"its network has no fc6 and fc7; {BACKBONE_ALONE}")
    for name in layout.classifier[:-1]:
        if f"{name}.weight" not in source:
            raise UserError(f"it has no {name}.weight; {BACKBONE_ALONE}")
    fc6, fc7 = _find_fc(source, layout)
    for fc, kernel in ((fc6, layout.fc6_kernel), (fc7, 1)):
        if (taps := fc.weights.shape[2:]) != (kernel, kernel):
            raise UserError(
                f"{fc.layer.name} has {format_shape(taps)} taps, ImageNet's has {kernel}x{kernel}; "
                f"{HEAD_AS_IT_IS}"
            )
    if head.kernel in (None, layout.fc6_kernel):
        return [fc6, fc7]
    weights = layouts.decimate(fc6.weights, kernel=head.kernel)
    fc6 = fc6._replace(weights=weights, action=DECIMATED)
    if head.share == 1:
        return [fc6, fc7]
    outs6, outs7 = (
        layouts.choose_channels(rng, filters, keep=int(filters * head.share))
        for filters in (len(fc6.weights), len(fc7.weights))
    )
    return [fc6._replace(outs=outs6), fc7._replace(action=DECIMATED, ins=outs6, outs=outs7)]


def _find_own_head(source: Arrays, layout: Layout) -> list[Conv]:
    """Finds the head of a segmentation network: fc6 and fc7, and all convolutions of such names."""
    convs = _find_fc(source, layout)
    names = {conv.layer.name for conv in convs}
    for name in _head_convs(source):
        if name not in names:
            scores = DEEPLAB_SCORES.fullmatch(name)
            path = f"fc8{scores[1] or ''}" if scores else name
            layer = _head_layer(path, name, source)
            convs.append(Conv(layer, source[f"{name}.weight"], COPIED))
    if not convs:
        raise UserError(f"it has no head; {BACKBONE_ALONE}")
    return convs


def _find_fc(source: Arrays, layout: Layout) -> list[Conv]:
    """Finds fc6 and fc7 under their names elsewhere, as far as they are there."""
    found, channels, kernels = [], layout.layers[-1].shape[0], (layout.fc6_kernel, 1)
    for number, (name, kernel) in enumerate(
        zip(layout.classifier[:-1], kernels, strict=False), start=6
    ):
        if f"{name}.weight" not in source:
            continue
        layer = _head_layer(f"fc{number}", name, source)
        if layout.layers[-1].norm and not layer.norm:
            raise UserError(
                f"its {name} has no batch norm, as fc{number} has here if the backbone has; "
                f"{BACKBONE_ALONE}"
            )
        if not layer.vectors:
            raise UserError(f"it has no {name}.bias; {BACKBONE_ALONE}")
        weights, action = source[f"{name}.weight"], COPIED
        shape = format_shape(weights.shape)
        if weights.ndim == 2:
            weights, action = layouts.fc_to_conv(weights, kernel=kernel), RESHAPED
        if weights.ndim != 4 or weights.shape[1] != channels:
            raise UserError(f"{name}.weight is {shape}, which does not follow {channels} channels")
        channels = len(weights)
        found.append(Conv(layer, weights, action))
    return found


def _head_convs(source: Arrays) -> list[str]:
    """Returns the convolutions that are called like layers of a segmentation network's head."""
    layers = (name.rpartition(".") for name, array in source.items() if array.ndim == 4)
    return [layer for layer, _, kind in layers if kind == "weight" and HEAD_LAYER.fullmatch(layer)]


def _head_layer(path: str, name: str, names: Arrays) -> Layer:
    norm = f"{name}.norm" if f"{name}.norm.weight" in names else ""
    return Layer(path, (), name, norm, has_bias=f"{name}.bias" in names)
