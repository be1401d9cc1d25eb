"""From the sections of an experiment to the objects that they name."""

import functools
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import numpy as np
import optax

from fcn_jax.data.batches.loader import train_batches
from fcn_jax.data.datasets import Dataset, get_dataset
from fcn_jax.models.layer_table import Row, layer_table
from fcn_jax.models.zoo import get_model
from fcn_jax.ops.losses import Loss, make_loss
from fcn_jax.train import parallel, sections
from fcn_jax.train.evaluation import Evaluator
from fcn_jax.train.optimizer import make_optimizer
from fcn_jax.train.sections import TrainOptions
from fcn_jax.train.state import TrainState, init_state, init_variables, make_key
from fcn_jax.train.steps import LabelGrid, make_train_step


@dataclass(frozen=True)
class Setup:
    """Everything that a run is made of before its first step.

    Attributes:
        config: Resolved sections of the experiment, and its seed.
        options: Section `train`.
        devices: Devices that the run trains and evaluates on.
        dataset: Data set with the splits of both.
        model: Network.
        optimizer: Optimizer of the network's parameters.
        schedule: Learning rate as a function of the step.
        state: State before the first step, on no particular device.
        key: The run's own key; initialisation and dropout draw from it.
        loss: Loss that is minimised.
        evaluator: Scores the network on the split of section `eval`.
    """

    config: Mapping[str, Any]
    options: TrainOptions
    devices: parallel.Devices
    dataset: Dataset
    model: nn.Module
    optimizer: optax.GradientTransformation
    schedule: optax.Schedule
    state: TrainState
    key: jax.Array
    loss: Loss
    evaluator: Evaluator

    @functools.cached_property
    def rows(self) -> Sequence[Row]:
        """The layers of the network in training, for a crop."""
        size = self.config["augment"]["crop_size"]
        return layer_table(self.model, height=size, width=size, train=True)

    def make_train_step(self) -> Callable[[TrainState, dict], tuple[TrainState, dict]]:
        """Makes the update of a replicated state by a batch; see `steps.make_train_step`."""
        return make_train_step(
            self.model,
            self.optimizer,
            loss=self.loss,
            key=self.key,
            ignore_label=self.dataset.labels.ignore_label,
            devices=self.devices,
            iter_size=self.options.iter_size,
            label_grid=LabelGrid.under(self.rows[-1]),
        )


def make_setup(config: Mapping[str, Any]) -> Setup:
    """Makes what the sections of an experiment, and its seed, describe."""
    config = sections.resolve(config)
    options = TrainOptions(**config["train"])
    devices = parallel.get_devices()
    # Before anything slow: this is the mistake that a change of machine makes.
    devices.check_batch_size(options.batch_size, iter_size=options.iter_size)
    dataset = get_dataset(**config["data"])
    labels = dataset.labels
    num_classes = labels.num_classes
    model = get_model(**config["model"], num_classes=num_classes, axis_name=parallel.AXIS)
    key = make_key(config["seed"])
    variables = init_variables(key, model)
    optimizer, schedule = make_optimizer(
        variables["params"], num_steps=options.num_steps, **config["optim"]
    )
    loss = make_loss(num_classes=num_classes, ignore_label=labels.ignore_label, **config["loss"])
    return Setup(
        config=config,
        options=options,
        devices=devices,
        dataset=dataset,
        model=model,
        optimizer=optimizer,
        schedule=schedule,
        state=init_state(variables, optimizer),
        key=key,
        loss=loss,
        evaluator=Evaluator(model, dataset, devices, **config["eval"]),
    )


def make_batches(
    config: Mapping[str, Any], dataset: Dataset, *, start_step: int = 0
) -> Generator[dict[str, np.ndarray], None, None]:
    """Yields the batches that an experiment trains on, from that of step `start_step` + 1 on.

    Section `augment` is checked at once; the first file is read when the first batch is asked for.
    """
    config = sections.resolve(config)
    return train_batches(
        dataset.source(config["train"]["split"]),
        batch_size=config["train"]["batch_size"],
        seed=config["seed"],
        start_step=start_step,
        ignore_label=dataset.labels.ignore_label,
        **config["augment"],
    )
