"""The scores of each image of an evaluation: as CSV, and the worst of them."""

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from fcn_jax.atomic_file import replacing
from fcn_jax.train.image_counts import ImageCounts


@dataclass(frozen=True, eq=False)
class ImageScores:
    """Scores of n images of k classes, as fractions of 1.

    Attributes:
        ids: Name of each image.
        mean_iou: Mean IoU of each image; NaN where no pixel is labelled.
        pixel_acc: Share of the labelled pixels that are predicted right, likewise.
        class_iou: IoU of each class; NaN where it does not enter the mean.
        num_pixels: Labelled pixels.
    """

    ids: tuple[str, ...]
    mean_iou: Float[np.ndarray, " n"]
    pixel_acc: Float[np.ndarray, " n"]
    class_iou: Float[np.ndarray, "n k"]
    num_pixels: np.ndarray

    @classmethod
    def of(cls, images: ImageCounts, *, convention: str) -> "ImageScores":
        """Computes them from the counts, each image by itself."""
        from fcn_jax.ops import metrics  # here and not above: it imports jax

        found = metrics.ClassSums.of(images.counts).scores(convention=convention)
        return cls(
            ids=images.ids,
            mean_iou=np.where(images.num_pixels > 0, found["mean_iou"], np.nan),
            pixel_acc=found["pixel_acc"],
            class_iou=found["class_iou"],
            num_pixels=images.num_pixels,
        )

    def worst(self, number: int) -> list[tuple[str, float]]:
        """Returns the names and the mean IoU of the images with the lowest ones."""
        order = np.argsort(self.mean_iou, kind="stable")  # NaN is last
        found = ((self.ids[i], float(self.mean_iou[i])) for i in order[:number])
        return [(image_id, iou) for image_id, iou in found if not math.isnan(iou)]

    def write_csv(self, path: Path, *, class_names: Sequence[str]) -> None:
        """Writes a line for each image; what is not defined, as of an absent class, is empty."""
        columns = [self.mean_iou[:, None], self.pixel_acc[:, None], self.class_iou]
        rows = zip(self.ids, np.hstack(columns).tolist(), self.num_pixels.tolist(), strict=True)
        header = ["id", "mean_iou", "pixel_acc", *(f"iou_{name}" for name in class_names), "pixels"]
        with replacing(path) as beside, beside.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(header)
            for image_id, values, num_pixels in rows:
                texts = ("" if math.isnan(value) else value for value in values)
                writer.writerow([image_id, *texts, num_pixels])
