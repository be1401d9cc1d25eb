"""What an evaluation counted of each image, in a file that numpy reads.

Sums of these counts are those of the whole split, so that any part of the images can be scored
without the network: what a bootstrap over images draws, which images are the worst, or what is near
a boundary. docs/compare.md has the layout of the file.
"""

import math
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64, Int32, Int64

from fcn_jax.atomic_file import replacing
from fcn_jax.errors import UserError


@dataclass(frozen=True, eq=False)
class ImageCounts:
    """Counts of n images of k classes.

    Attributes:
        ids: Name of each image, sorted.
        counts: Confusion counts of each image, rows true, columns predicted.
        num_pixels: Labelled pixels of each image.
        loss_sums: Cross entropy of each image, in nats, summed over its labelled pixels.
        band_counts: Confusion counts of all images together, at `[d - 1]` of the pixels that have
            another class within d rows and columns.
    """

    ids: tuple[str, ...]
    counts: Int32[np.ndarray, "n k k"]
    num_pixels: Int64[np.ndarray, " n"]
    loss_sums: Float64[np.ndarray, " n"]
    band_counts: Int64[np.ndarray, "bands k k"]

    @property
    def total(self) -> Int64[np.ndarray, "k k"]:
        """Confusion counts of all images together."""
        return self.counts.sum(0, dtype=np.int64)

    @property
    def loss(self) -> float:
        """Mean cross entropy of a labelled pixel, in nats; NaN where none is labelled."""
        return _mean_loss(self.loss_sums, self.num_pixels)

    def save(self, file: Path) -> None:
        """Writes the file, or replaces it."""
        with replacing(file) as beside, beside.open("wb") as stream:
            np.savez_compressed(
                stream,
                ids=np.array(self.ids, np.str_),
                counts=self.counts,
                num_pixels=self.num_pixels,
                loss_sums=self.loss_sums,
                band_counts=self.band_counts,
            )


def read_image_counts(file: Path, evaluation: Mapping[str, Any]) -> ImageCounts:
    """Reads a file that `ImageCounts.save` wrote.

    Args:
        file: The file.
        evaluation: What the JSON file of the same evaluation says.

    Raises:
        UserError: If the file is damaged, or its sums are not the counts of the evaluation.
    """
    try:
        with np.load(file, allow_pickle=False) as arrays:
            found = {name: _array(arrays, name, *form) for name, form in _FORMS.items()}
        _check(evaluation, **found)
    except (  # what numpy and zipfile raise of a damaged archive
        ValueError, TypeError, KeyError, EOFError, OSError, OverflowError,
        RuntimeError, SyntaxError, MemoryError, zipfile.BadZipFile, zlib.error,
    ) as error:  # fmt: skip
        raise UserError(f"{file} is damaged: {error}; evaluate again") from error
    return ImageCounts(**{**found, "ids": tuple(found["ids"].tolist())})


_FORMS = {
    "ids": (np.str_, 1),
    "counts": (np.int32, 3),
    "num_pixels": (np.int64, 1),
    "loss_sums": (np.float64, 1),
    "band_counts": (np.int64, 3),
}


def _array(
    arrays: Mapping[str, np.ndarray], name: str, kind: type[np.generic], num_axes: int
) -> np.ndarray:
    array = arrays[name]
    if array.dtype.type is not kind or array.ndim != num_axes:
        raise ValueError(f"its {name} are {array.dtype} of shape {array.shape}")
    return array


def _check(
    evaluation: Mapping[str, Any],
    *,
    ids: np.ndarray,
    counts: np.ndarray,
    num_pixels: np.ndarray,
    loss_sums: np.ndarray,
    band_counts: np.ndarray,
) -> None:
    """Raises ValueError unless all arrays are of the same images and sum to the evaluation's."""
    total = np.array(evaluation["counts"], np.int64)
    if counts.shape != (len(ids), *total.shape):
        raise ValueError(f"its counts are of shape {counts.shape} for {len(ids)} images")
    if not len(num_pixels) == len(loss_sums) == len(ids):
        raise ValueError("its arrays are of different lengths")
    if evaluation.get("num_images", len(ids)) != len(ids):
        raise ValueError(f"it has {len(ids)} images, and the JSON file {evaluation['num_images']}")
    if (counts.sum(0, dtype=np.int64) != total).any() or (counts.sum((1, 2)) != num_pixels).any():
        raise ValueError("its counts do not sum to those of the JSON file beside it")
    if band_counts.shape[1:] != total.shape or (band_counts > total).any():
        raise ValueError("its band_counts are not of these pixels")
    distance_px = evaluation.get("boundary_px", math.inf)
    if distance_px <= len(band_counts):
        near = np.array(evaluation["boundary_counts"], np.int64)
        if (band_counts[distance_px - 1] != near).any():
            raise ValueError("its band_counts are not the boundary_counts of the JSON file")
    told = evaluation.get("loss")  # null where it is not finite
    if told is not None and not np.isclose(_mean_loss(loss_sums, num_pixels), told, rtol=1e-9):
        raise ValueError("its loss_sums do not sum to the loss of the JSON file beside it")


def _mean_loss(loss_sums: np.ndarray, num_pixels: np.ndarray) -> float:
    total = int(num_pixels.sum())
    # fsum is exact, so that not even the loss depends on the order of the images.
    return math.fsum(loss_sums.tolist()) / total if total else math.nan
