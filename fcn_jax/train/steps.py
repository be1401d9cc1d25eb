"""One update, and one evaluation, of a batch that is spread over the devices."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array, Integer

from fcn_jax.models.head import AUXILIARY
from fcn_jax.models.layer_table import Row, layer_table
from fcn_jax.models.padded import apply_padded
from fcn_jax.ops.losses import Loss, softmax_cross_entropy
from fcn_jax.ops.metrics import confusion_counts, near_boundary
from fcn_jax.train import parallel
from fcn_jax.train.parallel import Devices
from fcn_jax.train.state import TrainState


class LabelGrid(NamedTuple):
    """The pixels whose scores a network gives in training, along both axes: all, or every few.

    The DeepLab release compares its score map with the labels under the centres of its units.
    """

    start: int = 0
    stride: int = 1

    @classmethod
    def under(cls, scored: Row) -> "LabelGrid":
        """Finds the pixels under the units of the layer that is compared with the labels.

        A unit whose centre lies between two pixels takes the later one, as in the release.
        """
        return cls(start=math.ceil(scored.start), stride=int(scored.stride))

    def sample(
        self, labels: Integer[Array, "b h w"], size: tuple[int, int], *, ignore_label: int
    ) -> Integer[Array, "b {size[0]} {size[1]}"]:
        """Takes the labels of `size` such pixels; those beyond the image are void."""
        labels = labels[:, self.start :: self.stride, self.start :: self.stride]
        beyond = [
            (0, 0),
            *((0, max(0, n - m)) for n, m in zip(size, labels.shape[1:], strict=True)),
        ]
        labels = jnp.pad(labels, beyond, constant_values=ignore_label)
        return labels[:, : size[0], : size[1]]


EVERY_PIXEL = LabelGrid()


class _Outputs(NamedTuple):
    """Logits of the network, and of what it scores aside."""

    logits: list[Array]


def find_label_grid(model: nn.Module, *, crop_size: int) -> LabelGrid:
    """Finds the pixels under the units that `model` scores in training."""
    return LabelGrid.under(layer_table(model, height=crop_size, width=crop_size, train=True)[-1])


def make_train_step(
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    *,
    loss: Loss,
    key: jax.Array,
    ignore_label: int,
    devices: Devices,
    iter_size: int = 1,
    reduce_dtype: str = "float32",
    label_grid: LabelGrid = EVERY_PIXEL,
) -> Callable[[TrainState, dict], tuple[TrainState, dict[str, jax.Array]]]:
    """Makes the update `(state, batch) -> (state, sums)`, mapped over `devices`.

    The batch is `{"images": [d, b, h, w, 3], "labels": [d, b, h, w]}`. The sums, over the whole
    batch, are `loss_sum`, `count` (their ratio is the loss), `grad_norm`, and `grad_squares [n]`:
    the squared norm of the gradient of each of the n parameters, in the order of their leaves. With
    `parallel.STOP` in the batch there are its votes too.

    Args:
        loss: Loss of the batch, with the number that it is to be divided by. What the network
            scores aside has the same loss, which is added with its weight.
        key: Key that dropout draws from, by step, device and part.
        ignore_label: Label of the pixels that do not count.
        iter_size: Number of parts that the batch is computed in, one after the other. The update is
            that of the whole batch, but that batch norm takes its statistics from each part, and
            dropout draws for each. Where the loss is no sum over pixels (hardest pixels, Dice) all
            parts run twice: first for the loss of the batch, then for the gradient. (The word is
            Caffe's, whose parts are divided by the number of their own pixels.)
        reduce_dtype: Type in which the gradients of the devices are added up.
        label_grid: Pixels that the network scores in training.
    """

    def run(params, batch_stats, images, key: jax.Array) -> tuple[_Outputs, Any]:
        logits, updates = model.apply(
            {"params": params, "batch_stats": batch_stats},
            images,
            train=True,
            mutable=["batch_stats", AUXILIARY],
            rngs={"dropout": key},
        )
        asides = [aside for [aside] in updates.get(AUXILIARY, {}).values()]
        outputs = _Outputs([logits, *(aside.logits for aside in asides)])
        aside_weights[:] = [aside.weight for aside in asides]
        return outputs, updates.get("batch_stats", {})

    aside_weights: list[float] = []  # of the network: known once it is traced

    def compare(outputs: _Outputs, labels, *, divide: bool) -> tuple[Any, dict]:
        """Returns what the gradient is taken of, and the loss with its count."""
        logits, *asides = outputs.logits
        labels = label_grid.sample(labels, logits.shape[1:3], ignore_label=ignore_label)
        term, sums = term_of(logits, labels, divide=divide)
        for weight, aside in zip(aside_weights, asides, strict=True):
            aside_term, aside_sums = term_of(aside, labels, divide=divide)
            term += weight * aside_term
            sums["loss_sum"] += weight * aside_sums["loss_sum"]
        return term, sums

    def term_of(logits, labels, *, divide: bool) -> tuple[Any, dict]:
        parts_here, count = loss.sums(logits, labels, all_sum=parallel.all_sum)
        parts, count = parallel.all_sum((lax.stop_gradient(parts_here), count))
        # The gradients of all devices are added later, so each differentiates a term of
        #   d total / d params
        #       = sum over devices of <d total / d parts, d parts_here / d params>
        # where parts = sum over devices of parts_here, and d total / d parts is a constant.
        # The gradient of `total` itself would be counted once for each device.
        loss_sum, slopes = jax.value_and_grad(loss.total)(parts, count)
        term = sum(jnp.sum(slopes[name] * parts_here[name]) for name in parts_here)
        divisor = find_divisor(count, len(labels)) if divide else 1
        return term / divisor, {"loss_sum": loss_sum, "count": count}

    def find_divisor(count, num_images_here: int):
        num_images = parallel.all_sum(num_images_here)
        by_pixels = loss.divide_by == "pixels"
        return jnp.where(count > 0, count, 1) if by_pixels else num_images

    def whole_gradient(state: TrainState, batch: dict, key: jax.Array) -> tuple[Any, dict, Any]:
        def objective(params):
            outputs, batch_stats = run(params, state.batch_stats, batch["images"], key)
            term, sums = compare(outputs, batch["labels"], divide=True)
            return term, (sums, batch_stats)

        grads, (sums, batch_stats) = jax.grad(objective, has_aux=True)(state.params)
        return grads, sums, batch_stats

    def gradient_in_parts(state: TrainState, batch: dict, key: jax.Array) -> tuple[Any, dict, Any]:
        parts = {
            name: batch[name].reshape(iter_size, -1, *batch[name].shape[1:])
            for name in ("images", "labels")
        }
        keys = jax.vmap(lambda index: jax.random.fold_in(key, index))(jnp.arange(iter_size))
        if loss.is_sum_over_pixels:
            slope_of, extra, found = slope_of_sums, parts["labels"], None
        else:
            slope_of, (extra, found) = slope_of_outputs, differentiate_outputs(state, parts, keys)

        def add(total, part):
            grads, batch_stats = total
            more, sums, batch_stats = slope_of(state.params, batch_stats, *part)
            return (jax.tree.map(jnp.add, grads, more), batch_stats), sums

        none = jax.tree.map(jnp.zeros_like, state.params), state.batch_stats
        (grads, batch_stats), sums = lax.scan(add, none, (parts["images"], keys, extra))
        if found is None:
            found = jax.tree.map(lambda values: values.sum(0), sums)
            divisor = find_divisor(found["count"], len(batch["images"]))
            grads = jax.tree.map(lambda grad: grad / divisor, grads)
        return grads, found, batch_stats

    def slope_of_sums(params, batch_stats, images, key, labels) -> tuple[Any, dict, Any]:
        """Differentiates the sum of a part's losses; who adds them up divides by their number."""

        def objective(params):
            outputs, updated = run(params, batch_stats, images, key)
            term, sums = compare(outputs, labels, divide=False)
            return term, (sums, updated)

        grads, (sums, batch_stats) = jax.grad(objective, has_aux=True)(params)
        return grads, sums, batch_stats

    def differentiate_outputs(state: TrainState, parts: dict, keys) -> tuple[_Outputs, dict]:
        """Runs all parts, and differentiates the loss of the batch by their outputs."""

        def run_part(part):
            images, key = part
            return run(state.params, state.batch_stats, images, key)[0]

        outputs = lax.map(run_part, (parts["images"], keys))
        joined, labels = jax.tree.map(
            lambda a: a.reshape(-1, *a.shape[2:]), (outputs, parts["labels"])
        )
        slopes, sums = jax.grad(partial(compare, divide=True), has_aux=True)(joined, labels)
        return jax.tree.map(lambda a, like: a.reshape(like.shape), slopes, outputs), sums

    def slope_of_outputs(params, batch_stats, images, key, slopes) -> tuple[Any, dict, Any]:
        """Runs a part once more, and takes the slopes of its outputs back to the parameters."""
        _, pull_back, batch_stats = jax.vjp(
            lambda params: run(params, batch_stats, images, key), params, has_aux=True
        )
        return *pull_back(slopes), {}, batch_stats

    def update(state: TrainState, batch: dict) -> tuple[TrainState, dict[str, jax.Array]]:
        step_key = parallel.device_key(key, state.step)
        find_gradient = whole_gradient if iter_size == 1 else gradient_in_parts
        grads, sums, batch_stats = find_gradient(state, batch, step_key)
        grads = parallel.all_sum_in(reduce_dtype, grads)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        # `optax.tree.norm(grads)` adds the same sums in the same order, to the last bit.
        squares = [optax.tree.norm(grad, squared=True) for grad in jax.tree.leaves(grads)]
        grad_norm, grad_squares = jnp.sqrt(sum(squares)), jnp.stack(squares)
        sums = {**sums, "grad_norm": grad_norm, "grad_squares": grad_squares}
        if parallel.STOP in batch:
            sums[parallel.STOP] = parallel.all_sum(batch[parallel.STOP])
        state = TrainState(
            step=state.step + 1,
            params=optax.apply_updates(state.params, updates),
            batch_stats=batch_stats,
            opt_state=opt_state,
        )
        return state, sums

    return devices.update(update)


def make_eval_step(
    model: nn.Module,
    *,
    num_classes: int,
    ignore_label: int,
    boundary_px: int,
    devices: Devices,
) -> Callable[[Any, dict], dict[str, jax.Array]]:
    """Makes the scoring of a batch, `(variables, batch) -> outputs [d, ...]`.

    Each image runs through the network by itself, whatever the size of the batch, so that its
    predictions depend on that image alone: a convolution over more images may sum in another order,
    which can tip the balance where two classes are almost equal. (Compiled as a loop this is as
    fast on a CPU as the whole batch at once.)

    The outputs are `counts [d, b, k, k]`, of each image, `boundary_counts` likewise, `loss_sum
    [d, b]`, `num_pixels [d, b]` and `preds [d, b, h, w]` (uint8).

    Args:
        boundary_px: Distance in pixels: the boundary counts are of the pixels that have another
            class within it.
    """
    count = partial(confusion_counts, num_classes=num_classes, ignore_label=ignore_label)

    def apply_one(variables, image, label, size):
        logits = apply_padded(model, variables, image[None], size[None])
        preds = jnp.argmax(logits[0], axis=-1)
        loss_sum, num_pixels = softmax_cross_entropy(logits, label[None], ignore_label=ignore_label)
        near = near_boundary(label, ignore_label=ignore_label, distance_px=boundary_px)
        boundary_counts = count(jnp.where(near, label, ignore_label), preds)
        return count(label, preds), boundary_counts, loss_sum, num_pixels, preds.astype(jnp.uint8)

    def apply(variables, batch):
        counts, boundary_counts, loss_sum, num_pixels, preds = lax.map(
            lambda image: apply_one(variables, *image),
            (batch["images"], batch["labels"], batch["sizes"]),
        )
        return {
            "counts": counts,
            "boundary_counts": boundary_counts,
            "loss_sum": loss_sum,
            "num_pixels": num_pixels,
            "preds": preds,
        }

    return devices.apply(apply)
