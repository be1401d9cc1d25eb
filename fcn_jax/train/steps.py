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

from fcn_jax.models.atrous_head import AUXILIARY
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
    label_grid: LabelGrid = EVERY_PIXEL,
) -> Callable[[TrainState, dict], tuple[TrainState, dict[str, jax.Array]]]:
    """Makes the update `(state, batch) -> (state, sums)`, mapped over `devices`.

    The batch is `{"images": [d, b, h, w, 3], "labels": [d, b, h, w]}`. The sums, over the whole
    batch, are `loss_sum`, `count` (their ratio is the loss), `grad_norm`, and `grad_squares [n]`:
    the squared norm of the gradient of each of the n parameters, in the order of their leaves.

    Args:
        loss: Loss of the batch, with the number that it is to be divided by. What the network
            scores aside has the same loss, which is added with its weight.
        key: Key that dropout draws from, by step, device and part.
        ignore_label: Label of the pixels that do not count.
        iter_size: Number of parts that the batch is computed in, one after the other. The loss of
            each part is divided by the number of its own pixels or images; the update takes the
            mean of the parts' gradients. (Caffe's word.)
        label_grid: Pixels that the network scores in training.
    """

    def gradients(params, batch_stats, part: dict, key: jax.Array) -> tuple[Any, dict, Any]:
        def objective(params):
            logits, updates = model.apply(
                {"params": params, "batch_stats": batch_stats},
                part["images"],
                train=True,
                mutable=["batch_stats", AUXILIARY],
                rngs={"dropout": key},
            )
            labels = label_grid.sample(part["labels"], logits.shape[1:3], ignore_label=ignore_label)
            term, sums = term_of(logits, labels)
            for [aside] in updates.get(AUXILIARY, {}).values():
                aside_term, aside_sums = term_of(aside.logits, labels)
                term += aside.weight * aside_term
                sums["loss_sum"] += aside.weight * aside_sums["loss_sum"]
            return term, (sums, updates.get("batch_stats", {}))

        def term_of(logits, labels):
            """Returns what the gradient is taken of, and the loss with its count."""
            parts_here, count = loss.sums(logits, labels, all_sum=parallel.all_sum)
            parts, count = parallel.all_sum((lax.stop_gradient(parts_here), count))
            num_images = parallel.all_sum(len(labels))
            by_pixels = loss.divide_by == "pixels"
            divisor = jnp.where(count > 0, count, 1) if by_pixels else num_images
            # The gradients of all devices are added later, so each differentiates a term of
            #   d total / d params
            #       = sum over devices of <d total / d parts, d parts_here / d params>
            # where parts = sum over devices of parts_here, and d total / d parts is a constant.
            # The gradient of `total` itself would be counted once for each device.
            loss_sum, slopes = jax.value_and_grad(loss.total)(parts, count)
            term = sum(jnp.sum(slopes[name] * parts_here[name]) for name in parts_here)
            return term / divisor, {"loss_sum": loss_sum, "count": count}

        grads, (sums, batch_stats) = jax.grad(objective, has_aux=True)(params)
        return grads, sums, batch_stats

    def accumulate(state: TrainState, batch: dict, key: jax.Array) -> tuple[Any, dict, Any]:
        def add(total, part):
            index, part = part
            grads, batch_stats = total
            part_key = jax.random.fold_in(key, index)
            more, sums, batch_stats = gradients(state.params, batch_stats, part, part_key)
            return (jax.tree.map(jnp.add, grads, more), batch_stats), sums

        parts = jax.tree.map(lambda a: a.reshape(iter_size, -1, *a.shape[1:]), batch)
        none = jax.tree.map(jnp.zeros_like, state.params), state.batch_stats
        (grads, batch_stats), sums = lax.scan(add, none, (jnp.arange(iter_size), parts))
        grads = jax.tree.map(lambda grad: grad / iter_size, grads)
        return grads, jax.tree.map(lambda values: values.sum(0), sums), batch_stats

    def update(state: TrainState, batch: dict) -> tuple[TrainState, dict[str, jax.Array]]:
        step_key = parallel.device_key(key, state.step)
        if iter_size == 1:
            total = gradients(state.params, state.batch_stats, batch, step_key)
        else:
            total = accumulate(state, batch, step_key)
        grads, sums, batch_stats = total
        grads = parallel.all_sum(grads)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        # `optax.tree.norm(grads)` adds the same sums in the same order, to the last bit.
        squares = [optax.tree.norm(grad, squared=True) for grad in jax.tree.leaves(grads)]
        grad_norm, grad_squares = jnp.sqrt(sum(squares)), jnp.stack(squares)
        sums = {**sums, "grad_norm": grad_norm, "grad_squares": grad_squares}
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
