"""Exact scores of a split: integer counts of all its pixels at native resolution, divided once.

What is here counts and returns; filing is the caller's.
"""

from collections.abc import Callable, Iterable, Iterator
from collections.abc import Set as AbstractSet
from itertools import islice
from typing import Any

import flax.linen as nn
import numpy as np

from fcn_jax.data.batches.loader import eval_batches
from fcn_jax.data.datasets import Dataset
from fcn_jax.data.source import Source
from fcn_jax.errors import UserError
from fcn_jax.ops import metrics
from fcn_jax.train.parallel import Devices
from fcn_jax.train.steps import make_eval_step
from fcn_jax.train.tally import Evaluation, Prediction, Tally


def check_options(*, convention: str, split: str = "", **numbers: int) -> None:
    """Raises UserError unless these values of section `eval` can be used; opens no split."""
    del split  # the data set knows
    if convention not in metrics.CONVENTIONS:
        raise UserError(
            f"unknown eval.convention {convention!r}; known: {', '.join(metrics.CONVENTIONS)}"
        )
    for name, value in numbers.items():
        least = 0 if name == "num_samples" else 1
        if value < least:
            raise UserError(f"eval.{name}={value} must be {least} or more")


class Evaluator:
    """Scores a network on one split, as often as asked; its keywords are section `eval`.

    Args:
        model: Network that is scored.
        dataset: Data set that has the split.
        devices: Devices that the network runs on.
        split: Split of the data set that is scored.
        device_batch_size: Images that a device gets at once, 1 or more; it changes no score.
        size_multiple: Pixels, 1 or more. Each side of an image is padded to a multiple of this, so
            that few shapes are compiled; 1 pads nothing. Padding is never counted, but it can
            change predictions near to it.
        convention: What a class scores that no pixel has; one of `ops.metrics.CONVENTIONS`.
        boundary_px: Distance in pixels, 1 or more, of the boundary score, which counts only pixels
            that have another class within it.
        num_samples: Number of predictions, 0 or more, that are kept as pictures. They are spread
            over the split, since neighbours are often frames of one film.
    """

    def __init__(
        self,
        model: nn.Module,
        dataset: Dataset,
        devices: Devices,
        *,
        split: str = "val",
        device_batch_size: int = 4,
        size_multiple: int = 32,
        convention: str = "caffe",
        boundary_px: int = 5,
        num_samples: int = 8,
    ):
        check_options(
            device_batch_size=device_batch_size,
            size_multiple=size_multiple,
            convention=convention,
            boundary_px=boundary_px,
            num_samples=num_samples,
        )
        dataset.check_classes(split)
        self._dataset, self._split, self._source = dataset, split, dataset.source(split)
        # More than all images at once would only be fillers.
        most = max(1, -(-len(self._source) // devices.count))
        self._devices, self._device_batch_size = devices, min(device_batch_size, most)
        self._size_multiple, self._convention = size_multiple, convention
        self._boundary_px = boundary_px
        indices = np.linspace(0, len(self._source), num_samples, endpoint=False).astype(int)
        self._sample_ids = {self._source[int(index)]["id"] for index in indices}
        self._eval_step = make_eval_step(
            model,
            num_classes=dataset.labels.num_classes,
            ignore_label=dataset.labels.ignore_label,
            boundary_px=boundary_px,
            devices=devices,
        )

    @property
    def num_images(self) -> int:
        """Images in the split."""
        return len(self._source)

    @property
    def source(self) -> Source:
        """The pairs of the split."""
        return self._source

    def score(
        self,
        variables: Any,
        *,
        on_batch: Callable[[int], None] = lambda num_images: None,
        on_prediction: Callable[[Prediction], None] = lambda prediction: None,
    ) -> Evaluation:
        """Scores the network with these variables.

        Args:
            variables: Variables of the network, replicated on the evaluator's devices.
            on_batch: Called with the number of images of each batch that was counted.
            on_prediction: Called with every image and its prediction.
        """
        tally = self.tally()
        for batch, outputs in _one_ahead(self._run(variables)):
            of_images = {
                name: np.asarray(array).reshape(-1, *array.shape[2:])
                for name, array in outputs.items()
            }
            shape, num_images = batch["images"].shape[1:3], 0
            for row, prediction in _predictions(batch, of_images["preds"]):
                tally.add(
                    prediction,
                    shape=shape,
                    counts=of_images["counts"][row],
                    boundary_counts=of_images["boundary_counts"][row],
                    loss_sum=float(of_images["loss_sum"][row]),
                )
                on_prediction(prediction)
                num_images += 1
            on_batch(num_images)
        return tally.finish()

    def tally(self, *, leave_out: AbstractSet[str] = frozenset()) -> Tally:
        """Makes what adds up the predictions for this split, wherever they come from.

        Args:
            leave_out: Names of images that are not counted.
        """
        labels = self._dataset.labels
        return Tally(
            split=self._split,
            labels=labels,
            boundary_px=self._boundary_px,
            sample_ids=self._sample_ids,
            leave_out=leave_out,
        )

    def make_report(self, result: Evaluation, *, step: int) -> dict[str, Any]:
        """Makes what eval/<split>-<step>.json says of an evaluation: its counts and all scores."""
        near = metrics.scores(result.boundary_counts, convention=self._convention)
        return {
            "dataset": self._dataset.name,
            "split": self._split,
            "step": step,
            "num_images": result.num_images,
            "convention": self._convention,
            "class_names": list(self._dataset.labels.names),
            "counts": result.counts,
            **metrics.scores(result.counts, convention=self._convention),
            "boundary_px": self._boundary_px,
            "boundary_counts": result.boundary_counts,
            "boundary_iou": near["mean_iou"],
            "loss": result.loss,
            "num_shapes": len(result.shapes),
            "eval_s": round(result.eval_s, 2),
        }

    def _run(self, variables: Any) -> Iterator[tuple[dict, dict]]:
        batches = eval_batches(
            self._source,
            batch_size=self._device_batch_size * self._devices.count,
            size_multiple=self._size_multiple,
            ignore_label=self._dataset.labels.ignore_label,
        )
        for batch in batches:
            yield batch, self._eval_step(variables, self._devices.shard(batch))


def _one_ahead(items: Iterable) -> Iterator:
    """Asks for the next item before it gives one: the devices compute while the host counts."""
    items = iter(items)
    waiting = list(islice(items, 1))
    for item in items:
        yield waiting.pop()
        waiting.append(item)
    yield from waiting


def _predictions(batch: dict, preds: np.ndarray) -> Iterator[tuple[int, Prediction]]:
    """Yields the images of a batch that are no fillers, with their rows."""
    rows = zip(batch["ids"], batch["sizes"], batch["images"], batch["labels"], preds, strict=True)
    for row, (image_id, (height, width), image, label, pred) in enumerate(rows):
        if image_id:
            # Copies: a view would keep the whole batch in memory as long as a sample.
            native = (array[:height, :width].copy() for array in (image, label, pred))
            yield row, Prediction(image_id, *native)
