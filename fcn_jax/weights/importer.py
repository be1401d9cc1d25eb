"""Import of a foreign file of weights into the names and layouts of this project.

Every array of the file is spoken for: it goes into a leaf here, or it is listed as unused because
there is no place for it (the layer that scores ImageNet's classes, and a head that is not asked
for). Anything else, a missing layer, another shape, a layer too many, means another network, and is
refused.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fcn_jax.errors import UserError
from fcn_jax.weights import axes as layouts
from fcn_jax.weights.axes import format_names, format_shape
from fcn_jax.weights.caffe import read_binaryproto
from fcn_jax.weights.files import (
    FORMAT,
    check_file,
    read_metadata,
    read_preprocess,
    read_weights,
)
from fcn_jax.weights.heads import HEADS, Conv, find_head
from fcn_jax.weights.naming import HEAD_LAYER, LAYOUTS, PREPROCESS, Layout, check_known
from fcn_jax.weights.transplant import (
    COPIED,
    DECIMATED,
    FOLDED,
    UNUSED,
    Report,
    Row,
)

Arrays = Mapping[str, np.ndarray]


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
        convs = find_head(source, layout, head, np.random.default_rng(seed))
        collector = _Collector(source)
        for layer in layout.layers:
            collector.add(Conv(layer, source[f"{layer.name}.weight"], COPIED))
        for conv in convs:
            collector.add(conv)
    except ValueError as error:
        raise UserError(f"{path}: {error}") from error
    if mean is not None:
        if not image["bgr"]:
            raise UserError(
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
            raise UserError(f"its metadata are broken ({error}); give --preprocess") from error
    preprocess = preprocess or origin
    check_known("preprocess", preprocess, PREPROCESS)
    return dict(PREPROCESS[preprocess])


def _read_mean_rgb(path: str | Path) -> list[float]:
    image = read_binaryproto(path)
    if len(image) != 3:
        raise UserError(f"{path} is a mean of {len(image)} channels, and not of blue, green, red")
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
    hint = f"it looks like {others[0]}" if others else f"it holds {format_names(source)}"
    if any(name.startswith("params/") for name in source):
        hint = "it has been imported already, and can be used as it is"
    raise UserError(f"this is no {network}: {misfits[nearest]}; {hint}")


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
    return f"there is no place for {format_names(surplus)}" if surplus else ""


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

    def add(self, conv: Conv) -> None:
        """Takes the leaves of a layer."""
        layer, weights, action, ins, outs = conv
        leaf, name = layer.kernel
        if others := [row.source for row in self.rows if row.leaf == leaf]:
            raise UserError(f"{others[0]} and {name} are both {leaf} here; leave one of them out")
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
            raise UserError(f"it has no {name}")
        if (shape := self.source[name].shape) != (channels,):
            raise UserError(f"{name} is {format_shape(shape)} where {channels} is expected")
        return self.source[name].astype(np.float32)

    def _add(self, leaf: str, name: str, array: np.ndarray, action: str) -> None:
        if not (np.isfinite(array.min()) and np.isfinite(array.max())):
            raise UserError(f"{name} holds numbers that are not finite; the file is of no use")
        self.arrays[leaf] = array
        self.rows.append(Row(leaf, action, name, self.source[name].shape, array.shape))
