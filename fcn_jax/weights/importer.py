"""Import of a foreign file of weights into the names and layouts of this project.

Every array of the file is spoken for: it goes into a leaf here, or it is listed as unused because
there is no place for it (the layer that scores ImageNet's classes, and a head that is not asked
for). Anything else, a missing layer, another shape, a layer too many, means another network, and is
refused.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fcn_jax.weights import layouts
from fcn_jax.weights.caffe import read_binaryproto
from fcn_jax.weights.files import (
    FORMAT,
    check_file,
    read_metadata,
    read_preprocess,
    read_weights,
)
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
# Counts the batches that torch has seen; nothing depends on it.
IDLE = ".num_batches_tracked"

BACKBONE_ALONE = "import the backbone alone, --head=none"
HEAD_AS_IT_IS = f"take its head as it is, --head={OWN}"


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
        head: one of `HEADS`. `fcn`, `largefov` and `4x4` make fc6 and fc7 of such a network out of
            ImageNet's; `own` is for a segmentation network, released or exported.
        seed: of the choice of filters where the head keeps only some.
        preprocess: `caffe` or `torchvision`, what the weights expect of an image; None for what the
            file's metadata say, as `export_weights` writes them, or else its names. Weights of
            Caffe's that others gave torchvision's names need it.
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
        image = _find_preprocess(path, preprocess, origin=layout.origin)
        convs = _find_head(source, layout, head, np.random.default_rng(seed))
        collector = _Collector(source)
        for layer in layout.layers:
            collector.add(_Conv(layer, source[f"{layer.name}.weight"], COPIED))
        for conv in convs:
            collector.add(conv)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    if mean is not None:
        if not image["bgr"]:
            raise ValueError(
                f"{mean} is a mean of Caffe's, and {path} has names of torchvision's, whose images "
                "are scaled as well; give --preprocess=caffe if its weights are Caffe's"
            )
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


def _find_preprocess(path: Path, preprocess: str | None, *, origin: str) -> dict[str, Any]:
    metadata = read_metadata(path)
    if not preprocess and "preprocess" in metadata:
        try:
            return read_preprocess(metadata["preprocess"])
        except ValueError as error:
            raise ValueError(f"its metadata are broken ({error}); give --preprocess") from error
    preprocess = preprocess or origin
    check_known("preprocess", preprocess, PREPROCESS)
    return dict(PREPROCESS[preprocess])


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


class _Conv(NamedTuple):
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

    def add(self, conv: _Conv) -> None:
        """Takes the leaves of a layer."""
        layer, weights, action, ins, outs = conv
        leaf, name = layer.kernel
        if others := [row.source for row in self.rows if row.leaf == leaf]:
            raise ValueError(f"{others[0]} and {name} are both {leaf} here; leave one of them out")
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


def _find_head(source: Arrays, layout: Layout, head: str, rng: np.random.Generator) -> list[_Conv]:
    if head == OWN:
        return _find_own_head(source, layout)
    kept = HEADS[head]
    return [] if kept is None else _find_classifier(source, layout, kept, rng)


def _find_classifier(
    source: Arrays, layout: Layout, head: Head, rng: np.random.Generator
) -> list[_Conv]:
    """Finds fc6 and fc7 of ImageNet's classifier, and makes them smaller if asked to."""
    if scores := [name for name in _head_convs(source) if name not in layout.classifier]:
        raise ValueError(f"it is a segmentation network, with {_some(scores)}; {HEAD_AS_IT_IS}")
    if not layout.fc6_kernel:
        raise ValueError(f"its network has no fc6 and fc7; {BACKBONE_ALONE}")
    for name in layout.classifier[:-1]:
        if f"{name}.weight" not in source:
            raise ValueError(f"it has no {name}.weight; {BACKBONE_ALONE}")
    fc6, fc7 = _find_fc(source, layout)
    for fc, kernel in ((fc6, layout.fc6_kernel), (fc7, 1)):
        if (taps := fc.weights.shape[2:]) != (kernel, kernel):
            raise ValueError(
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


def _find_own_head(source: Arrays, layout: Layout) -> list[_Conv]:
    """Finds the head of a segmentation network: fc6 and fc7, and all convolutions of such names."""
    convs = _find_fc(source, layout)
    names = {conv.layer.name for conv in convs}
    for name in _head_convs(source):
        if name not in names:
            scores = DEEPLAB_SCORES.fullmatch(name)
            path = f"fc8{scores[1] or ''}" if scores else name
            layer = _head_layer(path, name, source)
            convs.append(_Conv(layer, source[f"{name}.weight"], COPIED))
    if not convs:
        raise ValueError(f"it has no head; {BACKBONE_ALONE}")
    return convs


def _find_fc(source: Arrays, layout: Layout) -> list[_Conv]:
    """Finds fc6 and fc7 under their names elsewhere, as far as they are there."""
    found, channels, kernels = [], layout.layers[-1].shape[0], (layout.fc6_kernel, 1)
    for number, (name, kernel) in enumerate(
        zip(layout.classifier[:-1], kernels, strict=False), start=6
    ):
        if f"{name}.weight" not in source:
            continue
        layer = _head_layer(f"fc{number}", name, source)
        if layout.layers[-1].norm and not layer.norm:
            raise ValueError(
                f"its {name} has no batch norm, as fc{number} has here if the backbone has; "
                f"{BACKBONE_ALONE}"
            )
        if not layer.vectors:
            raise ValueError(f"it has no {name}.bias; {BACKBONE_ALONE}")
        weights, action = source[f"{name}.weight"], COPIED
        shape = format_shape(weights.shape)
        if weights.ndim == 2:
            weights, action = layouts.fc_to_conv(weights, kernel=kernel), RESHAPED
        if weights.ndim != 4 or weights.shape[1] != channels:
            raise ValueError(f"{name}.weight is {shape}, which does not follow {channels} channels")
        channels = len(weights)
        found.append(_Conv(layer, weights, action))
    return found


def _head_convs(source: Arrays) -> list[str]:
    """Returns the convolutions that are called like layers of a segmentation network's head."""
    layers = (name.rpartition(".") for name, array in source.items() if array.ndim == 4)
    return [layer for layer, _, kind in layers if kind == "weight" and HEAD_LAYER.fullmatch(layer)]


def _head_layer(path: str, name: str, names: Arrays) -> Layer:
    norm = f"{name}.norm" if f"{name}.norm.weight" in names else ""
    return Layer(path, (), name, norm, has_bias=f"{name}.bias" in names)


def _some(names) -> str:
    names = list(names)
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
