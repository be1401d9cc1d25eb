"""Losses as sums: sums and counts can be added over devices and batches, means cannot.

A pixel whose label is `ignore_label` never enters: not the sum, not the count, not the gradient,
whatever the logits there are, NaN and infinity included.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Integer, Num

from fcn_jax.errors import UserError

DICE_SMOOTH = 1.0  # pixels, as in optax.losses.dice_loss: a class that is nowhere has no loss


def softmax_cross_entropy(
    logits: Float[Array, "b h w k"], labels: Integer[Array, "b h w"], *, ignore_label: int
) -> tuple[Float[Array, ""], Integer[Array, ""]]:
    """Sums the cross entropy, in nats, over the labelled pixels, and counts these pixels."""
    valid = labels != ignore_label
    return jnp.sum(_cross_entropies(logits, labels, valid)), jnp.sum(valid)


class Loss(NamedTuple):
    """A loss in two halves; between them, sums are added over the devices.

    Attributes:
        sums: `sums(logits, labels, all_sum=f)` gives (parts, count) of the pixels of one device: a
            dict of arrays, to be differentiated, and what the loss is divided by. With `f`, which
            adds over the devices, it asks for what has to be known of all pixels on the way.
        total: `total(parts, count)`, of the sums over all devices, is the loss times the count.
    """

    sums: Callable[..., tuple[dict[str, Array], Array]]
    total: Callable[[dict[str, Array], Array], Array]


def make_loss(
    *,
    num_classes: int,
    ignore_label: int,
    class_weights: Sequence[float] = (),
    ohem_fraction: float = 1.0,
    cross_entropy_weight: float = 1.0,
    dice_weight: float = 0.0,
) -> Loss:
    """Makes the loss of a run: the mean cross entropy of a labelled pixel, unless more is said.

    It is one of the whole batch, however the images are dealt out to devices.

    Args:
        class_weights: one for each class, in their order; none means equal ones. The cross entropy
            of a pixel is multiplied by the weight of its true class, and the mean is over the
            weights: the sum of the products, divided by the sum of these weights. So equal weights
            change nothing, whatever they are.
        ohem_fraction: only so large a part of the labelled pixels, those with the highest (weighted)
            cross entropy, enters it, and whatever ties with the last of them; 1 keeps all.
            Source: Wu et al. 2016, Bridging Category-level and Instance-level Semantic Image
            Segmentation (online bootstrapping); Shrivastava et al. 2016 (OHEM).
        cross_entropy_weight: multiplies the above.
        dice_weight: multiplies the mean over classes, likewise weighted, of the soft Dice loss:
            one minus twice the overlap of probabilities and truth, divided by the sum of both.
            Source: Milletari et al. 2016 (V-Net); here the sums are over the whole batch.
    """
    _check(num_classes, class_weights, ohem_fraction, cross_entropy_weight, dice_weight)
    weights = np.asarray(class_weights or (1.0,) * num_classes, np.float32)
    plain = not class_weights and ohem_fraction == 1

    def sums(logits, labels, *, all_sum: Callable[[Any], Any] = lambda tree: tree):
        if plain:
            loss_sum, count = softmax_cross_entropy(logits, labels, ignore_label=ignore_label)
        else:
            kept = labels != ignore_label
            pixel_weights = jnp.sum(_one_hot(labels, kept, num_classes) * weights, axis=-1)
            losses = _cross_entropies(logits, labels, kept) * pixel_weights
            if ohem_fraction < 1:
                kept = _hardest(lax.stop_gradient(losses), kept, ohem_fraction, all_sum)
            loss_sum, count = jnp.sum(losses, where=kept), jnp.sum(pixel_weights, where=kept)
        parts = {"cross_entropy": loss_sum}
        if dice_weight:
            parts["overlap"], parts["area"] = _dice_sums(logits, labels, ignore_label)
        return parts, count

    def total(parts, count):
        loss_sum = cross_entropy_weight * parts["cross_entropy"]
        if dice_weight:
            overlap, area = parts["overlap"], parts["area"]
            dice = 1 - (2 * overlap + 2 * DICE_SMOOTH) / (area + 2 * DICE_SMOOTH)
            loss_sum += dice_weight * count * jnp.sum(weights * dice) / weights.sum()
        return loss_sum

    return Loss(sums, total)


def _check(
    num_classes: int,
    class_weights: Sequence[float],
    ohem_fraction: float,
    cross_entropy_weight: float,
    dice_weight: float,
) -> None:
    if not all(isinstance(weight, int | float) for weight in class_weights):
        raise UserError(f"loss.class_weights={tuple(class_weights)} must be numbers")
    if class_weights and len(class_weights) != num_classes:
        raise UserError(
            f"loss.class_weights has {len(class_weights)} values for {num_classes} classes; "
            "give one for each class, in their order, or () for equal ones"
        )
    if class_weights and (min(class_weights) < 0 or max(class_weights) == 0):
        raise UserError(
            f"loss.class_weights={tuple(class_weights)} must not be negative, nor all 0"
        )
    if not 0 < ohem_fraction <= 1:
        raise UserError(f"loss.ohem_fraction={ohem_fraction} must lie in (0, 1]; 1 keeps all")
    terms = cross_entropy_weight, dice_weight
    if min(terms) < 0 or max(terms) == 0:
        raise UserError(
            f"loss.cross_entropy_weight={cross_entropy_weight} and loss.dice_weight={dice_weight} "
            "must not be negative, nor both 0"
        )


def _one_hot(
    labels: Integer[Array, "b h w"], valid: Bool[Array, "b h w"], num_classes: int
) -> Bool[Array, "b h w k"]:
    return (labels[..., None] == jnp.arange(num_classes)) & valid[..., None]


# The gradient is written out because it needs nothing as large as the logits but these.
@jax.custom_vjp
def _cross_entropies(
    logits: Float[Array, "b h w k"], labels: Integer[Array, "b h w"], valid: Bool[Array, "b h w"]
) -> Float[Array, "b h w"]:
    """Computes the cross entropy of every pixel, 0 for those that are not valid."""
    return _cross_entropies_forward(logits, labels, valid)[0]


def _cross_entropies_forward(logits, labels, valid):
    wide = logits.astype(jnp.float32)
    highest = jnp.max(wide, axis=-1)
    total = jnp.sum(jnp.exp(wide - highest[..., None]), axis=-1)
    of_class = jnp.sum(wide, where=_one_hot(labels, valid, wide.shape[-1]), axis=-1)
    # Replaced, not multiplied: 0 * NaN is NaN.
    losses = jnp.where(valid, jnp.log(total) - (of_class - highest), 0.0)
    return losses, (logits, labels, valid, highest, total)


def _cross_entropies_backward(residuals, grad):
    logits, labels, valid, highest, total = residuals
    exponents = logits.astype(jnp.float32) - highest[..., None]
    slopes = jnp.exp(exponents) / total[..., None] - _one_hot(labels, valid, logits.shape[-1])
    grads = jnp.where(valid[..., None], slopes * grad[..., None], 0.0)
    return grads.astype(logits.dtype), None, None


_cross_entropies.defvjp(_cross_entropies_forward, _cross_entropies_backward)


def _hardest(
    losses: Float[Array, "b h w"],
    valid: Bool[Array, "b h w"],
    fraction: float,
    all_sum: Callable[[Any], Any],
) -> Bool[Array, "b h w"]:
    """Finds the valid pixels of highest loss: `fraction` of those of all devices, and ties."""
    wanted = jnp.ceil(fraction * all_sum(jnp.sum(valid)))
    # Floats that are not negative are ordered as their bits are, read as integers: 31 questions,
    # from the highest bit down, find the highest bar that enough pixels of all devices reach.
    # (Void has a loss of 0, and no bar that is asked for is as low.)
    bits = lax.bitcast_convert_type(jnp.abs(losses), jnp.int32)

    def raise_bar(index: Num[Array, ""], bar: Num[Array, ""]) -> Num[Array, ""]:
        higher = bar | (1 << (30 - index))
        return jnp.where(all_sum(jnp.sum(bits >= higher)) >= wanted, higher, bar)

    return valid & (bits >= lax.fori_loop(0, 31, raise_bar, jnp.int32(0)))


def _dice_sums(
    logits: Float[Array, "b h w k"], labels: Integer[Array, "b h w"], ignore_label: int
) -> tuple[Float[Array, " k"], Float[Array, " k"]]:
    """Sums, for each class, probabilities on its own pixels; and its probabilities and pixels."""
    valid = labels != ignore_label
    is_class = _one_hot(labels, valid, logits.shape[-1])
    # Replaced before the softmax: 0 * NaN is NaN, so masking afterwards would not be enough.
    logits = jnp.where(valid[..., None], logits.astype(jnp.float32), 0.0)
    probs, pixels = jax.nn.softmax(logits), (0, 1, 2)
    overlap = jnp.sum(probs, where=is_class, axis=pixels)
    area = jnp.sum(probs, where=valid[..., None], axis=pixels) + jnp.sum(is_class, axis=pixels)
    return overlap, area
