"""Segmentation scores from confusion counts.

`counts[t, p]` is the number of pixels of true class t that were predicted as class p. Counts are
integers and add up over images, devices and processes in any order; every score is a ratio of such
sums that is taken once, at the end. Pixels labelled `ignore_label` are counted nowhere.

Source: Long et al. 2015, Sec. 5 (the four scores); conventions for classes that are absent from the
FCN release (score.py), kazuto1011/deeplab-pytorch and the VOC development kit's MATLAB code.
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Int64, Integer, Num, UInt8

from fcn_jax.errors import UserError

# Which classes enter the means, when some have no pixel.
CONVENTIONS: Mapping[str, str] = {
    "caffe": "a class is left out of a mean where its own denominator is 0: a class that is "
    "predicted but never true has IoU 0",
    "present": "only classes with true pixels enter the means",
    "matlab": "every class enters the means, an absent one as 0",
}


def confusion_counts(
    labels: Integer[Array, "*b h w"],
    preds: Integer[Array, "*b h w"],
    *,
    num_classes: int,
    ignore_label: int,
) -> Int[Array, "{num_classes} {num_classes}"]:
    """Counts pixels by (true class, predicted class), in int32: fewer than 2**31 pixels a call."""
    valid = labels.ravel() != ignore_label
    cells = labels.ravel().astype(jnp.int32) * num_classes + preds.ravel().astype(jnp.int32)
    # An index beyond the last cell is dropped.
    cells = jnp.where(valid, cells, num_classes**2)
    counts = jnp.zeros(num_classes**2, jnp.int32).at[cells].add(1, mode="drop")
    return counts.reshape(num_classes, num_classes)


def near_boundary(
    labels: Integer[Array, "*b h w"], *, ignore_label: int, distance_px: int
) -> Bool[Array, "*b h w"]:
    """Marks the labelled pixels that have another class within `distance_px` rows and columns.

    Void is no class: the outline that VOC draws around objects is looked across, and neither it nor
    the padding of an image is a boundary.
    """
    valid, labels = labels != ignore_label, labels.astype(jnp.int32)
    bound = jnp.iinfo(jnp.int32).max

    def extreme(choose, nothing):
        around = jnp.where(valid, labels, nothing)
        for axis in (-2, -1):  # of rows, then of columns: of a square, at a fraction of the work
            window = [1] * labels.ndim
            window[axis] = 2 * distance_px + 1
            strides = (1,) * labels.ndim
            around = lax.reduce_window(around, nothing, choose, window, strides, "SAME")
        return around

    return valid & (extreme(lax.max, -bound) != extreme(lax.min, bound))


def count_pixels(
    labels: Integer[np.ndarray, " n"], preds: Integer[np.ndarray, " n"], *, num_classes: int
) -> Int64[np.ndarray, "{num_classes} {num_classes}"]:
    """Counts pixels by (true class, predicted class) on the host; void is not among them."""
    cells = labels.astype(np.int64) * num_classes + preds
    return np.bincount(cells, minlength=num_classes**2).reshape(num_classes, num_classes)


NUM_BANDS = 40  # the widest trimap of the DeepLab papers, in pixels


def boundary_distance(
    label: UInt8[np.ndarray, "h w"], *, ignore_label: int, max_px: int
) -> UInt8[np.ndarray, "h w"]:
    """Computes how many rows or columns away the nearest pixel of another class is, on the host.

    It is the smallest `distance_px` at which `near_boundary` marks the pixel; `max_px + 1` where it
    is beyond `max_px`, and in void.
    """
    valid = label != ignore_label
    largest = np.where(valid, label, np.uint8(0))
    smallest = np.where(valid, label, np.uint8(255))
    distance = np.ones(label.shape, np.uint8)
    for _ in range(max_px):
        largest, smallest = _spread(largest, np.maximum), _spread(smallest, np.minimum)
        distance += largest == smallest
    distance[~valid] = max_px + 1
    return distance


def _spread(values: UInt8[np.ndarray, "h w"], choose: np.ufunc) -> UInt8[np.ndarray, "h w"]:
    """Takes the extreme of each pixel's square of 3 x 3."""
    for _ in range(2):  # along columns, then along rows
        spread = values.copy(order="K")
        choose(spread[1:], values[:-1], out=spread[1:])
        choose(spread[:-1], values[1:], out=spread[:-1])
        values = spread.T
    return values


def band_counts(
    label: UInt8[np.ndarray, "h w"],
    pred: UInt8[np.ndarray, "h w"],
    *,
    num_classes: int,
    ignore_label: int,
    num_bands: int = NUM_BANDS,
) -> Int[np.ndarray, "{num_bands} {num_classes} {num_classes}"]:
    """Counts, at `[d - 1]`, the pixels that have another class within d rows and columns.

    These are the trimaps of the DeepLab papers for all d up to `num_bands`. (About 7 ms for an
    image of 500 x 375 pixels and 80 ms for one of 2048 x 1024, on one core of an AMD EPYC.)

    Source: Chen et al. 2015 (DeepLab v1), Fig. 5, after Kohli et al. 2009.
    """
    distance = boundary_distance(label, ignore_label=ignore_label, max_px=num_bands)
    near = distance <= num_bands
    cells = (distance[near].astype(np.int64) - 1) * num_classes + label[near]
    cells = cells * num_classes + pred[near]
    shape = num_bands, num_classes, num_classes
    return np.bincount(cells, minlength=math.prod(shape)).reshape(shape).cumsum(0)


class ClassSums(NamedTuple):
    """What the scores follow from, of one matrix of counts or of many: pixels of each class."""

    hit: Num[np.ndarray, "*b k"]
    true: Num[np.ndarray, "*b k"]
    predicted: Num[np.ndarray, "*b k"]

    @classmethod
    def of(cls, counts: Int[np.ndarray, "*b k k"]) -> "ClassSums":
        """Sums the rows (true) and the columns (predicted) of counts."""
        counts = np.asarray(counts, np.int64)
        return cls(np.diagonal(counts, axis1=-2, axis2=-1), counts.sum(-1), counts.sum(-2))

    def scores(self, *, convention: str = "caffe") -> dict[str, Float[np.ndarray, "..."]]:
        """Computes pixel_acc, mean_acc, mean_iou, fw_iou `[*b]`, and class_iou `[*b, k]`.

        A score is NaN where it is not defined.

        Args:
            convention: one of `CONVENTIONS`.
        """
        if convention not in CONVENTIONS:
            raise UserError(f"unknown convention {convention!r}; known: {', '.join(CONVENTIONS)}")
        hit, true, predicted = self
        total = true.sum(-1)
        with np.errstate(invalid="ignore", divide="ignore"):
            class_acc, class_iou = hit / true, hit / (true + predicted - hit)
            pixel_acc = hit.sum(-1) / total
            shares = true / total[..., None]
            fw_iou = np.sum(shares * np.where(true > 0, class_iou, 0), axis=-1)
        if convention == "present":
            class_iou = np.where(true > 0, class_iou, np.nan)
        elif convention == "matlab":
            class_acc, class_iou = np.nan_to_num(class_acc), np.nan_to_num(class_iou)
        found = {
            "pixel_acc": pixel_acc,
            "mean_acc": _mean(class_acc),
            "mean_iou": _mean(class_iou),
            "fw_iou": fw_iou,
            "class_iou": class_iou,
        }
        return {key: np.asarray(value) for key, value in found.items()}


def scores(
    counts: Int[np.ndarray, "k k"], *, convention: str = "caffe"
) -> dict[str, float | Float[np.ndarray, " k"]]:
    """Computes pixel_acc, mean_acc, mean_iou, fw_iou, and class_iou (NaN where it is not defined).

    Args:
        counts: rows true, columns predicted.
        convention: one of `CONVENTIONS`.

    Returns:
        Fractions in 0 to 1; NaN where there is nothing to average.
    """
    found = ClassSums.of(np.asarray(counts, np.int64)).scores(convention=convention)
    return {key: value if value.ndim else float(value) for key, value in found.items()}


def _mean(values: Float[np.ndarray, "*b k"]) -> Float[np.ndarray, "*b"]:
    defined = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.sum(values, axis=-1, where=defined) / defined.sum(-1))
