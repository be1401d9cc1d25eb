"""From the sections of an experiment to the objects that they name."""

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import numpy as np
import optax

from fcn_jax.data.batches.loader import train_batches
from fcn_jax.data.datasets import Dataset, get_dataset
from fcn_jax.models.zoo import get_model
from fcn_jax.ops.losses import Loss, make_loss
from fcn_jax.train import parallel
from fcn_jax.train.evaluator import Evaluator
from fcn_jax.train.optimizer import make_optimizer
from fcn_jax.train.state import TrainState, init_state, init_variables
from fcn_jax.train.steps import find_label_grid, make_train_step


@dataclass(frozen=True)
class Setup:
    """Everything that training and evaluation have in common.

    Attributes:
        config: of the experiment: the sections data, augment, model, loss, optim, train and eval.
        state: before the first step, on no particular device.
        key: the run's own; init and dropout draw from it.
    """

    config: Mapping[str, Any]
    devices: list[jax.Device]
    dataset: Dataset
    model: nn.Module
    optimizer: optax.GradientTransformation
    schedule: optax.Schedule
    state: TrainState
    key: jax.Array
    loss: Loss
    evaluator: Evaluator

    def make_train_step(
        self, *, normalize: bool, iter_size: int
    ) -> Callable[[TrainState, dict], tuple[TrainState, dict]]:
        """Makes the update of a replicated state by a batch; see `steps.make_train_step`."""
        return make_train_step(
            self.model,
            self.optimizer,
            loss=self.loss,
            key=self.key,
            ignore_label=self.dataset.labels.ignore_label,
            devices=self.devices,
            normalize=normalize,
            iter_size=iter_size,
            label_grid=find_label_grid(self.model, crop_size=self.config["augment"]["crop_size"]),
        )

    def compile_train_step(self, state: TrainState, batch: dict) -> jax.stages.Compiled:
        """Compiles the update that the section `train` describes, for such a batch."""
        train = self.config["train"]
        step = self.make_train_step(normalize=train["normalize"], iter_size=train["iter_size"])
        return step.lower(state, batch).compile()


def make_setup(config: Mapping[str, Any], *, to_train: bool = True) -> Setup:
    """Makes what the sections of an experiment, and its seed, describe.

    Args:
        to_train: whether batches will be dealt out over the devices; evaluation works on any number.
    """
    devices = parallel.get_devices()
    if to_train:  # before anything slow: this is the mistake that a change of machine makes
        parallel.check_batch_size(
            config["train"]["batch_size"], len(devices), iter_size=config["train"]["iter_size"]
        )
    dataset = get_dataset(**config["data"])
    labels = dataset.labels
    num_classes = labels.num_classes
    model = get_model(**config["model"], num_classes=num_classes, axis_name=parallel.AXIS)
    # rbg: initialising a network with the default generator takes ten seconds to compile.
    key = jax.random.key(config["seed"], impl="rbg")
    variables = init_variables(key, model)
    optimizer, schedule = make_optimizer(
        variables["params"], num_steps=config["train"]["num_steps"], **config["optim"]
    )
    loss = make_loss(num_classes=num_classes, ignore_label=labels.ignore_label, **config["loss"])
    return Setup(
        config=config,
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
    """Yields the batches that an experiment trains on, from that of step `start_step` + 1 on."""
    return train_batches(
        dataset.source(config["train"]["split"]),
        batch_size=config["train"]["batch_size"],
        seed=config["seed"],
        start_step=start_step,
        ignore_label=dataset.labels.ignore_label,
        **config["augment"],
    )
