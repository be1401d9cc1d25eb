"""What is found in a step that was made again: its layers, its images, and where it failed."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Extent(NamedTuple):
    """How large the values of some arrays are.

    Attributes:
        largest: Largest absolute value of those that are finite; 0 if none is.
        not_finite: Number of the values that are not.
    """

    largest: float
    not_finite: int


class Layer(NamedTuple):
    """What a step finds and does in a layer; None for what the layer has not.

    Attributes:
        name: Name of the layer, as `summary` has it.
        params: Parameters before the step.
        activations: Output of the layer.
        gradient: Gradient of the parameters.
        grad_norm: Norm of the gradient, as the train step computes it.
        update: Change of the parameters.
    """

    name: str
    params: Extent | None
    activations: Extent | None
    gradient: Extent | None
    grad_norm: float | None
    update: Extent | None


class ImageFacts(NamedTuple):
    """One crop of the batch.

    Attributes:
        id: Id of its image in the data set.
        void_frac: Share of its pixels that are void, padding among them.
        lowest, highest: Smallest and largest value of its pixels, in 0..255.
        loss: Loss of this crop alone.
    """

    id: str
    void_frac: float
    lowest: int
    highest: int
    loss: float


class Replay(NamedTuple):
    """A step that was made again.

    Attributes:
        step: Number of the step, from 1.
        start_step: Step of the checkpoint that the replay began at; 0 for the beginning.
        learning_rate: Learning rate of the step.
        loss, grad_norm: Loss of the step and norm of its gradient.
        noted_loss, noted_grad_norm: The same as the run noted them; None if it noted none of this
            step alone.
        layers: Layers, in the order in which they run.
        images: Crops of the batch.
        spoiled: Leaves of the state that are not finite after the step.
    """

    step: int
    start_step: int
    learning_rate: float
    loss: float
    grad_norm: float
    noted_loss: float | None
    noted_grad_norm: float | None
    layers: Sequence[Layer]
    images: Sequence[ImageFacts]
    spoiled: Sequence[str]

    @property
    def is_reproduced(self) -> bool | None:
        """Whether loss and norm are to the last digit those that were noted; None if none were."""
        if self.noted_loss is None:
            return None
        pairs = (self.loss, self.noted_loss), (self.grad_norm, self.noted_grad_norm)
        return all(np.array_equal(*pair, equal_nan=True) for pair in pairs)

    @property
    def first_not_finite(self) -> tuple[str, str] | None:
        """Where the first value that is not finite arises, as (layer, what); None if none is.

        A step runs forwards through the parameters and activations, backwards through the
        gradients, and then updates.
        """
        order = [
            *((layer, what) for layer in self.layers for what in ("params", "activations")),
            *((layer, "gradient") for layer in reversed(self.layers)),
            *((layer, "update") for layer in self.layers),
        ]
        for layer, what in order:
            if (extent := getattr(layer, what)) and extent.not_finite:
                return layer.name, what
        return None
