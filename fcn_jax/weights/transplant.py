"""Puts arrays into a network by their paths, and accounts for every one of them."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from fcn_jax.errors import UserError
from fcn_jax.weights.axes import format_names, format_shape

COPIED = "copied"  # the same numbers, axes in our order
RESHAPED = "reshaped"  # a matrix became a convolution
DECIMATED = "decimated"  # some taps and some channels
FOLDED = "folded"  # a bias before a batch norm went into its mean
LEFT = "left"  # at its initial value
UNUSED = "unused"  # in the source, and nowhere here
ACTIONS = (COPIED, RESHAPED, DECIMATED, FOLDED, LEFT, UNUSED)


# MobileNetV2's last layer, which belongs to its classifier; DeepLab leaves it out.
BEFORE_CLASSIFIER = "backbone/conv_last"


class Row(NamedTuple):
    """What became of a leaf.

    Attributes:
        leaf: here; empty if it is unused.
        action: one of `ACTIONS`.
        source: its name there; empty if it is left.
        source_shape, shape: there and here.
    """

    leaf: str
    action: str
    source: str
    source_shape: tuple[int, ...]
    shape: tuple[int, ...]

    @property
    def cells(self) -> tuple[str, str, str, str]:
        """Leaf, action, source and shape as text."""
        shapes = [format_shape(shape) for shape in (self.source_shape, self.shape) if shape]
        return self.leaf or "-", self.action, self.source or "-", " -> ".join(dict.fromkeys(shapes))


@dataclass(frozen=True)
class Report:
    """One row for every leaf of the network and every unused one of the source."""

    rows: tuple[Row, ...]

    @property
    def counts(self) -> dict[str, int]:
        """How many rows each action has."""
        counts = Counter(row.action for row in self.rows)
        return {action: counts[action] for action in ACTIONS if counts[action]}

    def __str__(self) -> str:
        table = [("leaf", "action", "source", "shape"), *(row.cells for row in self.rows)]
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()
            for cells in table
        ]
        return "\n".join([*lines, self.summary])

    @property
    def summary(self) -> str:
        """The counts as one line."""
        return ", ".join(f"{count} {action}" for action, count in self.counts.items())


def transplant(
    target: Mapping[str, np.ndarray],
    source: Mapping[str, np.ndarray],
    *,
    leave: Sequence[str] = (),
) -> tuple[dict[str, np.ndarray], Report]:
    """Finds for every leaf of a network the array of the same path.

    Args:
        target: the network's leaves by path; only their shapes count.
        source: arrays by path, as `files.load_weights` gives them.
        leave: regular expressions of leaves that stay as they are initialised, whatever there is.
            A layer of which all leaves stay may be another one in the source.
    Returns:
        The arrays that were found, by path, and what became of every leaf.
    Raises:
        ValueError: if a leaf has another shape, a layer or the backbone is only partly there,
            nothing fits at all, or a pattern of `leave` is none or matches no leaf.
    """
    for pattern in leave:
        _check_pattern(pattern)
    if idle := [pattern for pattern in leave if not any(re.fullmatch(pattern, p) for p in target)]:
        raise UserError(f"leave={idle} match no leaf of the network, such as {next(iter(target))}")
    kept = {path for path in target if any(re.fullmatch(pattern, path) for pattern in leave)}
    leaves = {path: source[path] for path in target if path in source and path not in kept}
    if not leaves:
        raise UserError(
            f"the weights and the network have no leaf in common: {format_names(source)} there, "
            f"{format_names(target)} here"
        )
    for path, array in leaves.items():
        if array.shape != target[path].shape:
            raise UserError(
                f"{path} is {format_shape(array.shape)} in the weights and "
                f"{format_shape(target[path].shape)} in the network; take weights of this network, "
                "or leave the layer as it is initialised"
            )
    _check_backbone(target, source, kept)
    rows = [
        Row(path, COPIED, path, source[path].shape, array.shape)
        if path in leaves
        else Row(path, LEFT, "", (), array.shape)
        for path, array in target.items()
    ]
    rows += [Row("", UNUSED, path, source[path].shape, ()) for path in source if path not in leaves]
    return leaves, Report(tuple(rows))


def _check_pattern(pattern: str) -> None:
    try:
        re.compile(pattern)
    except re.error as error:
        raise UserError(
            f"leave: {pattern!r} is no regular expression ({error}); one is 'params/fc8/.*'"
        ) from error


def _check_backbone(target, source, kept) -> None:
    """Half a layer, or half a backbone, would compute something else without a word."""
    shared = {layer_path(path) for path in target if path in source}
    # Of a layer that is wholly left it makes no difference what else the weights have.
    left = {layer_path(path) for path in kept} - {layer_path(path) for path in target.keys() - kept}
    one_sided = {path: "network" for path in target if path not in source and path not in kept}
    one_sided |= {
        path: "weights" for path in source if path not in target and layer_path(path) not in left
    }
    for path, side in one_sided.items():
        layer = layer_path(path)
        if layer in shared:
            raise UserError(
                f"{path} is only in the {side}: one has batch norm where the other has a bias; set "
                "model.norm as the weights have it"
            )
        if layer.startswith("backbone/") and layer != BEFORE_CLASSIFIER:
            raise UserError(
                f"{path} is only in the {side}: the backbones differ; take weights of this backbone"
                " (of MobileNetV2 with model.first_expand as the weights have it)"
            )


def layer_path(path: str) -> str:
    """Returns the path of the convolution that a leaf is of."""
    return re.sub(r"^\w+/|(/norm)?/\w+$", "", path)
