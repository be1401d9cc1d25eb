"""Import of a foreign file of weights into the names and the order of axes of this project.

Every array of the file is accounted for: it goes into a leaf here, or it is listed as unused
because there is no place for it (the layer that scores ImageNet's classes, and a head that was not
asked for). A missing layer, a layer of another shape or a layer too many means that the file holds
another network, and it is refused.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fcn_jax.errors import UserError
from fcn_jax.weights import axes
from fcn_jax.weights.axes import format_names, format_shape
from fcn_jax.weights.caffe import read_binaryproto
from fcn_jax.weights.files import check_file, read_metadata, read_weights
from fcn_jax.weights.heads import HEADS, find_head
from fcn_jax.weights.naming import (
    HEAD_LAYER,
    NAMINGS,
    PREPROCESS,
    REQUIRED_OPTIONS,
    NamedLayer,
    Naming,
    check_known,
    find_requires,
)
from fcn_jax.weights.network_file import make_metadata, read_preprocess, read_requires
from fcn_jax.weights.transplant import (
    COPIED,
    DECIMATED,
    FOLDED,
    UNUSED,
    Report,
    Row,
)

Arrays = Mapping[str, np.ndarray]

# How torch counts the batches that a batch norm has seen; nothing depends on it.
TORCH_COUNTERS = ".num_batches_tracked"


class Imported(NamedTuple):
    """What `import_weights` makes of a file.

    Attributes:
        arrays: Float32 arrays by path.
        metadata: Metadata of the file to be saved.
        report: What became of every array.
    """

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
        path: Path of a file that `files.read_weights` reads.
        network: One of `naming.NAMINGS`.
        head: One of `HEADS`. `fcn`, `largefov` and `4x4` make fc6 and fc7 of such a network out of
            ImageNet's; `own` takes the head of a segmentation network as it is stored, released or
            exported.
        seed: Seed of the choice of filters where the head keeps only some.
        preprocess: How the weights expect an image, `caffe` or `torchvision`. None for what the
            metadata of the file say, as `export_weights` writes them, or else for what its names
            suggest. Weights from Caffe that somebody gave torchvision's names need this.
        mean: Path of a `.binaryproto` whose mean colour the weights expect instead.
    Raises:
        MissingError: There is no such file.
        UserError: The file does not hold this network.
    """
    check_known("network", network, NAMINGS)
    check_known("head", head, HEADS)
    path = check_file(path)
    source = read_weights(path)
    try:
        naming = find_naming(network, source)
        image = _find_preprocess(path, preprocess, origin=naming.origin)
        convs = find_head(np.random.default_rng(seed), source, naming, head)
        collector = _Collector(source)
        for layer in naming.layers:
            collector.add(layer, source[f"{layer.name}.weight"])
        for conv in convs:
            collector.add(
                conv.layer, conv.weights, action=conv.action, ins=conv.ins, outs=conv.outs
            )
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
    metadata = make_metadata(
        network,
        model={},
        labels=None,
        preprocess=image,
        requires=_find_requires(path, network, collector.arrays),
        origin={
            "names": naming.origin,
            "head": head,
            "seed": seed,
            "source": path.name,
            "sha256": sha256,
        },
    )
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


def _find_requires(path: Path, network: str, arrays: Arrays) -> dict[str, Any]:
    metadata = read_metadata(path)
    if "requires" in metadata:
        return read_requires(metadata["requires"])
    requires = find_requires(network, arrays)
    if "step" in metadata:
        # Exported before exports said it. The only option that a network had then is one that the
        # arrays show; it had the values of today's defaults for the others.
        expand = {key: value for key, value in requires.items() if key == "first_expand"}
        return REQUIRED_OPTIONS.get(network, {}) | expand
    return requires


def _read_mean_rgb(path: str | Path) -> list[float]:
    image = read_binaryproto(path)
    if len(image) != 3:
        raise UserError(f"{path} is a mean of {len(image)} channels, and not of blue, green, red")
    return image.mean(axis=(1, 2), dtype=np.float64)[::-1].tolist()


def find_naming(network: str, source: Arrays) -> Naming:
    """Returns the naming of `network` that the arrays of a file have.

    Raises:
        UserError: They have none; the message says why not, and which network they look like.
    """
    misfits = {naming: find_misfit(naming, source) for naming in NAMINGS[network]}
    for naming, misfit in misfits.items():
        if not misfit:
            return naming
    nearest = max(
        misfits, key=lambda naming: sum(layer.kernel[1] in source for layer in naming.layers)
    )
    others = [
        name
        for name, known in NAMINGS.items()
        if not all(find_misfit(naming, source) for naming in known)
    ]
    hint = f"it looks like {others[0]}" if others else f"it holds {format_names(source)}"
    if any(name.startswith("params/") for name in source):
        hint = "it has been imported already, and can be used as it is"
    raise UserError(f"this is no {network}: {misfits[nearest]}; {hint}")


def find_misfit(naming: Naming, source: Arrays) -> str:
    """Says why the arrays of a file do not have this naming; empty if they do."""
    known = set()
    for layer in naming.layers:
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
        and not name.endswith(TORCH_COUNTERS)
        and not name.startswith(tuple(f"{layer}." for layer in naming.classifier))
        and not HEAD_LAYER.fullmatch(name.partition(".")[0])
    ]
    return f"there is no place for {format_names(surplus)}" if surplus else ""


class _Collector:
    """Takes layers out of a file, and keeps account of what was taken and what was not."""

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

    def add(
        self,
        layer: NamedLayer,
        weights: np.ndarray,
        *,
        action: str = COPIED,
        ins: np.ndarray | None = None,
        outs: np.ndarray | None = None,
    ) -> None:
        """Takes the leaves of a layer; see `heads.HeadConv`."""
        leaf, name = layer.kernel
        if others := [row.source for row in self.rows if row.leaf == leaf]:
            raise UserError(f"{others[0]} and {name} are both {leaf} here; leave one of them out")
        if layer.name.startswith("upscore"):
            kernel = axes.iohw_to_hwio(weights)
        else:
            kernel = axes.oihw_to_hwio(weights, ins=ins, outs=outs)
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
