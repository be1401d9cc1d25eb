"""From the sections of an experiment to the objects that they name."""

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import numpy as np
import optax

from fcn_jax.data.batches.loader import train_batches
from fcn_jax.data.class_weights import compute_class_weights
from fcn_jax.data.datasets import Dataset, get_dataset
from fcn_jax.errors import UserError
from fcn_jax.models.layer_table import Row, layer_table
from fcn_jax.models.zoo import get_model
from fcn_jax.ops.losses import Loss, make_loss
from fcn_jax.train import parallel, sections
from fcn_jax.train.evaluation import Evaluator, check_options
from fcn_jax.train.memory import check_fits, least_step_bytes
from fcn_jax.train.optimizer import make_optimizer
from fcn_jax.train.options import TrainOptions
from fcn_jax.train.state import TrainState, check_seed, init_state, init_variables, make_key
from fcn_jax.train.steps import LabelGrid, make_train_step

_LARGE_CROP = 2048  # pixels
_LOOKED_AT = 16  # images, for their sizes
_MOSTLY = 0.5  # share of a crop


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
        class_weights: Weights of the classes in it; () for equal ones.
        evaluator: Scores the network on the split of section `eval`.
        rows: Layers of the network in training, for a crop.
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
    class_weights: Sequence[float]
    evaluator: Evaluator
    rows: Sequence[Row]

    def describe(self) -> list[str]:
        """Says what the run is made of, in lines."""
        data, train = self.dataset, self.options
        num_params = sum(leaf.size for leaf in jax.tree.leaves(self.state.params))
        size = self.config["augment"]["crop_size"]
        return [
            f"devices  {self.devices.describe()}",
            f"data     {data.name}, {data.labels.num_classes} classes",
            f"images   {len(data.source(train.split))} of {train.split} to train on, "
            + f"{self.evaluator.num_images} of {self.config['eval']['split']} to score",
            *([f"split    by {data.split_by}"] if data.split_by else ()),
            *(f"remark   {remark}" for remark in data.remarks),
            f"network  {self.config['model']['name']}, {num_params:,} parameters",
            f"steps    {train.num_steps}, each of {train.batch_size} crops of {size} x {size}",
            *self._describe_class_weights(),
            *self._find_padding(),
        ]

    def _describe_class_weights(self) -> list[str]:
        if not isinstance(self.config["loss"]["class_weights"], str):
            return []
        pairs = zip(self.dataset.labels.names, self.class_weights, strict=True)
        return [f"weights  {', '.join(f'{name} {weight:.3g}' for name, weight in pairs)}"]

    def _find_padding(self) -> list[str]:
        """Looks at some images; says that crops are mostly padding, if they are."""
        augment, source = self.config["augment"], self.dataset.source(self.options.split)
        size = augment["crop_size"]
        scale = np.mean(augment["scales"] or augment["scale_range"])
        indices = {*np.linspace(0, len(source), _LOOKED_AT, endpoint=False).astype(int).tolist()}
        sides = [source[index]["image"].shape[:2] for index in sorted(indices)]
        filled = np.prod(np.minimum(np.multiply(sides, scale), size), axis=1).mean() / size**2
        if filled > _MOSTLY:
            return []
        height, width = np.median(sides, axis=0).astype(int)
        fitting = -(-int(scale * max(height, width)) // 32) * 32
        return [
            f"remark   {1 - filled:.0%} of a crop is padding, since images are smaller: {height} x "
            + f"{width};",
            f"         --config.augment.crop_size={fitting} has less of it",
        ]

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
            reduce_dtype=self.options.reduce_dtype,
            label_grid=LabelGrid.under(self.rows[-1]),
        )


def check_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Resolves an experiment, and finds the mistakes that show without devices, data and network.

    Raises:
        UserError: If a value cannot be used.
    """
    config = sections.resolve(config)
    TrainOptions(**config["train"])
    check_seed(config["seed"])
    # Only looks at the options: no batch is read before the first is asked for.
    train_batches([None], batch_size=1, seed=config["seed"], **config["augment"])
    check_options(**config["eval"])
    return config


def make_setup(
    config: Mapping[str, Any], *, open_data: Callable[..., Dataset] = get_dataset
) -> Setup:
    """Makes what the sections of an experiment, and its seed, describe.

    What takes long, the building of a data set among it, comes after all that can be refused.

    Args:
        config: Sections of the experiment, and its seed.
        open_data: Returns the data set of section `data`, given as keywords.
    """
    config = check_config(config)
    options = TrainOptions(**config["train"])
    devices = parallel.get_devices()
    devices.check_batch_size(options.batch_size, iter_size=options.iter_size)
    dataset = open_data(**config["data"])
    trained, scored = options.split, config["eval"]["split"]
    for split in (trained, scored):
        dataset.check_split(split)
    if shared := dataset.find_shared(trained, scored):
        raise UserError(f"eval.split={scored}: {shared}")
    labels = dataset.labels
    num_classes = labels.num_classes
    model = get_model(**config["model"], num_classes=num_classes, axis_name=parallel.AXIS)
    loss_options = _find_class_weights(config["loss"], dataset, trained)
    loss = make_loss(num_classes=num_classes, ignore_label=labels.ignore_label, **loss_options)
    key = make_key(config["seed"])
    shapes = jax.eval_shape(lambda: init_variables(key, model))
    optimizer, schedule = make_optimizer(
        shapes["params"], num_steps=options.num_steps, **config["optim"]
    )
    rows = _find_rows(config, model, devices)
    evaluator = Evaluator(model, dataset, devices, **config["eval"])
    evaluator.check_memory()
    variables = init_variables(key, model)
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
        class_weights=loss_options["class_weights"],
        evaluator=evaluator,
        rows=rows,
    )


def _find_class_weights(options: Mapping[str, Any], dataset: Dataset, split: str) -> dict[str, Any]:
    """Returns section `loss` with numbers for the word that `class_weights` may be."""
    weights = options["class_weights"]
    if isinstance(weights, str):
        num_classes = dataset.labels.num_classes
        weights = compute_class_weights(weights, dataset.source(split), num_classes=num_classes)
    return {**options, "class_weights": weights}


def _find_rows(
    config: Mapping[str, Any], model: nn.Module, devices: parallel.Devices
) -> Sequence[Row]:
    """Lists the layers of the network in training; refuses crops that no memory can hold."""
    size, train, options = config["augment"]["crop_size"], config["train"], config["model"]
    # Listing them for enormous crops takes memory by itself: maps grow with the area.
    listed = min(size, _LARGE_CROP)
    rows = layer_table(model, height=listed, width=listed, train=True)
    least = least_step_bytes(
        rows,
        num_images=train["batch_size"] // devices.count // train["iter_size"],
        remat=options["remat"],
    )
    check_fits(
        least * (size / listed) ** 2,
        devices,
        what=f"train.batch_size={train['batch_size']} crops of augment.crop_size={size}",
        way_on="take smaller crops, a smaller batch, train.iter_size or model.remat=True; python "
        "launch.py benchmark --find-batch finds the largest batch that fits",
    )
    if size > listed:
        rows = layer_table(model, height=size, width=size, train=True)
    return rows


def make_batches(
    config: Mapping[str, Any],
    dataset: Dataset,
    *,
    start_step: int = 0,
    process_index: int = 0,
    process_count: int = 1,
) -> Generator[dict[str, np.ndarray], None, None]:
    """Yields the batches that an experiment trains on, from that of step `start_step` + 1 on.

    Section `augment` is checked at once; the first file is read when the first batch is asked for.
    """
    config = sections.resolve(config)
    dataset.check_classes(config["train"]["split"])
    return train_batches(
        dataset.source(config["train"]["split"]),
        batch_size=config["train"]["batch_size"],
        seed=config["seed"],
        start_step=start_step,
        process_index=process_index,
        process_count=process_count,
        ignore_label=dataset.labels.ignore_label,
        **config["augment"],
    )
