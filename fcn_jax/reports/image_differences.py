"""The images on which two groups of runs differ most."""

from dataclasses import dataclass

import numpy as np

from fcn_jax.reports.image_scores import ImageScores
from fcn_jax.reports.runs import Group


@dataclass(frozen=True)
class ImageDifference:
    """An image that one group predicts better than the other.

    Attributes:
        id: Name of the image.
        base: Mean IoU of the base group there, over its seeds.
        other: Mean IoU of the other group.
    """

    id: str
    base: float
    other: float


def find_image_differences(
    base: Group, other: Group, *, number: int
) -> tuple[list[ImageDifference], list[ImageDifference]]:
    """Finds the images that the other group, and those that the base, predicts better.

    Args:
        base: Runs with counts of single images (`intervals.find_missing` says whether).
        other: Runs of the same images.
        number: Number of images on either side, the largest differences first.
    """
    first, second = _mean_iou(base), _mean_iou(other)
    change = np.nan_to_num(second - first)
    order = np.argsort(-change, kind="stable")
    ids = base.first.images.ids

    def take(indices: np.ndarray, sign: int) -> list[ImageDifference]:
        return [
            ImageDifference(ids[i], float(first[i]), float(second[i]))
            for i in indices[:number]
            if sign * change[i] > 0
        ]

    return take(order, 1), take(order[::-1], -1)


def _mean_iou(group: Group) -> np.ndarray:
    scores = [
        ImageScores.of(run.images, convention=run.evaluation["convention"]) for run in group.runs
    ]
    return np.mean([of.mean_iou for of in scores], axis=0)
