"""Segmentation scores from confusion counts.

`counts[t, p]` is the number of pixels of true class t that were predicted as class p. Counts are
integers and add up over images, devices and processes in any order; every score is a ratio of such
sums that is taken once, at the end. Pixels labelled `ignore_label` are counted nowhere.

Source: Long et al. 2015, Sec. 5 (the four scores); conventions for classes that are absent from the
FCN release (score.py), kazuto1011/deeplab-pytorch and the VOC development kit's MATLAB code.
"""

from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Integer

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
    if convention not in CONVENTIONS:
        raise UserError(f"unknown convention {convention!r}; known: {', '.join(CONVENTIONS)}")
    counts = np.asarray(counts, np.int64)
    true, predicted, hit = counts.sum(1), counts.sum(0), np.diag(counts)
    union, total = true + predicted - hit, counts.sum()
    with np.errstate(invalid="ignore", divide="ignore"):
        class_acc, class_iou = hit / true, hit / union
        pixel_acc = hit.sum() / total
        fw_iou = np.sum(true / total * np.where(true > 0, class_iou, 0))
    if convention == "present":
        class_iou = np.where(true > 0, class_iou, np.nan)
    elif convention == "matlab":
        class_acc, class_iou = np.nan_to_num(class_acc), np.nan_to_num(class_iou)
    return {
        "pixel_acc": float(pixel_acc),
        "mean_acc": _mean(class_acc),
        "mean_iou": _mean(class_iou),
        "fw_iou": float(fw_iou) if total else float("nan"),
        "class_iou": class_iou,
    }


def _mean(values: Float[np.ndarray, " k"]) -> float:
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if defined.size else float("nan")
