"""Exact scores of a split: integer counts of all its pixels at native resolution, divided once."""

import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from jaxtyping import Int, UInt8

from fcn_jax.errors import UserError
from fcn_jax.train import parallel


@dataclass(frozen=True)
class Evaluation:
    """What a pass over a split counted.

    Attributes:
        counts: rows true, columns predicted.
        boundary_counts: the same, of the pixels near to another class.
        loss: mean cross entropy of a labelled pixel, in nats.
        eval_s: seconds, reading and compilation included.
        shapes: images of each padded shape, each of which is compiled once.
    """

    counts: Int[np.ndarray, "k k"]
    boundary_counts: Int[np.ndarray, "k k"]
    loss: float
    num_images: int
    shapes: dict[tuple[int, int], int]
    eval_s: float


@dataclass(frozen=True)
class Prediction:
    """One image of a split at its native size, with what the network says of it."""

    id: str
    image: UInt8[np.ndarray, "h w 3"]
    label: UInt8[np.ndarray, "h w"]
    pred: UInt8[np.ndarray, "h w"]


def evaluate(
    eval_step: Callable,
    variables: Any,
    batches: Iterable[dict],
    *,
    num_devices: int,
    on_batch: Callable[[int], None] = lambda num_images: None,
    on_prediction: Callable[[Prediction], None] | None = None,
) -> Evaluation:
    """Scores all batches of a split.

    Args:
        variables: replicated on the devices of `eval_step`.
        on_batch: told how many images each batch held.
        on_prediction: given every image with its prediction.
    """
    start = time.perf_counter()
    counts, boundary_counts = 0, 0
    losses, num_pixels, shapes = [], 0, Counter()
    outputs_of = (
        (batch, eval_step(variables, parallel.shard(batch, num_devices))) for batch in batches
    )
    for batch, outputs in _one_ahead(outputs_of):
        counts = counts + np.asarray(outputs["counts"], np.int64).sum(0)
        boundary_counts = boundary_counts + np.asarray(outputs["boundary_counts"], np.int64).sum(0)
        losses.extend(np.asarray(outputs["loss_sum"]).ravel().tolist())
        num_pixels += int(np.asarray(outputs["num_pixels"], np.int64).sum())
        real = sum(bool(image_id) for image_id in batch["ids"])
        shapes[batch["images"].shape[1:3]] += real
        if on_prediction is not None:
            for prediction in _predictions(batch, np.asarray(outputs["preds"])):
                on_prediction(prediction)
        on_batch(real)
    if not shapes.total():
        raise UserError("there is no image to evaluate")
    return Evaluation(
        counts=counts,
        boundary_counts=boundary_counts,
        # fsum is exact, so that not even the loss depends on the order of the images.
        loss=math.fsum(losses) / num_pixels if num_pixels else math.nan,
        num_images=shapes.total(),
        shapes=dict(shapes),
        eval_s=time.perf_counter() - start,
    )


def _one_ahead(items: Iterable) -> Iterator:
    """Asks for the next item before it gives one: the devices compute while the host counts."""
    items = iter(items)
    waiting = list(islice(items, 1))
    for item in items:
        yield waiting.pop()
        waiting.append(item)
    yield from waiting


def _predictions(batch: dict, preds: np.ndarray) -> Iterator[Prediction]:
    preds = preds.reshape(-1, *preds.shape[2:])
    rows = zip(batch["ids"], batch["sizes"], batch["images"], batch["labels"], preds, strict=True)
    for image_id, (height, width), image, label, pred in rows:
        if image_id:
            native = (slice(height), slice(width))
            yield Prediction(image_id, image[native], label[native], pred[native])
