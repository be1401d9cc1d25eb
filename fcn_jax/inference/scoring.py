"""Scores of other ways to use a network: several views, windows, the CRF behind it."""

import inspect
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from fcn_jax.data.source import Source
from fcn_jax.inference.inference import Inference
from fcn_jax.ops import metrics
from fcn_jax.ops.dense_crf import dense_crf
from fcn_jax.train.tally import Tally

# Values that are tried for each parameter of the CRF, the published ones among them.
CRF_GRID: Mapping[str, tuple[float, ...]] = {
    "bi_rgb_std": (3.0, 5.0, 8.0, 13.0),
    "bi_w": (1.0, 2.0, 4.0, 6.0),
    "bi_xy_std": (30.0, 49.0, 80.0),
    "pos_w": (0.0, 1.0, 3.0),
}


class Found(NamedTuple):
    """What a search over parameters of the CRF found.

    Attributes:
        parameters: Keywords of `dense_crf`.
        mean_iou: Mean IoU with them, on the images of the search.
        plain_iou: Mean IoU without a CRF, on the same images.
    """

    parameters: Mapping[str, Any]
    mean_iou: float
    plain_iou: float


def score_views(
    inference: Inference,
    source: Source,
    *,
    plain: Tally | None,
    refined: Tally | None = None,
    crf: Mapping[str, Any] | None = None,
    on_image: Callable[[], None] = lambda: None,
) -> None:
    """Adds up what is said of the images of a split.

    Args:
        inference: Network and views; its outputs are probabilities.
        source: Pairs of the split.
        plain: Gets the predictions of the network.
        refined: Gets those of the CRF behind it.
        crf: Keywords of `dense_crf`.
        on_image: Called after each image.
    """

    def refine(record: Mapping[str, Any], output: np.ndarray) -> tuple[Mapping, np.ndarray, Any]:
        marginals = dense_crf(record["image"], output, **crf) if refined else None
        return record, output, marginals

    outputs = inference.predict_all((record, record["image"]) for record in _each(source))
    for record, output, marginals in _in_threads(refine, outputs):
        shape = record["image"].shape[:2]
        if plain:
            plain.add_probabilities(record, output, shape=shape)
        if refined:
            refined.add_probabilities(record, marginals, shape=shape)
        on_image()


def choose_spread(source: Source, num_images: int) -> list[int]:
    """Chooses images that are spread over a split; returns their numbers."""
    return np.unique(np.linspace(0, len(source) - 1, num_images).round().astype(int)).tolist()


def search_crf(
    inference: Inference,
    records: Iterable[Mapping[str, Any]],
    *,
    ignore_label: int,
    convention: str,
    on_trial: Callable[[Mapping[str, Any], float], None] = lambda parameters, mean_iou: None,
) -> Found:
    """Searches parameters of the CRF, one after the other, from the published ones.

    Every value of `CRF_GRID` is tried for a parameter while the others stay at their best, until a
    round changes nothing, two rounds at most.

    Args:
        inference: Network and views; its outputs are probabilities.
        records: Pairs to search on: other images than those that are scored later.
        ignore_label: Value of void pixels.
        convention: Of the mean IoU.
        on_trial: Called with what was tried, and its mean IoU.
    """
    pairs = list(inference.predict_all((record, record["image"]) for record in records))

    def score(refine: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> float:
        def count(record: Mapping[str, Any], output: np.ndarray) -> np.ndarray:
            return _count(record["label"], refine(record["image"], output), ignore_label)

        counts = sum(_in_threads(count, pairs))
        return float(metrics.scores(counts, convention=convention)["mean_iou"])

    def attempt(parameters: Mapping[str, Any]) -> float:
        key = tuple(sorted(parameters.items()))
        if key not in tried:
            tried[key] = score(lambda image, output: dense_crf(image, output, **parameters))
            on_trial(parameters, tried[key])
        return tried[key]

    tried: dict[tuple, float] = {}
    plain_iou = score(lambda image, output: output)
    published = inspect.signature(dense_crf).parameters
    best = {name: published[name].default for name in CRF_GRID}
    best_iou = attempt(best)
    for _ in range(2):
        before = best_iou
        for name, values in CRF_GRID.items():
            for value in values:
                mean_iou = attempt({**best, name: value})
                if mean_iou > best_iou:
                    best, best_iou = {**best, name: value}, mean_iou
        if best_iou == before:
            break
    return Found(best, best_iou, plain_iou)


def _count(
    label: np.ndarray, probabilities: Float[np.ndarray, "h w k"], ignore_label: int
) -> np.ndarray:
    valid = label != ignore_label
    pred = probabilities.argmax(axis=-1)[valid]
    return metrics.count_pixels(label[valid], pred, num_classes=probabilities.shape[-1])


def _each(source: Source) -> Iterator[Mapping[str, Any]]:
    return (source[index] for index in range(len(source)))


def _in_threads(function: Callable, arguments: Iterable[tuple]) -> Iterator[Any]:
    """Calls a function on tuples of arguments, in threads, and yields what it returns in order."""
    with ThreadPoolExecutor() as pool:
        waiting: deque = deque()
        for words in arguments:
            waiting.append(pool.submit(function, *words))
            if len(waiting) > pool._max_workers:
                yield waiting.popleft().result()
        for future in waiting:
            yield future.result()
