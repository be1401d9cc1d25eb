"""One step of a run made again, and looked at layer by layer and image by image.

The run folder is read only. The steps from the newest checkpoint before it are made by the program,
with the batches and with the keys of the training, so that on the same devices they are the same
bits.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from fcn_jax.errors import UserError
from fcn_jax.models.blob import Blob
from fcn_jax.models.zoo import get_model
from fcn_jax.train import parallel
from fcn_jax.train.checkpoint import Checkpoints, list_steps
from fcn_jax.train.failure import group_by_layer, mean_loss, norms_by_layer
from fcn_jax.train.progress import Progress
from fcn_jax.train.replayed_step import Extent, ImageFacts, Layer, Replay
from fcn_jax.train.run_data import RunData
from fcn_jax.train.run_folder import RunFolder
from fcn_jax.train.setup import Setup, make_batches, make_setup
from fcn_jax.train.state import TrainState, name_leaves
from fcn_jax.train.steps import LabelGrid
from fcn_jax.train.warm_start import init_from


def find_step(run: RunFolder, step: int | None) -> int:
    """Returns the step that is replayed: the one that failed, or the newest, if none is asked for.

    Raises:
        UserError: If the run has not made that step.
    """
    failure = run.read_failure()
    logged = [entry["step"] for entry in run.read_metrics("train")]
    newest = max([*logged, *list_steps(run.checkpoints_path), failure.step if failure else 0])
    if not newest:
        raise UserError(
            f"there is no step to replay: {run.path} has no checkpoint and no line in its log\n"
            "give the command that trains it first"
        )
    if step is None:
        return failure.step if failure else newest
    if not 1 <= step <= newest:
        raise UserError(
            f"--step={step}: the newest step of {run.path} is {newest}; give one of 1..{newest}"
        )
    return step


def replay(run: RunFolder, config: Mapping[str, Any], progress: Progress, *, step: int) -> Replay:
    """Makes the steps of a run up to `step` again, and looks at that one.

    Args:
        run: The run folder; nothing is written there.
        config: Resolved sections of the run, and its seed.
        progress: Where it is said how far the replay is.
        step: Step that the run has made.

    Raises:
        UserError: If the checkpoint that it has to begin at cannot be read.
    """
    setup = make_setup(config, open_data=RunData(run, say=progress.say).open)
    start_step = max((s for s in list_steps(run.checkpoints_path) if s < step), default=0)
    if start_step:
        with contextlib.closing(Checkpoints(run.checkpoints_path, read_only=True)) as checkpoints:
            state = checkpoints.restore(start_step, like=setup.state)
    else:
        state = init_from(setup.state, setup.model, labels=setup.dataset.labels, **config["init"])
    state, train_step = setup.devices.replicate(state), setup.make_train_step()
    with (
        contextlib.closing(make_batches(config, setup.dataset, start_step=start_step)) as batches,
        progress.count("step", done=start_step, total=step) as steps,
    ):
        for number in range(start_step + 1, step):
            state, sums = train_step(state, setup.devices.shard(next(batches)))
            jax.block_until_ready(sums["loss_sum"])
            steps.reach(number)
        batch = next(batches)
    before = jax.tree.map(np.array, jax.device_get(state))  # copies: the step reuses this memory
    state, sums = jax.device_get(train_step(state, setup.devices.shard(batch)))
    progress.say("looking at the step ...")
    return Replay(
        step=step,
        start_step=start_step,
        learning_rate=float(setup.schedule(step - 1)),
        loss=mean_loss(sums),
        grad_norm=float(sums["grad_norm"]),
        **_find_noted(run, step),
        **_look(setup, before, state, sums, batch),
        spoiled=[path for path, leaf in name_leaves(state).items() if not np.isfinite(leaf).all()],
    )


def _find_noted(run: RunFolder, step: int) -> dict[str, float | None]:
    """Finds the loss and the gradient norm that the run noted of one step alone."""
    failure = run.read_failure()
    entries = {entry["step"]: entry for entry in run.read_metrics("train")}
    noted = None, None
    if failure and failure.step == step:
        noted = failure.loss, failure.grad_norm
    elif step in entries and (step == 1 or step - 1 in entries):  # a line is of all since the last
        noted = entries[step].get("loss"), entries[step].get("grad_norm")
    return dict(zip(("noted_loss", "noted_grad_norm"), noted, strict=True))


def _look(
    setup: Setup, before: TrainState, after: TrainState, sums: Mapping[str, Any], batch: dict
) -> dict[str, Any]:
    """Measures a step: its layers and its images."""
    shards, named = setup.devices.shard(batch), [row.name for row in setup.rows]
    activations, losses = _run_forward(setup, before, shards)
    with np.errstate(invalid="ignore", over="ignore"):
        change = jax.tree.map(lambda new, old: new - old, after.params, before.params)
    grads = _compute_gradient(setup, before, shards)
    params, update, gradient = (_measure_layers(t, named) for t in (before.params, change, grads))
    norms = norms_by_layer(sums["grad_squares"], name_leaves(before.params), named)
    layers = [
        Layer(
            name=name,
            params=params.get(name),
            activations=activations.get(name),
            gradient=gradient.get(name),
            grad_norm=norms.get(name),
            update=update.get(name),
        )
        for name in dict.fromkeys([*named, *params])
    ]
    void = batch["labels"] == setup.dataset.labels.ignore_label
    images = [
        ImageFacts(str(image_id), float(v.mean()), int(image.min()), int(image.max()), float(loss))
        for image_id, v, image, loss in zip(
            batch["ids"], void, batch["images"], losses, strict=True
        )
    ]
    return {"layers": layers, "images": images}


def _compute_gradient(setup: Setup, state: TrainState, shards: dict) -> Any:
    """Computes the gradient of a step: by an optimizer that only keeps it, as its state."""
    keep = optax.GradientTransformation(
        lambda params: params, lambda grads, _, params: (jax.tree.map(jnp.zeros_like, grads), grads)
    )
    state = state.replace(opt_state=jax.tree.map(np.zeros_like, state.params))
    step = dataclasses.replace(setup, optimizer=keep).make_train_step()
    return jax.device_get(step(setup.devices.replicate(state), shards)[0].opt_state)


def _run_forward(
    setup: Setup, state: TrainState, shards: dict[str, np.ndarray]
) -> tuple[dict[str, Extent], np.ndarray]:
    """Runs the network as the step does; returns extents by layer, and the loss of each image."""
    # Without remat, inside of which no map can be looked at.
    options = {**setup.config["model"], "remat": False}
    model = get_model(
        **options, num_classes=setup.dataset.labels.num_classes, axis_name=parallel.AXIS
    )
    run = setup.devices.apply(_make_forward(setup, model))
    iter_size = setup.options.iter_size
    values = setup.devices.replicate({"step": state.step, **state.variables})
    parts = [
        jax.device_get(
            run({**values, "part": np.int32(index)}, dict(zip(shards, part, strict=True)))
        )
        for index, part in enumerate(
            zip(*(np.split(array, iter_size, axis=1) for array in shards.values()), strict=True)
        )
    ]
    found = [extents for extents, _ in parts]
    extents = {name: _join([part[name] for part in found]) for name in found[0]}
    return extents, np.concatenate([losses for _, losses in parts], axis=1).reshape(-1)


def _make_forward(setup: Setup, model: nn.Module) -> Callable:
    """Makes `(values, part) -> (extents by layer, losses [b])` of one device."""
    label_grid, loss = LabelGrid.under(setup.rows[-1]), setup.loss
    ignore_label = setup.dataset.labels.ignore_label

    def find_loss(logits, labels):
        parts, count = loss.sums(logits[None], labels[None])
        return loss.total(parts, count) / jnp.maximum(count, 1)

    def forward(values: dict, part: dict):
        found = {}

        def record(call, args, kwargs, context):
            output = call(*args, **kwargs)
            if isinstance(output, Blob) and context.method_name == "__call__":
                name = "/".join(context.module.path).removeprefix("backbone/")
                found[name] = _measure(jnp, output.maps)
            return output

        key = parallel.device_key(setup.key, values["step"])
        if setup.options.iter_size > 1:
            key = jax.random.fold_in(key, values["part"])
        with nn.intercept_methods(record):
            logits, _ = model.apply(
                {name: values[name] for name in ("params", "batch_stats")},
                part["images"],
                train=True,
                mutable=["batch_stats"],
                rngs={"dropout": key},
            )
        labels = label_grid.sample(part["labels"], logits.shape[1:3], ignore_label=ignore_label)
        return found, jax.vmap(find_loss)(logits, labels)

    return forward


def _measure(numpy: Any, array: Any) -> tuple[Any, Any]:
    """Returns the largest finite absolute value, and the number of values that are not finite."""
    finite = numpy.isfinite(array)
    return numpy.max(numpy.abs(numpy.where(finite, array, 0))), numpy.sum(~finite)


def _measure_layers(params: Any, names: Sequence[str]) -> dict[str, Extent]:
    """Measures the parameters of each layer, or what is laid out like them."""
    measured = {path: _measure(np, leaf) for path, leaf in name_leaves(params).items()}
    return {layer: _join(pairs) for layer, pairs in group_by_layer(measured, names).items()}


def _join(pairs: Sequence[tuple[Any, Any]]) -> Extent:
    return Extent(
        largest=max(float(np.max(largest)) for largest, _ in pairs),
        not_finite=sum(int(np.sum(count)) for _, count in pairs),
    )
