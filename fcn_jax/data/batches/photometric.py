"""Transforms of colours, which leave every pixel where it is and so the label as it is.

A random transform is `f(rng, image, *, options)` and spends `rng` (a numpy Generator) in the order
that its docstring gives; one that is off spends nothing.
"""

import math

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from fcn_jax.data.batches.transforms import Range

# Rows: luma, and the two axes of colour that NTSC sends, in terms of red, green and blue.
YIQ = np.array([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])
RGB_FROM_YIQ = np.linalg.inv(YIQ)
LUMA = YIQ[0]


def jitter_colors(
    rng: np.random.Generator,
    image: UInt8[np.ndarray, "h w 3"],
    *,
    brightness: float = 0.0,
    contrast: float = 0.0,
    saturation: float = 0.0,
    hue: float = 0.0,
) -> UInt8[np.ndarray, "h w 3"]:
    """Changes brightness, contrast, saturation and hue, in this order, as one linear map.

    Values are rounded and clipped to [0, 255] once, at the end. Spends one draw for each of the
    four that is not 0, in this order.

    Args:
        rng: Generator of every draw.
        image: The image.
        brightness: Colours are multiplied by a factor that is uniform in 1 -+ brightness.
        contrast: Distances from the mean grey of the image are multiplied by such a factor.
        saturation: Distances from the grey of the same pixel are multiplied by such a factor.
        hue: Colours are turned about the grey axis, at constant luma, by a share of the full circle
            that is uniform in -+ hue. Source: YIQ, where a turn of I and Q changes the hue alone.
    """
    factors = [
        rng.uniform(1 - most, 1 + most) if most else 1.0
        for most in (brightness, contrast, saturation)
    ]
    turn = rng.uniform(-hue, hue) if hue else 0.0
    if factors == [1.0, 1.0, 1.0] and turn == 0:
        return image
    picture = Image.fromarray(image)
    matrix = factors[0] * factors[1] * _hue_matrix(turn) @ _saturation_matrix(factors[2])
    # Grey stays where it is under the other two: so much is added to each channel.
    offset = (1 - factors[1]) * factors[0] * _mean_luma(image) if contrast else 0.0
    rows = np.concatenate([matrix, np.full((3, 1), offset)], axis=1)
    return np.asarray(picture.convert("RGB", tuple(rows.ravel().tolist())))


def random_blur(
    rng: np.random.Generator, image: UInt8[np.ndarray, "h w 3"], *, prob: float, sigma_range: Range
) -> UInt8[np.ndarray, "h w 3"]:
    """Blurs with probability `prob` by a Gaussian; pixels beyond the border are as those on it.

    Spends nothing if `prob` is 0, otherwise one draw, and if it blurs a second one: the standard
    deviation in pixels, uniform in `sigma_range`.
    """
    if prob and rng.random() < prob:
        return _blur(image, rng.uniform(*sigma_range))
    return image


def _mean_luma(image: np.ndarray) -> float:
    # Whole rows are added first: to add pixels, three numbers at a time, takes 20 times as long.
    columns = np.add.reduce(image.reshape(len(image), -1), dtype=np.uint32)
    return float(LUMA @ columns.reshape(-1, 3).sum(0)) / (image.size // 3)


def _saturation_matrix(factor: float) -> Float[np.ndarray, "3 3"]:
    return factor * np.eye(3) + (1 - factor) * LUMA


def _hue_matrix(turn: float) -> Float[np.ndarray, "3 3"]:
    cos, sin = math.cos(2 * math.pi * turn), math.sin(2 * math.pi * turn)
    return RGB_FROM_YIQ @ [[1, 0, 0], [0, cos, -sin], [0, sin, cos]] @ YIQ


def _blur(image: np.ndarray, sigma: float) -> np.ndarray:
    """Blurs in 16 bits.

    That takes a quarter of the time of Pillow, whose three boxes are no Gaussian either, and a
    fifth to a half of that of scipy.ndimage.gaussian_filter1d in float32 (crops of 256 pixels).
    """
    weights = np.exp(-0.5 * (np.arange(1 + math.ceil(3 * sigma)) / sigma) ** 2)
    weights = np.rint(256 * weights / (2 * weights.sum() - 1)).astype(np.uint16)
    weights[0] = 256 - 2 * weights[1:].sum()
    reach = len(weights) - 1
    padded = np.pad(image, ((reach, reach), (reach, reach), (0, 0)), mode="edge")
    blurred = _convolve(_convolve(padded.astype(np.uint16), weights, axis=0), weights, axis=1)
    return blurred.astype(np.uint8)


def _convolve(values: np.ndarray, weights: np.ndarray, *, axis: int) -> np.ndarray:
    """Averages along an axis, as far as both ends allow; the weights are 256ths, centre first."""
    values = np.moveaxis(values, axis, 0)
    reach = len(weights) - 1
    side = len(values) - 2 * reach
    total = values[reach : reach + side] * weights[0]
    total += 128  # half a level
    pair = np.empty_like(total)
    for distance in range(1, reach + 1):
        before, after = values[reach - distance :][:side], values[reach + distance :][:side]
        np.add(before, after, out=pair)
        np.multiply(pair, weights[distance], out=pair)
        np.add(total, pair, out=total)
    total >>= 8
    return np.moveaxis(total, 0, axis)
