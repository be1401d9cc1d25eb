"""Weights for a loss that shall not forget rare classes: two published formulas.

Void pixels do not count. A class without a pixel has no weight (NaN).
"""

import numpy as np
from jaxtyping import Float, Int


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
