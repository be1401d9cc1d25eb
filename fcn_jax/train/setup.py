"""From the sections of an experiment to the objects that they name."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import optax

from fcn_jax.data.datasets import Dataset, get_dataset
from fcn_jax.models.zoo import get_model
from fcn_jax.train import parallel
from fcn_jax.train.evaluator import Evaluator
from fcn_jax.train.optimizer import make_optimizer
from fcn_jax.train.state import TrainState, init_state, init_variables


@dataclass(frozen=True)
class Setup:
    """Everything that training and evaluation have in common.

    Attributes:
        state: before the first step, on no particular device.
        key: the run's own; init and dropout draw from it.
    """

    devices: list[jax.Device]
    dataset: Dataset
    model: nn.Module
    optimizer: optax.GradientTransformation
    schedule: optax.Schedule
    state: TrainState
    key: jax.Array
    evaluator: Evaluator


def make_setup(config: Mapping[str, Any]) -> Setup:
    """Makes what the sections data, model, optim and eval, and the seed, describe."""
    devices = parallel.get_devices()
    # Before anything slow: this is the mistake that a change of machine makes.
    parallel.check_batch_size(
        config["train"]["batch_size"], len(devices), iter_size=config["train"]["iter_size"]
    )
    dataset = get_dataset(**config["data"])
    num_classes = dataset.labels.num_classes
    model = get_model(**config["model"], num_classes=num_classes, axis_name=parallel.AXIS)
    # rbg: initialising a network with the default generator takes ten seconds to compile.
    key = jax.random.key(config["seed"], impl="rbg")
    variables = init_variables(key, model)
    optimizer, schedule = make_optimizer(
        variables["params"], num_steps=config["train"]["num_steps"], **config["optim"]
    )
    return Setup(
        devices=devices,
        dataset=dataset,
        model=model,
        optimizer=optimizer,
        schedule=schedule,
        state=init_state(variables, optimizer),
        key=key,
        evaluator=Evaluator(model, dataset, devices, **config["eval"]),
    )
