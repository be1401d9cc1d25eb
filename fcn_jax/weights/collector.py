"""Takes layers out of a foreign file into leaves of this project, and keeps account of it."""

from collections.abc import Iterable, Mapping

import numpy as np

from fcn_jax.errors import UserError
from fcn_jax.weights import axes
from fcn_jax.weights.axes import Arrays, format_names, format_shape
from fcn_jax.weights.naming import COUNTER, NORM_EPSILON, NamedLayer
from fcn_jax.weights.transplant import COPIED, DECIMATED, FOLDED, OPTION, Row


class Collector:
    """Takes layers out of a file, and keeps account of what was taken and what was not."""

    def __init__(self, source: Arrays, *, epsilon: float):
        self.source = source
        self.epsilon = epsilon
        self.arrays: dict[str, np.ndarray] = {}
        self.rows: list[Row] = []

    def add_options(self, option: str, values: Mapping[str, float]) -> None:
        """Notes the arrays that have become the values of an option."""
        for name in values:
            if name in self.source:
                self.rows.append(Row(option, OPTION, name, self.source[name].shape, ()))

    def check_head_is_whole(self, *, classifier: Iterable[str]) -> None:
        """Raises UserError if something of the head is left over that changes what it computes."""
        used = {row.source for row in self.rows}
        harmless = tuple(f"{layer}." for layer in classifier)
        left = [
            name
            for name, array in self.source.items()
            if name not in used
            and not COUNTER.fullmatch(name)
            and not name.startswith(harmless)
            and not (name.endswith(".bias") and not array.any())  # which adds nothing
        ]
        if left:
            raise UserError(f"no head here has a place for its {format_names(left)}")

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
            kept, action = (vector, COPIED) if outs is None else (vector[outs], DECIMATED)
            if leaf.endswith("/norm/var") and self.epsilon != NORM_EPSILON:
                # What is added to the variance there beyond what is added here.
                kept, action = kept + np.float32(self.epsilon - NORM_EPSILON), FOLDED
            self._add(leaf, name, kept, action)
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
