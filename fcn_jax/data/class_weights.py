"""Weights for a loss that shall not forget rare classes: two published formulas.

Void pixels do not count. A class without a pixel has no weight (NaN).
"""

from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import Float, Int

from fcn_jax.data.source import Source


def median_frequency(pixels: Int[np.ndarray, "n k"]) -> Float[np.ndarray, " k"]:
    """Computes the median of all frequencies over the frequency of each class.

    A frequency is a share of the pixels of those images that have the class.

    Args:
        pixels: Pixels of each class in each image.

    Source: Eigen and Fergus 2015, Sec. 6.3.2.
    """
    in_images = pixels.sum(1) @ (pixels > 0)
    frequency = pixels.sum(0) / np.where(in_images > 0, in_images, np.nan)
    if np.isnan(frequency).all():
        return frequency
    return np.nanmedian(frequency) / frequency


def inverse_log(pixels: Int[np.ndarray, "n k"]) -> Float[np.ndarray, " k"]:
    """Computes 1 / ln(1.02 + share of all pixels) of each class: 50 at most.

    Source: Paszke et al. 2016 (ENet), Sec. 5.2.
    """
    counts = pixels.sum(0)
    share = np.where(counts > 0, counts, np.nan) / max(counts.sum(), 1)
    return 1 / np.log(1.02 + share)


FORMULAS: Mapping[str, Callable[[Int[np.ndarray, "n k"]], Float[np.ndarray, " k"]]] = {
    "median": median_frequency,
    "inverse_log": inverse_log,
}


def compute_class_weights(formula: str, source: Source, *, num_classes: int) -> tuple[float, ...]:
    """Computes the weights of the classes from all labels of a split, which it reads.

    Args:
        formula: One of `FORMULAS`.
        source: Pairs of the split.
        num_classes: Number of classes; labels beyond them are void.

    Returns:
        One weight for each class; 0 for a class without a pixel, which no loss meets.
    """
    pixels = np.stack(
        [
            np.bincount(source[index]["label"].ravel(), minlength=256)[:num_classes]
            for index in range(len(source))
        ]
    )
    return tuple(np.nan_to_num(FORMULAS[formula](pixels)).tolist())
