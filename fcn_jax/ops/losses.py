"""Losses as sums: sums and counts can be added over devices and batches, means cannot.

A pixel whose label is `ignore_label` never enters: not the sum, not the count, not the gradient,
whatever the logits there are, NaN and infinity included.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Integer, Num

from fcn_jax.errors import UserError

DIVISORS = ("pixels", "images")
DICE_SMOOTH = 1.0  # pixels, as in optax.losses.dice_loss: a class that is nowhere has no loss


def softmax_cross_entropy(
    logits: Float[Array, "b h w k"], labels: Integer[Array, "b h w"], *, ignore_label: int
) -> tuple[Float[Array, ""], Integer[Array, ""]]:
    """Sums the cross entropy, in nats, over the labelled pixels, and counts these pixels."""
    valid = labels != ignore_label
    return jnp.sum(_cross_entropies(logits, labels, valid)), jnp.sum(valid)


class Loss(NamedTuple):
    """A loss in two halves: every device sums over its own pixels, then these sums are joined.

    With one device, `parts, count = sums(logits, labels)` and the mean loss of a pixel is
    `total(parts, count) / count`. With several, add the parts and the counts of all devices first.

    Attributes:
        sums: `sums(logits, labels, all_sum=f)` returns (parts, count) of the pixels of one device.
            The parts are a dict of differentiable sums; the count is the number (or the weight) of
            the labelled pixels. `f(tree)` has to add a tree over all devices: hard example mining
            calls it to find the k-th largest loss of the whole batch.
        total: `total(parts, count)`, of the sums over all devices, is the loss times the count.
        divide_by: `pixels` or `images`: the number that a train step divides the total by.
        is_sum_over_pixels: Whether the total is a sum of what each pixel has by itself. Then the
            totals of parts of a batch, added up, are the total of the batch.
    """

    sums: Callable[..., tuple[dict[str, Array], Array]]
    total: Callable[[dict[str, Array], Array], Array]
    divide_by: str
    is_sum_over_pixels: bool


def make_loss(
    *,
    num_classes: int,
    ignore_label: int,
    class_weights: Sequence[float] | Literal["median", "inverse_log"] = (),
    ohem_fraction: float = 1.0,
    cross_entropy_weight: float = 1.0,
    dice_weight: float = 0.0,
    divide_by: str = "pixels",
) -> Loss:
    """Makes the loss of a run: by default the mean cross entropy of a labelled pixel.

    The loss is one of the whole batch, however the images are dealt out to devices.

    Args:
        num_classes: Number of classes.
        ignore_label: Label of the pixels that do not count.
        class_weights: One weight for each class, in their order; () gives all classes the same. The
            cross entropy of a pixel is multiplied by the weight of its true class, and the mean is
            the sum of the products divided by the sum of the pixels' weights. So equal weights
            change nothing, whatever they are. An experiment may say `median` (median frequency
            balancing) or `inverse_log` (ENet's) instead: every launch of its run computes the
            numbers from all labels of `train.split`, and they are not stored, since the same labels
            give the same numbers. Here they have to be numbers.
        ohem_fraction: Fraction, in (0, 1], of the labelled pixels that enter the cross entropy:
            those where it is highest (and the pixels that tie with the last of them); 1 keeps all.
            Source: Wu et al. 2016, Bridging Category-level and Instance-level Semantic Image
            Segmentation (online bootstrapping); Shrivastava et al. 2016 (OHEM).
        cross_entropy_weight: Factor of the cross entropy, 0 or more.
        dice_weight: Factor, 0 or more, of the soft Dice loss, a mean over the classes with the same
            weights: one minus twice the overlap of probabilities and truth, divided by the sum of
            both. Source: Milletari et al. 2016 (V-Net); here the sums are over the whole batch.
        divide_by: `pixels` divides the summed loss by the number (or weight) of labelled pixels of
            the whole batch, `images` by its number of images, as the FCN release does. In Caffe
            these are `normalize: true` and `normalize: false`.
    """
    _check(num_classes, class_weights, ohem_fraction, cross_entropy_weight, dice_weight)
    if divide_by not in DIVISORS:
        raise UserError(f"unknown loss.divide_by {divide_by!r}; known: {', '.join(DIVISORS)}")
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

    return Loss(sums, total, divide_by, is_sum_over_pixels=ohem_fraction == 1 and not dice_weight)


def _check(
    num_classes: int,
    class_weights: Sequence[float],
    ohem_fraction: float,
    cross_entropy_weight: float,
    dice_weight: float,
) -> None:
    if not all(isinstance(weight, int | float) for weight in class_weights):
        raise UserError(f"loss.class_weights={class_weights} must be numbers")
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


# The derivative is written out because it needs nothing else as large as the logits.
@jax.custom_jvp
def _cross_entropies(
    logits: Float[Array, "b h w k"], labels: Integer[Array, "b h w"], valid: Bool[Array, "b h w"]
) -> Float[Array, "b h w"]:
    """Computes the cross entropy of every pixel, 0 for those that are not valid."""
    return _cross_entropies_and_slopes(logits, labels, valid)[0]


@_cross_entropies.defjvp
def _differentiate_cross_entropies(primals, tangents):
    losses, slopes = _cross_entropies_and_slopes(*primals)
    return losses, jnp.sum(slopes * tangents[0].astype(slopes.dtype), axis=-1)


def _cross_entropies_and_slopes(logits, labels, valid):
    """Computes the cross entropies and their derivatives by the logits of the same pixel."""
    wide = logits.astype(jnp.float32)
    highest = jnp.max(wide, axis=-1)
    total = jnp.sum(jnp.exp(wide - highest[..., None]), axis=-1)
    is_class = _one_hot(labels, valid, wide.shape[-1])
    of_class = jnp.sum(wide, where=is_class, axis=-1)
    # Replaced, not multiplied: 0 * NaN is NaN.
    losses = jnp.where(valid, jnp.log(total) - (of_class - highest), 0.0)
    slopes = jnp.exp(wide - highest[..., None]) / total[..., None] - is_class
    return losses, jnp.where(valid[..., None], slopes, 0.0)


def _hardest(
    losses: Float[Array, "b h w"],
    valid: Bool[Array, "b h w"],
    fraction: float,
    all_sum: Callable[[Any], Any],
) -> Bool[Array, "b h w"]:
    """Finds the pixels of highest loss: a fraction of the valid ones of all devices, and ties.

    A binary search for the k-th largest loss, k = fraction * number of valid pixels. Floats of 0 or
    more are in the same order as their bits read as integers, so the threshold is built bit by bit:
    a bit is set if at least k pixels still reach the threshold with it. Void pixels never count in
    this, because their loss is 0 and every threshold that is tried is larger.
    """
    k = jnp.ceil(fraction * all_sum(jnp.sum(valid)))
    bits = lax.bitcast_convert_type(jnp.abs(losses), jnp.int32)

    def try_bit(index: Num[Array, ""], threshold: Num[Array, ""]) -> Num[Array, ""]:
        higher = threshold | (1 << (30 - index))
        return jnp.where(all_sum(jnp.sum(bits >= higher)) >= k, higher, threshold)

    return valid & (bits >= lax.fori_loop(0, 31, try_bit, jnp.int32(0)))


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
