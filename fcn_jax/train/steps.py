"""One update, and one evaluation, of a batch that is spread over the devices."""

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax import lax

from fcn_jax.ops.losses import softmax_cross_entropy
from fcn_jax.ops.metrics import confusion_counts
from fcn_jax.train import parallel
from fcn_jax.train.state import TrainState


def make_train_step(
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    *,
    key: jax.Array,
    ignore_label: int,
    devices: Sequence[jax.Device],
    normalize: bool = True,
) -> Callable[[TrainState, dict], tuple[TrainState, dict[str, jax.Array]]]:
    """Makes the update `(state, batch) -> (state, sums)`, mapped over `devices`.

    The batch is `{"images": [d, b, h, w, 3], "labels": [d, b, h, w]}`. The sums, over the whole
    batch, are `loss_sum` (nats), `num_pixels` (labelled ones) and `grad_norm`.

    Args:
        key: dropout draws from it, by step and device.
        normalize: Caffe's word: true divides loss and gradients by the number of labelled pixels
            of the whole batch, false (the FCN release) by the number of images.
    """

    def update(state: TrainState, batch: dict) -> tuple[TrainState, dict[str, jax.Array]]:
        def loss(params):
            logits, updates = model.apply(
                {"params": params, "batch_stats": state.batch_stats},
                batch["images"],
                train=True,
                mutable=["batch_stats"],
                rngs={"dropout": parallel.device_key(key, state.step)},
            )
            loss_sum, num_pixels = softmax_cross_entropy(
                logits, batch["labels"], ignore_label=ignore_label
            )
            num_pixels = parallel.all_sum(num_pixels)
            num_images = parallel.all_sum(batch["images"].shape[0])
            divisor = jnp.maximum(num_pixels, 1) if normalize else num_images
            return loss_sum / divisor, (loss_sum, num_pixels, updates.get("batch_stats", {}))

        grads, (loss_sum, num_pixels, batch_stats) = jax.grad(loss, has_aux=True)(state.params)
        grads = parallel.all_sum(grads)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        sums = {
            "loss_sum": parallel.all_sum(loss_sum),
            "num_pixels": num_pixels,
            "grad_norm": optax.tree.norm(grads),
        }
        state = TrainState(
            step=state.step + 1,
            params=optax.apply_updates(state.params, updates),
            batch_stats=batch_stats,
            opt_state=opt_state,
        )
        return state, sums

    return parallel.parallel_update(update, devices)


def make_eval_step(
    model: nn.Module, *, num_classes: int, ignore_label: int, devices: Sequence[jax.Device]
) -> Callable[[Any, dict], dict[str, jax.Array]]:
    """Makes the scoring of a batch, `(variables, batch) -> outputs [d, ...]`.

    Each image runs through the network by itself, whatever the size of the batch: a convolution over
    more images may sum in another order, which can tip the balance where two classes are almost
    equal. So the predictions of an image depend on that image alone. (Compiled as a loop this is as
    fast on a CPU as the whole batch at once.)

    The outputs are `counts [d, k, k]` (summed over the device's images), `loss_sum [d, b]`,
    `num_pixels [d, b]` and `preds [d, b, h, w]` (uint8).
    """

    def apply_one(variables, image, label):
        logits = model.apply(variables, image[None], train=False)
        preds = jnp.argmax(logits[0], axis=-1)
        loss_sum, num_pixels = softmax_cross_entropy(logits, label[None], ignore_label=ignore_label)
        counts = confusion_counts(label, preds, num_classes=num_classes, ignore_label=ignore_label)
        return counts, loss_sum, num_pixels, preds.astype(jnp.uint8)

    def apply(variables, batch):
        counts, loss_sum, num_pixels, preds = lax.map(
            lambda pair: apply_one(variables, *pair), (batch["images"], batch["labels"])
        )
        return {
            "counts": counts.sum(0),
            "loss_sum": loss_sum,
            "num_pixels": num_pixels,
            "preds": preds,
        }

    return parallel.parallel_apply(apply, devices)
