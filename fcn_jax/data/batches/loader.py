"""Batches for training (endless, augmented, repeatable) and for evaluation (every image once).

Training data are functions of (seed, step) alone: shuffle, repeat and augment on the one global
stream, and only then let every process take its part of each batch. Threads, worker processes and
devices change nothing.
"""

from collections.abc import Generator, Mapping, Sequence
from functools import partial
from typing import Any

import grain
import numpy as np

from fcn_jax.data.batches.photometric import jitter_colors, random_blur
from fcn_jax.data.batches.read_ahead import read_ahead
from fcn_jax.data.batches.transforms import FILL_RGB, Range, pad_to, random_crop, random_flip
from fcn_jax.data.labels import IGNORE_LABEL
from fcn_jax.data.source import Source
from fcn_jax.errors import UserError


def train_batches(
    source: Source,
    *,
    batch_size: int,
    seed: int,
    start_step: int = 0,
    crop_size: int,
    scale_range: Range = (1.0, 1.0),
    scales: Sequence[float] = (),
    rotation_range: Range = (0.0, 0.0),
    max_class_share: float = 1.0,
    flip_prob: float = 0.5,
    brightness: float = 0.0,
    contrast: float = 0.0,
    saturation: float = 0.0,
    hue: float = 0.0,
    blur_prob: float = 0.0,
    blur_sigma_range: Range = (0.1, 2.0),
    ignore_label: int = IGNORE_LABEL,
    num_threads: int = 2,
    num_workers: int = 0,
    process_index: int = 0,
    process_count: int = 1,
) -> Generator[dict[str, np.ndarray], None, None]:
    """Yields training batches for ever; `.close()` ends the reading threads and processes.

    Every epoch is a fresh permutation; a batch may span two epochs. Each global batch is cut into
    equal parts, the first for process 0, so the global batch is the same for any process count.

    Each crop is cut out of its scaled and rotated image; then its colours change, it is blurred,
    padded and mirrored, by the functions of `transforms` and `photometric`.

    Args:
        source: The pairs of a split.
        batch_size: Number of images per step, over all processes.
        seed: Seed of the order and of every random choice.
        start_step: Step of the first batch to yield; nothing is read for the steps before it.
        crop_size: Height and width of the crops, in pixels.
        scale_range: Lowest and highest factor that images are resized by; the factor is uniform.
        scales: Factors above 0 to choose from; if there are any, `scale_range` means nothing.
        rotation_range: Lowest and highest angle that images are rotated by, in degrees.
        max_class_share: Largest share of one class in a crop, in (0, 1]; a crop with more of it is
            drawn again. With 1 every crop is taken.
        flip_prob: Probability, in [0, 1], of mirroring left and right.
        brightness: Largest change, in [0, 1], of the factor 1 that multiplies the brightness.
        contrast: Largest change, in [0, 1], of the factor 1 that multiplies the contrast.
        saturation: Largest change, in [0, 1], of the factor 1 that multiplies the saturation.
        hue: Largest turn of the hue, either way, as a share of the full circle, in [0, 0.5].
        blur_prob: Probability of a Gaussian blur.
        blur_sigma_range: Lowest and highest standard deviation of the blur, in pixels.
        ignore_label: Label value of padding.
        num_threads: Number of threads that read ahead, in each worker if there are any.
        num_workers: Number of processes that read ahead; 0 reads in this one. Workers start slowly
            and copy every batch: they pay where many cores wait for one Python.
        process_index: Number of this process.
        process_count: Number of processes that share each batch.

    Yields:
        {"ids": str [b], "images": uint8 [b, size, size, 3] RGB, "labels": uint8 [b, size, size]},
        where b is batch_size // process_count and size is crop_size. Where the scaled image is
        smaller than the crop, padding of colour FILL_RGB and label `ignore_label` lies at its
        bottom and right (left when flipped).
    """
    _check_batch_size(batch_size, process_index, process_count)
    if len(source) == 0:
        raise UserError(
            "cannot train on an empty split: it has no image; choose another train.split"
        )
    if crop_size < 1:
        raise UserError(f"augment.crop_size={crop_size} must be a positive number of pixels")
    scale_range = _check_range("augment.scale_range", scale_range, above=0)
    if not all(scale > 0 for scale in scales):
        raise UserError(f"augment.scales={tuple(scales)} must be positive numbers")
    rotation_range = _check_range("augment.rotation_range", rotation_range)
    blur_sigma_range = _check_range("augment.blur_sigma_range", blur_sigma_range, above=0)
    if not 0 < max_class_share <= 1:
        raise UserError(f"augment.max_class_share={max_class_share} must lie in (0, 1]; 1 is off")
    shares = {"flip_prob": flip_prob, "blur_prob": blur_prob, "brightness": brightness}
    for name, value in {**shares, "contrast": contrast, "saturation": saturation}.items():
        if not 0 <= value <= 1:
            raise UserError(f"augment.{name}={value} must lie in [0, 1]")
    if not 0 <= hue <= 0.5:
        raise UserError(f"augment.hue={hue} must lie in [0, 0.5]: half a circle reaches every hue")
    for name, value in {
        "seed": seed,
        "augment.num_threads": num_threads,
        "augment.num_workers": num_workers,
    }.items():
        if value < 0:
            raise UserError(f"{name}={value} must not be negative")
    if seed >= 2**32:  # grain's
        raise UserError(f"seed={seed} must be less than 2**32")

    # A function of the module, and not one of this call, since workers are sent it.
    augment = partial(
        _augment,
        crop_options={
            "size": crop_size,
            "scale_range": scale_range,
            "scales": tuple(scales),
            "rotation_range": rotation_range,
            "max_class_share": max_class_share,
        },
        color_options={
            "brightness": brightness,
            "contrast": contrast,
            "saturation": saturation,
            "hue": hue,
        },
        blur_options={"prob": blur_prob, "sigma_range": blur_sigma_range},
        flip_prob=flip_prob,
        ignore_label=ignore_label,
    )
    stream = grain.MapDataset.source(source).shuffle(seed=seed).repeat()
    stream = stream.random_map(augment, seed=seed)
    parts = stream.batch(batch_size // process_count, drop_remainder=True)
    batches = parts[process_index::process_count]
    return read_ahead(
        batches, start_step=start_step, num_threads=num_threads, num_workers=num_workers
    )


def _augment(
    record: Mapping[str, Any],
    rng: np.random.Generator,
    *,
    crop_options: Mapping[str, Any],
    color_options: Mapping[str, float],
    blur_options: Mapping[str, Any],
    flip_prob: float,
    ignore_label: int,
) -> dict[str, np.ndarray]:
    fill = {"fill_rgb": FILL_RGB, "ignore_label": ignore_label}
    image, label = random_crop(rng, record["image"], record["label"], **crop_options, **fill)
    image = jitter_colors(rng, image, **color_options)
    image = random_blur(rng, image, **blur_options)
    size = crop_options["size"]
    image, label = pad_to(image, label, height=size, width=size, **fill)
    image, label = random_flip(rng, image, label, prob=flip_prob)
    return {"ids": np.array(record["id"]), "images": image, "labels": label}


def eval_batches(
    source: Source,
    *,
    batch_size: int,
    size_multiple: int = 32,
    ignore_label: int = IGNORE_LABEL,
    num_threads: int = 2,
    process_index: int = 0,
    process_count: int = 1,
) -> Generator[dict[str, Any], None, None]:
    """Yields every image exactly once, at native resolution, in full batches of equal shape.

    The padded shape of an image is a function of its own size only: each side is rounded up to
    `size_multiple`, at the bottom and at the right. Images of equal padded shape are grouped in
    reading order; filler images (id "", size 0x0, labels all void) complete the last batch of each
    shape. Image `i` of the split goes to process `i % process_count`, which batches its images by
    itself: processes may have other numbers of batches, of other shapes.

    Args:
        source: The pairs of a split. A record without "label" is an image without one: its labels
            are void.
        batch_size: Number of images per batch, of this process.
        size_multiple: Number of pixels that both padded sides are a multiple of.
        ignore_label: Label value of padding and of fillers.
        num_threads: Number of threads that read ahead.
        process_index: Number of this process.
        process_count: Number of processes that share the images.

    Yields:
        {"ids": list of b str, "sizes": int32 [b, 2] true height and width,
        "images": uint8 [b, h, w, 3] RGB, "labels": uint8 [b, h, w]}, where b is batch_size.
    """
    _check_process(process_index, process_count)
    if batch_size < 1:
        raise UserError(f"batch_size={batch_size} must be a positive number of images")
    if size_multiple < 1:
        raise UserError(f"size_multiple={size_multiple} must be a positive number of pixels")
    return _group_by_shape(
        read_ahead(
            grain.MapDataset.source(source)[process_index::process_count], num_threads=num_threads
        ),
        batch_size=batch_size,
        size_multiple=size_multiple,
        ignore_label=ignore_label,
    )


def find_padded_shape(height: int, width: int, *, size_multiple: int) -> tuple[int, int]:
    """Returns the height and width that `eval_batches` pads an image to."""
    return -(-height // size_multiple) * size_multiple, -(-width // size_multiple) * size_multiple


def _check_batch_size(batch_size: int, process_index: int, process_count: int) -> None:
    if batch_size < 1 or batch_size % process_count:
        raise UserError(
            f"batch_size={batch_size} must be a positive multiple of process_count={process_count};"
            f" try {process_count * max(1, batch_size // process_count)}"
        )
    _check_process(process_index, process_count)


def _check_process(process_index: int, process_count: int) -> None:
    if not 0 <= process_index < process_count:
        raise UserError(f"process_index={process_index} must lie in [0, {process_count})")


def _check_range(name: str, value: Range, *, above: float = -np.inf) -> Range:
    low, high = value
    if not above < low <= high:
        least = "" if above == -np.inf else f"{above} < "
        raise UserError(f"{name}=({low}, {high}) must be (low, high) with {least}low <= high")
    return low, high


def _group_by_shape(
    records: Generator[Mapping[str, Any], None, None],
    *,
    batch_size: int,
    size_multiple: int,
    ignore_label: int,
) -> Generator[dict[str, Any], None, None]:
    waiting: dict[tuple[int, int], list[Mapping[str, Any]]] = {}
    try:
        for record in records:
            height, width = record["image"].shape[:2]
            shape = find_padded_shape(height, width, size_multiple=size_multiple)
            group = waiting.setdefault(shape, [])
            group.append(record)
            if len(group) == batch_size:
                yield _stack(waiting.pop(shape), shape, ignore_label)
    finally:
        records.close()
    filler = {"id": "", "image": np.zeros((0, 0, 3), np.uint8)}
    for shape, group in waiting.items():
        group += [filler] * (batch_size - len(group))
        yield _stack(group, shape, ignore_label)


def _stack(
    records: list[Mapping[str, Any]], shape: tuple[int, int], ignore_label: int
) -> dict[str, Any]:
    def find_label(record: Mapping[str, Any]) -> np.ndarray:
        if "label" in record:
            return record["label"]
        return np.full(record["image"].shape[:2], ignore_label, np.uint8)

    pairs = [
        pad_to(
            record["image"],
            find_label(record),
            height=shape[0],
            width=shape[1],
            fill_rgb=FILL_RGB,
            ignore_label=ignore_label,
        )
        for record in records
    ]
    return {
        "ids": [record["id"] for record in records],
        "sizes": np.array([record["image"].shape[:2] for record in records], np.int32),
        "images": np.stack([image for image, _ in pairs]),
        "labels": np.stack([label for _, label in pairs]),
    }
