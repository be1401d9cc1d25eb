"""Puts arrays into a network by their paths, and accounts for every one of them."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeVar, runtime_checkable

from fcn_jax.errors import UserError
from fcn_jax.weights.axes import format_names, format_shape

COPIED = "copied"  # the numbers are the same, the axes are in the order of this project
RESHAPED = "reshaped"  # a matrix became a convolution
DECIMATED = "decimated"  # some taps and some channels were kept
FOLDED = "folded"  # a bias before a batch norm went into its mean, or an epsilon into a variance
OPTION = "as option"  # its numbers are an option that the network must have
SKIPPED = "as initialised"  # the source has nothing for it, or it was to be skipped
UNUSED = "unused"  # the source has it, and the network has no place for it
ACTIONS = (COPIED, RESHAPED, DECIMATED, FOLDED, OPTION, SKIPPED, UNUSED)


# MobileNetV2's last layer, which belongs to its classifier; DeepLab leaves it out.
BEFORE_CLASSIFIER = "backbone/conv_last"


class Row(NamedTuple):
    """What became of a leaf.

    Attributes:
        leaf: Path of the leaf here, or the name of the option; empty if the array is unused.
        action: One of `ACTIONS`.
        source: Name of the array there; empty if the leaf is as initialised.
        source_shape: Shape of the array there.
        shape: Shape of the leaf here.
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
    """One row for every leaf of the network and every unused one of the source.

    Attributes:
        rows: What became of each.
        notes: What a user has to know besides, a line each.
    """

    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()

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


@runtime_checkable
class Shaped(Protocol):
    """An array of any kind, or the mere shape of one."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the axes."""


Array = TypeVar("Array", bound=Shaped)


def transplant(
    target: Mapping[str, Shaped], source: Mapping[str, Array], *, skip: Sequence[str] = ()
) -> tuple[dict[str, Array], Report]:
    """Finds for every leaf of a network the array of the same path.

    Args:
        target: Leaves of the network by path; only their shapes count.
        source: Arrays by path, as `network_file.load_weights` gives them.
        skip: Regular expressions of leaves that stay as they are initialised, whatever the source
            has. A layer whose leaves are all skipped may be another one in the source.
    Returns:
        The arrays that were found, by path, and what became of every leaf.
    Raises:
        UserError: A leaf has another shape, a layer or the backbone is only partly there, nothing
            fits at all, or a pattern of `skip` is no regular expression or matches no leaf.
    """
    for pattern in skip:
        _check_pattern(pattern)
    paths = [*target, *source]
    if idle := [pattern for pattern in skip if not any(re.fullmatch(pattern, p) for p in paths)]:
        raise UserError(
            f"init.skip={idle} match no array of the network, such as {next(iter(target))}; a "
            "pattern has "
            "to match the whole name"
        )
    skipped = {path for path in target if any(re.fullmatch(pattern, path) for pattern in skip)}
    leaves = {path: source[path] for path in target if path in source and path not in skipped}
    if not leaves:
        raise UserError(
            f"the weights and the network have no array in common: {format_names(source)} there, "
            f"{format_names(target)} here\ntake weights of this network, or skip less"
        )
    for path, array in leaves.items():
        if array.shape != target[path].shape:
            layer = re.escape(path.rpartition("/")[0])
            raise UserError(
                f"{path} is {format_shape(array.shape)} in the weights and "
                f"{format_shape(target[path].shape)} in the network; take weights of this network, "
                f"or skip the layer: init.skip='{layer}/.*'"
            )
    _check_backbone(target.keys(), source.keys(), skipped)
    rows = [
        Row(path, COPIED, path, source[path].shape, array.shape)
        if path in leaves
        else Row(path, SKIPPED, "", (), array.shape)
        for path, array in target.items()
    ]
    rows += [Row("", UNUSED, path, source[path].shape, ()) for path in source if path not in leaves]
    return leaves, Report(tuple(rows))


def _check_pattern(pattern: str) -> None:
    try:
        re.compile(pattern)
    except re.error as error:
        raise UserError(
            f"init.skip: {pattern!r} is no regular expression ({error}); write it as in "
            "'params/fc8/.*'"
        ) from error


def _check_backbone(
    target: AbstractSet[str], source: AbstractSet[str], skipped: AbstractSet[str]
) -> None:
    """Refuses half a layer and half a backbone, which would compute something else silently."""
    shared = {layer_path(path) for path in target & source}
    # Whatever else the weights have of a layer that is skipped as a whole, it makes no difference.
    whole = {layer_path(path) for path in skipped}
    whole -= {layer_path(path) for path in target - skipped}
    one_sided = {path: "network" for path in target if path not in source | skipped}
    one_sided |= {
        path: "weights" for path in source if path not in target and layer_path(path) not in whole
    }
    for path, side in one_sided.items():
        layer = layer_path(path)
        if layer in shared:
            raise UserError(
                f"{path} is only in the {side}: one has batch norm where the other has a bias; set "
                "--config.model.norm as the weights have it (none, batch, frozen)"
            )
        if layer.startswith("backbone/") and layer != BEFORE_CLASSIFIER:
            raise UserError(
                f"{path} is only in the {side}: the backbones differ; take weights of this backbone"
            )


def layer_path(path: str) -> str:
    """Returns the path of the convolution that a leaf belongs to."""
    return re.sub(r"^\w+/|(/norm)?/\w+$", "", path)
