"""Batches for training (endless, augmented, repeatable) and for evaluation (every image once).

Training data are functions of (seed, step) alone: shuffle, repeat and augment on the one global
stream, and only then let every process take its part of each batch.
"""

from collections.abc import Generator, Mapping
from typing import Any, Protocol, runtime_checkable

import grain
import numpy as np

from fcn_jax.data.transforms import FILL_RGB, pad_to, random_flip, random_scale_crop


@runtime_checkable
class Source(Protocol):
    """Random access to pairs: {"id": str, "image": uint8 [h, w, 3], "label": uint8 [h, w]}."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Mapping[str, Any]: ...


def train_batches(
    source: Source,
    *,
    batch_size: int,
    seed: int,
    start_step: int = 0,
    crop_size: int,
    scale_range: tuple[float, float] = (1.0, 1.0),
    flip_prob: float = 0.5,
    ignore_label: int = 255,
    num_threads: int = 2,
    process_index: int = 0,
    process_count: int = 1,
) -> Generator[dict[str, np.ndarray], None, None]:
    """Yields training batches for ever; `.close()` ends the reading threads.

    Every epoch is a fresh permutation; a batch may span two epochs. Image `i` of global batch `k`
    goes to process `i % process_count`, so the global batch is the same for any process count.

    Args:
      batch_size: images per step over all processes.
      start_step: the first batch to yield; costs nothing, nothing is read before it.
      crop_size: height and width of the crops, in pixels.
      scale_range: images are resized by a factor drawn uniformly between these two.

    Yields:
      {"images": uint8 [b, crop_size, crop_size, 3] RGB, "labels": uint8 [b, crop_size, crop_size]}
      with b = batch_size // process_count. Where the scaled image is smaller than the crop, padding
      of colour FILL_RGB and label `ignore_label` lies at its bottom and right (left when flipped).
    """
    _check_batch_size(batch_size, process_index, process_count)
    if len(source) == 0:
        raise ValueError("cannot train on an empty split: it has no image")
    if crop_size < 1:
        raise ValueError(f"crop_size={crop_size} must be a positive number of pixels")
    low, high = scale_range
    if not 0 < low <= high:
        raise ValueError(f"scale_range=({low}, {high}) must be (low, high) with 0 < low <= high")
    if not 0 <= flip_prob <= 1:
        raise ValueError(f"flip_prob={flip_prob} must lie in [0, 1]")
    if seed < 0:
        raise ValueError(f"seed={seed} must not be negative")

    def augment(record: Mapping[str, Any], rng: np.random.Generator) -> dict[str, np.ndarray]:
        image, label = random_scale_crop(
            rng,
            record["image"],
            record["label"],
            scale_range=(low, high),
            size=crop_size,
            fill_rgb=FILL_RGB,
            ignore_label=ignore_label,
        )
        image, label = random_flip(rng, image, label, prob=flip_prob)
        return {"images": image, "labels": label}

    stream = grain.MapDataset.source(source).shuffle(seed=seed).repeat()
    stream = stream.random_map(augment, seed=seed)
    batches = stream[process_index::process_count].batch(
        batch_size // process_count, drop_remainder=True
    )
    return _iterate(batches, start_step=start_step, num_threads=num_threads)


def eval_batches(
    source: Source,
    *,
    batch_size: int,
    size_multiple: int = 32,
    ignore_label: int = 255,
    num_threads: int = 2,
    process_index: int = 0,
    process_count: int = 1,
) -> Generator[dict[str, Any], None, None]:
    """Yields every image exactly once, at native resolution, in full batches of equal shape.

    The padded shape of an image is a function of its own size only: each side is rounded up to
    `size_multiple`, at the bottom and at the right. Images of equal padded shape are grouped in
    reading order; filler images (id "", size 0x0, labels all void) complete the last batch of each
    shape. Image `i` of a global batch goes to process `i % process_count`; every process yields the
    same number of batches of the same shapes (each decodes all images to know them).

    Yields:
      {"ids": list of b str, "sizes": int32 [b, 2] true height and width,
      "images": uint8 [b, H, W, 3] RGB, "labels": uint8 [b, H, W]}, b = batch_size // process_count.
    """
    _check_batch_size(batch_size, process_index, process_count)
    if size_multiple < 1:
        raise ValueError(f"size_multiple={size_multiple} must be a positive number of pixels")
    return _group_by_shape(
        _iterate(grain.MapDataset.source(source), start_step=0, num_threads=num_threads),
        batch_size=batch_size,
        size_multiple=size_multiple,
        ignore_label=ignore_label,
        part=slice(process_index, None, process_count),
    )


def _check_batch_size(batch_size: int, process_index: int, process_count: int) -> None:
    if batch_size < 1 or batch_size % process_count:
        raise ValueError(
            f"batch_size={batch_size} must be a positive multiple of process_count={process_count};"
            f" try {process_count * max(1, batch_size // process_count)}"
        )
    if not 0 <= process_index < process_count:
        raise ValueError(f"process_index={process_index} must lie in [0, {process_count})")


def _iterate(
    elements: grain.MapDataset, *, start_step: int, num_threads: int
) -> Generator[Any, None, None]:
    """Reads elements ahead in a few threads; grain's default would buffer 500 of them."""
    options = grain.ReadOptions(num_threads=num_threads, prefetch_buffer_size=max(4, num_threads))
    iterator = iter(elements.to_iter_dataset(options))
    iterator.set_state({"next_index": start_step})
    try:
        yield from iterator
    finally:
        iterator.close()


def _group_by_shape(
    records: Generator[Mapping[str, Any], None, None],
    *,
    batch_size: int,
    size_multiple: int,
    ignore_label: int,
    part: slice,
) -> Generator[dict[str, Any], None, None]:
    waiting: dict[tuple[int, int], list[Mapping[str, Any]]] = {}
    try:
        for record in records:
            height, width = record["label"].shape
            shape = (_round_up(height, size_multiple), _round_up(width, size_multiple))
            group = waiting.setdefault(shape, [])
            group.append(record)
            if len(group) == batch_size:
                yield _stack(waiting.pop(shape)[part], shape, ignore_label)
    finally:
        records.close()
    filler = {
        "id": "",
        "image": np.zeros((0, 0, 3), np.uint8),
        "label": np.zeros((0, 0), np.uint8),
    }
    for shape, group in waiting.items():
        group += [filler] * (batch_size - len(group))
        yield _stack(group[part], shape, ignore_label)


def _stack(
    records: list[Mapping[str, Any]], shape: tuple[int, int], ignore_label: int
) -> dict[str, Any]:
    pairs = [
        pad_to(
            record["image"],
            record["label"],
            height=shape[0],
            width=shape[1],
            fill_rgb=FILL_RGB,
            ignore_label=ignore_label,
        )
        for record in records
    ]
    return {
        "ids": [record["id"] for record in records],
        "sizes": np.array([record["label"].shape for record in records], np.int32),
        "images": np.stack([image for image, _ in pairs]),
        "labels": np.stack([label for _, label in pairs]),
    }


def _round_up(side: int, multiple: int) -> int:
    return -(-side // multiple) * multiple
