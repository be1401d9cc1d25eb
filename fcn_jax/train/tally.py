"""What a pass over a split counts: its images one by one, added up."""

import time
from collections import Counter
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, Int32, UInt8

from fcn_jax.data.labels import LabelSet
from fcn_jax.errors import UserError
from fcn_jax.ops import metrics
from fcn_jax.train.image_counts import ImageCounts


@dataclass(frozen=True)
class Prediction:
    """One image of a split at its native size, with what the network says of it."""

    id: str
    image: UInt8[np.ndarray, "h w 3"]
    label: UInt8[np.ndarray, "h w"]
    pred: UInt8[np.ndarray, "h w"]


@dataclass(frozen=True)
class Evaluation:
    """What a pass over a split counted.

    Attributes:
        images: Counts of each image, in the order of their names.
        boundary_counts: Confusion counts of the pixels that are near to another class.
        shapes: Number of images of each padded shape; each shape is compiled once.
        samples: Predictions that the evaluator keeps.
        eval_s: Seconds that it took, reading and compilation included.
    """

    images: ImageCounts
    boundary_counts: Int[np.ndarray, "k k"]
    shapes: dict[tuple[int, int], int]
    samples: list[Prediction]
    eval_s: float

    @property
    def counts(self) -> Int[np.ndarray, "k k"]:
        """Confusion counts of all images, rows true, columns predicted."""
        return self.images.total

    @property
    def loss(self) -> float:
        """Mean cross entropy of a labelled pixel, in nats."""
        return self.images.loss

    @property
    def num_images(self) -> int:
        """Number of images."""
        return len(self.images.ids)


class Tally:
    """Adds up predictions of one split.

    Args:
        split: Name of the split, for messages.
        labels: Its classes.
        boundary_px: Distance in pixels of the boundary score.
        sample_ids: Names of the images whose predictions are kept.
        leave_out: Names of images that are not counted.
    """

    def __init__(
        self,
        *,
        split: str,
        labels: LabelSet,
        boundary_px: int,
        sample_ids: AbstractSet[str],
        leave_out: AbstractSet[str],
    ):
        self._started = time.perf_counter()
        self._split, self._boundary_px = split, boundary_px
        self._classes = {"num_classes": labels.num_classes, "ignore_label": labels.ignore_label}
        self._sample_ids, self._leave_out = sample_ids, leave_out
        self._counted: dict[str, tuple[np.ndarray, float]] = {}
        self._shapes: Counter[tuple[int, int]] = Counter()
        self._samples: list[Prediction] = []
        self._boundary_counts = self._band_counts = 0

    def add(
        self,
        prediction: Prediction,
        *,
        shape: tuple[int, int],
        loss_sum: float,
        counts: Int32[np.ndarray, "k k"],
        boundary_counts: Int[np.ndarray, "k k"],
    ) -> None:
        """Counts one image.

        Args:
            prediction: The image, its label and its prediction.
            shape: Padded height and width that it went through the network with.
            loss_sum: Cross entropy of its labelled pixels, in nats.
            counts: Its confusion counts.
            boundary_counts: The same of the pixels near to another class.
        """
        if prediction.id in self._leave_out:
            return
        self._counted[prediction.id] = counts, loss_sum
        self._shapes[shape] += 1
        self._boundary_counts = self._boundary_counts + boundary_counts.astype(np.int64)
        self._band_counts = self._band_counts + metrics.band_counts(
            prediction.label, prediction.pred, **self._classes
        )
        if prediction.id in self._sample_ids:
            self._samples.append(prediction)

    def add_probabilities(
        self,
        record: Mapping[str, Any],
        probabilities: Float[np.ndarray, "h w k"],
        *,
        shape: tuple[int, int],
    ) -> None:
        """Counts one image by what is said of each of its pixels.

        Args:
            record: The pair, as a source of a data set gives it.
            probabilities: Probability of each class at each pixel.
            shape: Padded height and width that it went through the network with.
        """
        label, pred = record["label"], probabilities.argmax(axis=-1).astype(np.uint8)

        def count(where: Bool[np.ndarray, "h w"]) -> Int[np.ndarray, "k k"]:
            num_classes = self._classes["num_classes"]
            return metrics.count_pixels(label[where], pred[where], num_classes=num_classes)

        distance_px = self._boundary_px
        distance = metrics.boundary_distance(
            label, ignore_label=self._classes["ignore_label"], max_px=min(distance_px, 254)
        )
        valid = label != self._classes["ignore_label"]
        true = np.take_along_axis(probabilities[valid], label[valid, None].astype(np.intp), axis=1)
        self.add(
            Prediction(str(record["id"]), record["image"], label, pred),
            shape=shape,
            loss_sum=float(-np.log(np.maximum(true, np.finfo(np.float32).tiny)).sum(dtype=float)),
            counts=count(valid).astype(np.int32),
            boundary_counts=count(distance <= distance_px),
        )

    @property
    def part(self) -> dict[str, Any]:
        """What was counted, for the tally of another process."""
        return {
            "counted": self._counted,
            "shapes": self._shapes,
            "samples": self._samples,
            "boundary_counts": self._boundary_counts,
            "band_counts": self._band_counts,
        }

    def merge(self, part: Mapping[str, Any]) -> None:
        """Adds what another process counted of other images."""
        self._counted.update(part["counted"])
        self._shapes.update(part["shapes"])
        self._samples += part["samples"]
        self._boundary_counts = self._boundary_counts + part["boundary_counts"]
        self._band_counts = self._band_counts + part["band_counts"]

    def finish(self) -> Evaluation:
        """Returns what was counted."""
        if not self._counted:
            raise UserError(
                f"there is no image to evaluate in the split {self._split}; choose another "
                "eval.split"
            )
        # Batches come as their shapes fill up, which depends on the size of a batch.
        ids = sorted(self._counted)
        counts = np.stack([self._counted[name][0] for name in ids])
        return Evaluation(
            images=ImageCounts(
                ids=tuple(map(str, ids)),
                counts=counts,
                num_pixels=counts.sum((1, 2), dtype=np.int64),
                loss_sums=np.array([self._counted[name][1] for name in ids], np.float64),
                band_counts=self._band_counts,
            ),
            boundary_counts=self._boundary_counts,
            shapes=dict(self._shapes),
            samples=self._samples,
            eval_s=time.perf_counter() - self._started,
        )
