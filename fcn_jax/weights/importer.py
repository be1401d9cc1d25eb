"""Import of a foreign file of weights into the names and layouts of this project.

Every array of the file is spoken for: it goes into a leaf here, or it is listed as unused because
the network here has no place for it (the layer that scores ImageNet's classes). Anything else, a
missing layer, another shape, a layer too many, means another network, and is refused.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fcn_jax.weights import layouts
from fcn_jax.weights.caffe import read_binaryproto
from fcn_jax.weights.files import FORMAT, check_file, read_weights
from fcn_jax.weights.layouts import format_shape
from fcn_jax.weights.networks import HEAD_LAYER, LAYOUTS, PREPROCESS, Layer, Layout, check_known
from fcn_jax.weights.transplant import (
    COPIED,
    DECIMATED,
    FOLDED,
    RESHAPED,
    UNUSED,
    Report,
    Row,
)

Arrays = Mapping[str, np.ndarray]


class Head(NamedTuple):
    """What is kept of fc6 and fc7: taps along an axis (None for all), and a share of the filters."""

    kernel: int | None
    share: Fraction


HEADS: Mapping[str, Head | None] = {
    "none": None,  # the backbone alone
    "fcn": Head(kernel=None, share=Fraction(1)),  # and DeepLab-7x7
    "largefov": Head(kernel=3, share=Fraction(1, 4)),  # 1024 of 4096
    "4x4": Head(kernel=4, share=Fraction(1)),
}

# DeepLab's fc8 is called after the data set that it was trained on.
DEEPLAB_SCORES = re.compile(r"fc8_(voc|pascal|coco)\w*")
# Counts the batches that torch has seen; nothing depends on it.
IDLE = ".num_batches_tracked"


class Imported(NamedTuple):
    """Arrays by path, the metadata of the file to be saved, and what became of every leaf."""

    arrays: dict[str, np.ndarray]
    metadata: dict[str, str]
    report: Report


def import_weights(
    path: str | Path,
    network: str,
    *,
    head: str = "none",
    seed: int = 0,
    preprocess: str | None = None,
    mean: str | Path | None = None,
) -> Imported:
    """Reads a foreign file and converts it.

    Args:
        network: one of `networks.LAYOUTS`.
        head: one of `HEADS`.
        seed: of the choice of filters where the head keeps only some.
        preprocess: `caffe` or `torchvision`, what the weights expect of an image; None for what
            their names say. Weights of Caffe's that were given torchvision's names need it.
        mean: a `.binaryproto` whose mean colour the weights expect instead.
    Raises:
        FileNotFoundError, ValueError: if the file is none of this network.
    """
    check_known("network", network, LAYOUTS)
    check_known("head", head, HEADS)
    path = check_file(path)
    source = read_weights(path)
    try:
        layout = find_layout(network, source)
        preprocess = preprocess or layout.origin
        check_known("preprocess", preprocess, PREPROCESS)
        collector = _Collector(source)
        for layer in layout.layers:
            collector.add(layer, source[f"{layer.name}.weight"], COPIED)
        if HEADS[head] is not None:
            _add_fc(collector, layout, HEADS[head], np.random.default_rng(seed))
            _add_scores(collector, layout)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    image = dict(PREPROCESS[preprocess])
    if mean is not None:
        image["mean_rgb"] = _read_mean_rgb(mean)
    with open(path, "rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    metadata = {
        "format": FORMAT,
        "network": network,
        "origin": layout.origin,
        "head": head,
        "seed": str(seed),
        "preprocess": json.dumps(image),
        "source": path.name,
        "sha256": sha256,
    }
    return Imported(collector.arrays, metadata, Report(tuple(collector.rows + collector.unused)))


def _read_mean_rgb(path: str | Path) -> list[float]:
    image = read_binaryproto(path)
    if len(image) != 3:
        raise ValueError(f"{path} is a mean of {len(image)} channels, and not of blue, green, red")
    return image.mean(axis=(1, 2), dtype=np.float64)[::-1].tolist()


def find_layout(network: str, source: Arrays) -> Layout:
    """Returns the layout of `network` that the arrays of a file have.

    Raises:
        ValueError: if they have none, with the reason, and with the network that they look like.
    """
    misfits = {layout: find_misfit(layout, source) for layout in LAYOUTS[network]}
    for layout, misfit in misfits.items():
        if not misfit:
            return layout
    nearest = max(
        misfits, key=lambda layout: sum(layer.kernel[1] in source for layer in layout.layers)
    )
    others = [
        name
        for name, known in LAYOUTS.items()
        if not all(find_misfit(layout, source) for layout in known)
    ]
    hint = f"it looks like {others[0]}" if others else f"it holds {_some(source)}"
    if any(name.startswith("params/") for name in source):
        hint = "it has been imported already, and can be used as it is"
    raise ValueError(f"this is no {network}: {misfits[nearest]}; {hint}")


def find_misfit(layout: Layout, source: Arrays) -> str:
    """Says what keeps the arrays of a file from having this layout; empty for nothing."""
    known = set()
    for layer in layout.layers:
        names = dict.fromkeys([*layer.vectors.values(), *layer.folded.values()], layer.shape[:1])
        for name, shape in {layer.kernel[1]: layer.shape, **names}.items():
            known.add(name)
            if name not in source:
                return f"it has no {name}"
            if source[name].shape != shape:
                shapes = format_shape(source[name].shape), format_shape(shape)
                return f"{name} is {shapes[0]} where {shapes[1]} is expected"
    surplus = [
        name
        for name in source
        if name not in known
        and not name.endswith(IDLE)
        and not name.startswith(tuple(f"{layer}." for layer in layout.classifier))
        and not HEAD_LAYER.fullmatch(name.partition(".")[0])
    ]
    return f"there is no place for {_some(surplus)}" if surplus else ""


class _Collector:
    """What was taken out of a file, and what was not."""

    def __init__(self, source: Arrays):
        self.source = source
        self.arrays: dict[str, np.ndarray] = {}
        self.rows: list[Row] = []

    @property
    def unused(self) -> list[Row]:
        used = {row.source for row in self.rows}
        return [
            Row("", UNUSED, name, array.shape, ())
            for name, array in self.source.items()
            if name not in used
        ]

    def add(self, layer: Layer, weights: np.ndarray, action: str, *, ins=None, outs=None) -> None:
        """Takes a layer whose kernel is `weights` (OIHW), of the chosen channels if any are."""
        if layer.name.startswith("upscore"):
            kernel = layouts.iohw_to_hwio(weights)
        else:
            kernel = layouts.oihw_to_hwio(weights, ins=ins, outs=outs)
        self._add(*layer.kernel, kernel, action)
        for leaf, name in layer.vectors.items():
            vector = self._vector(name, len(weights))
            kept = vector if outs is None else vector[outs]
            self._add(leaf, name, kept, COPIED if outs is None else DECIMATED)
        for leaf, name in layer.folded.items():
            # The norm subtracts the mean from what the bias was added to.
            self._add(leaf, name, self.arrays[leaf] - self._vector(name, len(weights)), FOLDED)

    def _vector(self, name: str, channels: int) -> np.ndarray:
        if name not in self.source:
            raise ValueError(f"it has no {name}")
        if (shape := self.source[name].shape) != (channels,):
            raise ValueError(f"{name} is {format_shape(shape)} where {channels} is expected")
        return self.source[name].astype(np.float32)

    def _add(self, leaf: str, name: str, array: np.ndarray, action: str) -> None:
        if not (np.isfinite(array.min()) and np.isfinite(array.max())):
            raise ValueError(f"{name} holds numbers that are not finite; the file is of no use")
        self.arrays[leaf] = array
        self.rows.append(Row(leaf, action, name, self.source[name].shape, array.shape))


def _add_fc(collector: _Collector, layout: Layout, head: Head, rng: np.random.Generator) -> None:
    """Takes fc6 and fc7, as matrices or as convolutions, and makes them smaller if asked to."""
    source, names = collector.source, layout.classifier[:-1]
    if not names:
        raise ValueError("its network has no fc6 and fc7; import the backbone alone, head=none")
    if f"{names[0]}.weight" not in source:
        names = ("fc6", "fc7")
    fc6, fc7 = (
        _head_layer(f"fc{number}", name, source) for number, name in enumerate(names, start=6)
    )
    for layer in (fc6, fc7):
        bias = next(iter(layer.vectors.values()), f"{layer.name}.bias")
        for name in (layer.kernel[1], bias):
            if name not in source:
                raise ValueError(f"it has no {name}; import the backbone alone, head=none")
    kernels = (layout.fc6_kernel, 1)
    convs, actions = [], []
    for name, kernel in zip(names, kernels, strict=True):
        weights = source[f"{name}.weight"]
        convs.append(layouts.fc_to_conv(weights, kernel=kernel) if weights.ndim == 2 else weights)
        actions.append(RESHAPED if weights.ndim == 2 else COPIED)
    channels = layout.layers[-1].shape[0]
    for name, weights in zip(names, convs, strict=True):
        if weights.ndim != 4 or weights.shape[1] != channels:
            shape = format_shape(source[f"{name}.weight"].shape)
            raise ValueError(f"{name}.weight is {shape}, which does not follow {channels} channels")
        channels = len(weights)

    kernel, outs6, outs7 = convs[0].shape[2], None, None
    wanted = head.kernel or layout.fc6_kernel
    if kernel not in (wanted, layout.fc6_kernel):
        raise ValueError(f"{names[0]} has {kernel}x{kernel} taps, the head wants {wanted}x{wanted}")
    if kernel != wanted:
        convs[0], actions[0] = layouts.decimate(convs[0], kernel=wanted), DECIMATED
        if head.share < 1:
            outs6, outs7 = (
                layouts.choose_channels(rng, len(weights), keep=int(len(weights) * head.share))
                for weights in convs
            )
            actions[1] = DECIMATED
    collector.add(fc6, convs[0], actions[0], outs=outs6)
    collector.add(fc7, convs[1], actions[1], ins=outs6, outs=outs7)


def _add_scores(collector: _Collector, layout: Layout) -> None:
    """Takes the other layers of a segmentation head, which are convolutions."""
    source = collector.source
    used = {row.source for row in collector.rows}
    for name in source:
        layer, _, kind = name.rpartition(".")
        if kind != "weight" or name in used or source[name].ndim != 4:
            continue
        if HEAD_LAYER.fullmatch(layer):
            path = "fc8" if DEEPLAB_SCORES.fullmatch(layer) else layer
            collector.add(_head_layer(path, layer, source), source[name], COPIED)


def _head_layer(path: str, name: str, names: Arrays) -> Layer:
    norm = f"{name}.norm" if f"{name}.norm.weight" in names else ""
    return Layer(path, (), name, norm, has_bias=f"{name}.bias" in names)


def _some(names) -> str:
    names = list(names)
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
