"""The step of a run that was not finite: what is known of it, and what to do about it.

Reports read run folders, this file's part of them too, without importing jax.
"""

import math
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

_NUM_LISTED = 4  # layers, and images, that the message names


class Failure(NamedTuple):
    """The first step of a run that was not finite; the fields are those of `failure.json`.

    Attributes:
        step: Number of the step, from 1.
        not_finite: `loss`, `grad_norm`, or the path of the leaf of the state after the step.
        learning_rate: Learning rate of the step.
        loss, grad_norm: Loss and norm of the gradient of the step, in full precision.
        grad_norms: Norm of the gradient of every layer, in the order in which they run.
        ids: Images of the step's batch.
        kept_step: Step of the checkpoint that the run can go on from; None if there is none.
        kept: The same in words.
    """

    step: int
    not_finite: str
    learning_rate: float
    loss: float
    grad_norm: float
    grad_norms: Mapping[str, float]
    ids: Sequence[str]
    kept_step: int | None
    kept: str

    @classmethod
    def from_dict(cls, facts: Mapping[str, Any]) -> "Failure":
        """Makes what `to_dict` wrote down.

        Raises:
            ValueError, TypeError, KeyError, AttributeError: If it is something else.
        """
        numbers = {key: float(facts[key]) for key in ("learning_rate", "loss", "grad_norm")}
        norms = {layer: float(norm) for layer, norm in facts["grad_norms"].items()}
        step = int(facts["step"])
        return cls(**{**facts, **numbers, "grad_norms": norms, "step": step})

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields for JSON, which has no word for NaN and infinity: they are text."""
        norms = {layer: as_json(norm) for layer, norm in self.grad_norms.items()}
        numbers = {
            key: as_json(getattr(self, key)) for key in ("learning_rate", "loss", "grad_norm")
        }
        return {**self._asdict(), **numbers, "grad_norms": norms}

    def describe(self, folder: Path, *, noted: str) -> str:
        """Says in three lines what happened and what to do.

        Args:
            folder: The run folder.
            noted: Where these fields are.
        """
        state = "" if self.not_finite in ("loss", "grad_norm") else f"{self.not_finite} after it, "
        bad = [layer for layer, norm in self.grad_norms.items() if not math.isfinite(norm)]
        largest = sorted(self.grad_norms, key=lambda layer: -self.grad_norms[layer])
        layers = (
            f"gradient norms that are not finite: {_list(bad)} ({len(bad)} of "
            f"{len(self.grad_norms)} layers)"
            if bad
            else f"largest gradient norms: {_list(largest)}"
        )
        return (
            f"step {self.step} of {folder} is not finite: {state}loss {self.loss:.5g}, gradient "
            f"norm {self.grad_norm:.5g}, learning rate {self.learning_rate:.5g}\n"
            f"{layers}; images: {_list(self.ids)}; {self.kept}; {noted}\n"
            f"python launch.py replay --workdir={shlex.quote(str(folder))} shows the step layer by "
            "layer; or lower optim.learning_rate and train in another --workdir"
        )


def find_not_finite(window: Sequence[Mapping[str, Any]]) -> int | None:
    """Returns the index of the first step whose loss or gradient is not finite, None if none is."""
    for index, sums in enumerate(window):
        if not (np.isfinite(sums["loss_sum"]) and np.isfinite(sums["grad_norm"])):
            return index
    return None


def mean_loss(sums: Mapping[str, Any]) -> float:
    """Returns the loss of a step: of all its labelled pixels, 0 if there are none."""
    count = float(sums["count"])
    return float(sums["loss_sum"]) / count if count else 0.0


def group_by_layer(leaves: Mapping[str, Any], layers: Sequence[str]) -> dict[str, list[Any]]:
    """Gathers what belongs to the leaves of each layer, in the order in which the layers run.

    Args:
        leaves: Anything by the path of a parameter, such as `backbone/conv1/norm/scale`.
        layers: Names of the layers of the network, as they run.
    """
    groups: dict[str, list[Any]] = {layer: [] for layer in layers}
    for path, value in leaves.items():
        parts = path.removeprefix("backbone/").split("/")
        names = ["/".join(parts[:end]) for end in range(len(parts) - 1, 0, -1)]
        layer = next((name for name in names if name in groups), names[0])
        groups.setdefault(layer, []).append(value)
    return {layer: values for layer, values in groups.items() if values}


def norms_by_layer(
    squares: Sequence[Any] | np.ndarray, paths: Iterable[str], layers: Sequence[str]
) -> dict[str, float]:
    """Returns the norm of the gradient of every layer, in the order in which they run.

    Args:
        squares: Squared norms of the leaves of the gradient.
        paths: Paths of the leaves, in the same order.
        layers: Names of the layers of the network, as they run.
    """
    by_path = dict(zip(paths, map(float, squares), strict=True))
    groups = group_by_layer(by_path, layers)
    return {layer: math.sqrt(math.fsum(values)) for layer, values in groups.items()}


def as_json(value: float) -> float | str:
    """Returns a number, or the text `nan`, `inf` or `-inf`, which `float` reads again."""
    return value if math.isfinite(value) else str(value)


def _list(words: Sequence[str]) -> str:
    more = len(words) - _NUM_LISTED
    return ", ".join(words[:_NUM_LISTED]) + (f" and {more} more" if more > 0 else "")
