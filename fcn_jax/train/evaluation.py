"""Exact scores of a split: integer counts of all its pixels at native resolution, divided once.

What is here counts and returns; filing is the caller's.
"""

from collections.abc import Callable, Iterable, Iterator
from collections.abc import Set as AbstractSet
from itertools import islice
from typing import Any

import flax.linen as nn
import numpy as np

from fcn_jax.data.batches.loader import eval_batches, find_padded_shape
from fcn_jax.data.datasets import Dataset
from fcn_jax.data.source import Source
from fcn_jax.errors import UserError
from fcn_jax.models.layer_table import layer_table
from fcn_jax.ops import metrics
from fcn_jax.train.memory import check_fits, least_eval_bytes
from fcn_jax.train.parallel import Devices
from fcn_jax.train.steps import make_eval_step
from fcn_jax.train.tally import Evaluation, Prediction, Tally

_LARGE_SIDE = 2048  # pixels
_LOOKED_AT = 16  # images, for their sizes


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
        most = max(1, -(-len(self._source) // devices.count))  # of all processes
        self._devices, self._device_batch_size = devices, min(device_batch_size, most)
        self._size_multiple, self._convention = size_multiple, convention
        self._boundary_px = boundary_px
        indices = np.linspace(0, len(self._source), num_samples, endpoint=False).astype(int)
        self._sample_ids = {self._source[int(index)]["id"] for index in indices}
        self._model, self._fitting_px = model, 0
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

    def check_memory(self) -> None:
        """Raises UserError if some images of the split, in batches, are more than memory can hold.

        `score` checks the others, as it meets them.
        """
        indices = np.linspace(0, self.num_images, min(_LOOKED_AT, self.num_images), endpoint=False)
        sizes = [self._source[int(index)]["image"].shape[:2] for index in indices]
        for height, width in sorted(sizes, key=np.prod, reverse=True)[:1]:  # none of an empty split
            self._check_fits(find_padded_shape(height, width, size_multiple=self._size_multiple))

    def _check_fits(self, shape: tuple[int, int]) -> None:
        """Raises UserError if a batch of this padded shape is more than memory can hold."""
        height, width = shape
        if height * width <= self._fitting_px:
            return
        # Listing layers for enormous images takes memory by itself: maps grow with the area.
        listed = min(height, _LARGE_SIDE), min(width, _LARGE_SIDE)
        rows = layer_table(self._model, height=listed[0], width=listed[1])
        maps = least_eval_bytes(rows) * height * width / np.prod(listed)
        size, split = self._device_batch_size, self._split
        check_fits(
            maps + 5 * height * width * size,  # images, labels and predictions, a byte a value
            self._devices,
            what=f"eval.device_batch_size={size} images of {split}, padded to {height} x {width},",
            way_on="take smaller images, or a smaller eval.device_batch_size or eval.size_multiple;"
            " python launch.py evaluate --window=1024 cuts images into windows",
        )
        self._fitting_px = height * width

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

        Of several processes each scores its part of the images; then all have the whole result.

        Raises:
            KeyboardInterrupt: If `on_batch` raises it, in this process or another.
        """
        tally = self.tally()
        try:
            self._score_part(tally, variables, on_batch, on_prediction)
            part = tally.part
        except KeyboardInterrupt:
            part = None
        parts = self._devices.gather(part)
        if None in parts:
            raise KeyboardInterrupt
        for index, theirs in enumerate(parts):
            if index != self._devices.process_index:
                tally.merge(theirs)
        return tally.finish()

    def _score_part(
        self,
        tally: Tally,
        variables: Any,
        on_batch: Callable[[int], None],
        on_prediction: Callable[[Prediction], None],
    ) -> None:
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
            batch_size=self._device_batch_size * self._devices.local_count,
            size_multiple=self._size_multiple,
            ignore_label=self._dataset.labels.ignore_label,
            process_index=self._devices.process_index,
            process_count=self._devices.process_count,
        )
        for batch in batches:
            self._check_fits(batch["images"].shape[1:3])
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
