"""Transforms of an image together with its label: what moves one moves the other.

A random transform is `f(rng, image, label, *, options)` and spends `rng` (a numpy Generator) in the
order that its docstring gives; one that is off spends nothing. What changes colours alone is in
`fcn_jax.data.batches.photometric`. Pixel (i, j) covers the square [i, i+1) x [j, j+1): resizing
maps centres to centres. Images are interpolated bilinearly (by Pillow, which also averages when it
shrinks), labels take the value of the nearest pixel and are never blended.
"""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from fcn_jax.data.labels import IGNORE_LABEL
from fcn_jax.errors import UserError

# The ImageNet mean, rounded: padding is (nearly) zero after the mean subtraction of the models.
FILL_RGB = (123, 117, 104)

# After so many crops the last one stands, whatever is in it. Source: RandomCrop of mmsegmentation.
MAX_CROPS = 10

GRID = 4  # the classes of a crop are counted on every 4th pixel of every 4th row

Rgb = tuple[int, int, int]
Range = tuple[float, float]  # low, high
Window = tuple[int, int]  # start, stop


def random_crop(
    rng: np.random.Generator,
    image: UInt8[np.ndarray, "h w 3"],
    label: UInt8[np.ndarray, "h w"],
    *,
    size: int,
    scale_range: Range = (1.0, 1.0),
    scales: Sequence[float] = (),
    rotation_range: Range = (0.0, 0.0),
    max_class_share: float = 1.0,
    fill_rgb: Rgb = FILL_RGB,
    ignore_label: int = IGNORE_LABEL,
) -> tuple[UInt8[np.ndarray, "h2 w2 3"], UInt8[np.ndarray, "h2 w2"]]:
    """Cuts a square out of the scaled and rotated pair; computes only the pixels that are kept.

    Spends the factor, the angle unless `rotation_range` is (0, 0), and for each crop top and left.

    Args:
        rng: Generator of every draw.
        image: The image.
        label: Its label.
        size: Side of the square in pixels; where the scaled picture is shorter, so is the result.
        scale_range: Range in which the factor of both sides is uniform; sides are rounded to
            pixels.
        scales: Factors to choose from; if there are any, `scale_range` means nothing.
        rotation_range: Range in which the angle is uniform: degrees, counterclockwise, about the
            centre. The picture keeps its size.
        max_class_share: Largest share of a class among the labelled pixels. Below 1, a crop with
            more of it, or without a labelled pixel, is drawn again, up to MAX_CROPS crops.
            Source: `cat_max_ratio` of mmsegmentation, where 0.75 is usual.
        fill_rgb: Colour of pixels that a rotation brings in from outside.
        ignore_label: Label of these pixels.
    """
    scaled_size = _draw_scaled_size(rng, label.shape, scale_range, scales)
    angle = 0.0 if tuple(rotation_range) == (0, 0) else rng.uniform(*rotation_range)
    if max_class_share < 1:
        whole = (0, scaled_size[0]), (0, scaled_size[1])
        grid = _cut_label(label, scaled_size, angle, *whole, ignore_label, step=GRID)
    for _ in range(MAX_CROPS):
        rows = _draw_window(rng, scaled_size[0], size)
        cols = _draw_window(rng, scaled_size[1], size)
        if (
            max_class_share >= 1
            or _largest_share(grid[_on_grid(rows), _on_grid(cols)], ignore_label) <= max_class_share
        ):
            break
    return (
        _cut_image(image, scaled_size, angle, rows, cols, fill_rgb),
        _cut_label(label, scaled_size, angle, rows, cols, ignore_label),
    )


def random_flip(
    rng: np.random.Generator,
    image: UInt8[np.ndarray, "h w 3"],
    label: UInt8[np.ndarray, "h w"],
    *,
    prob: float,
) -> tuple[UInt8[np.ndarray, "h w 3"], UInt8[np.ndarray, "h w"]]:
    """Mirrors left and right with probability `prob`. Spends one draw."""
    if rng.random() < prob:
        # By Pillow: NumPy takes three times as long to copy the reversed pixels into a batch.
        flip = Image.Transpose.FLIP_LEFT_RIGHT
        return tuple(np.asarray(Image.fromarray(array).transpose(flip)) for array in (image, label))
    return image, label


def pad_to(
    image: UInt8[np.ndarray, "h w 3"],
    label: UInt8[np.ndarray, "h w"],
    *,
    height: int,
    width: int,
    fill_rgb: Rgb = FILL_RGB,
    ignore_label: int = IGNORE_LABEL,
) -> tuple[UInt8[np.ndarray, "{height} {width} 3"], UInt8[np.ndarray, "{height} {width}"]]:
    """Pads bottom and right: the image with `fill_rgb`, the label with `ignore_label`."""
    old_height, old_width = label.shape
    if (old_height, old_width) == (height, width):
        return image, label
    if old_height > height or old_width > width:
        raise UserError(
            f"cannot pad an image of {old_height}x{old_width} (height x width) "
            f"to {height}x{width}: it is larger; crop it first"
        )
    padded_image = np.empty((height, width, 3), np.uint8)
    padded_image[:old_height, :old_width] = image
    padded_image[:old_height, old_width:] = padded_image[old_height:] = fill_rgb
    padded_label = np.full((height, width), ignore_label, np.uint8)
    padded_label[:old_height, :old_width] = label
    return padded_image, padded_label


# --- cutting: the window `rows` x `cols`, (start, stop) each, of the scaled and rotated pair ------


def _draw_scaled_size(
    rng: np.random.Generator, shape: tuple[int, int], scale_range: Range, scales: Sequence[float]
) -> tuple[int, int]:
    scale = scales[rng.integers(len(scales))] if scales else rng.uniform(*scale_range)
    return max(1, round(shape[0] * scale)), max(1, round(shape[1] * scale))


def _draw_window(rng: np.random.Generator, side: int, size: int) -> Window:
    """Draws a window of at most `size` pixels within `side`."""
    start = int(rng.integers(0, max(side - size, 0) + 1))
    return start, min(start + size, side)


def _on_grid(window: Window) -> slice:
    return slice(*(-(-at // GRID) for at in window))


def _largest_share(label: np.ndarray, ignore_label: int) -> float:
    """Returns the share of the largest class among the labelled pixels; 1 if there are none."""
    counts = np.bincount(label.ravel(), minlength=256)
    counts[ignore_label] = 0
    return counts.max() / counts.sum() if counts.any() else 1.0


def _cut_label(
    label: np.ndarray,
    scaled_size: tuple[int, int],
    angle: float,
    rows: Window,
    cols: Window,
    ignore_label: int,
    *,
    step: int = 1,
) -> np.ndarray:
    """Computes a window of the label, or every `step`-th pixel of every `step`-th row of it."""
    height, width = label.shape
    if angle:
        matrix = _scaling(width / scaled_size[1], height / scaled_size[0]) @ _rotation(
            angle, scaled_size, rows, cols
        )
        return _warp(label, matrix, rows, cols, Image.Resampling.NEAREST, ignore_label, step=step)
    if scaled_size == (height, width):
        return label[slice(*rows, step), slice(*cols, step)]
    y = _nearest(rows, scaled_size[0], height)[::step]
    x = _nearest(cols, scaled_size[1], width)[::step]
    return label.take(y, axis=0).take(x, axis=1)


def _cut_image(
    image: np.ndarray,
    scaled_size: tuple[int, int],
    angle: float,
    rows: Window,
    cols: Window,
    fill_rgb: Rgb,
) -> np.ndarray:
    if not angle:
        return _resize_window(image, scaled_size, rows, cols)
    height, width = image.shape[:2]
    matrix = _rotation(angle, scaled_size, rows, cols)
    if scaled_size[0] < height or scaled_size[1] < width:
        # Shrinking has to average: it comes first, for as much as the rotated window covers.
        around = _around(matrix, scaled_size, rows, cols)
        image = _resize_window(image, scaled_size, *around)
        matrix[:2, 2] -= around[1][0], around[0][0]
    else:  # one interpolation enlarges and rotates
        matrix = _scaling(width / scaled_size[1], height / scaled_size[0]) @ matrix
    return _warp(image, matrix, rows, cols, Image.Resampling.BILINEAR, fill_rgb)


def _resize_window(
    image: np.ndarray, scaled_size: tuple[int, int], rows: Window, cols: Window
) -> np.ndarray:
    """Computes a window of the image resized to `scaled_size`."""
    height, width = image.shape[:2]
    if scaled_size == (height, width):
        return image[slice(*rows), slice(*cols)]
    # The box is in source pixels and may be fractional. Pillow clips its filter at the border of
    # the image, not of the box, so a window equals the same window of the whole resized image.
    y_step, x_step = height / scaled_size[0], width / scaled_size[1]
    box = (cols[0] * x_step, rows[0] * y_step, cols[1] * x_step, rows[1] * y_step)
    box = (*box[:2], min(box[2], width), min(box[3], height))
    size = (cols[1] - cols[0], rows[1] - rows[0])
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR, box=box))


def _nearest(window: Window, scaled_side: int, side: int) -> np.ndarray:
    """Returns the source pixel that holds the centre of each scaled pixel; integers, so exact."""
    return (2 * np.arange(*window) + 1) * side // (2 * scaled_side)


# Matrices map points (x, y, 1).


def _scaling(x_factor: float, y_factor: float) -> Float[np.ndarray, "3 3"]:
    return np.diag([x_factor, y_factor, 1.0])


def _rotation(
    angle: float, scaled_size: tuple[int, int], rows: Window, cols: Window
) -> Float[np.ndarray, "3 3"]:
    """Maps a point of the window to the point that a rotation about the centre brings there."""
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    centre = np.array([scaled_size[1] / 2, scaled_size[0] / 2])
    turn = np.array([[cos, -sin], [sin, cos]])  # y points down
    matrix = np.eye(3)
    matrix[:2, :2] = turn
    matrix[:2, 2] = centre + turn @ ([cols[0], rows[0]] - centre)
    return matrix


def _around(
    matrix: np.ndarray, size: tuple[int, int], rows: Window, cols: Window
) -> tuple[Window, Window]:
    """Returns rows and columns that hold all that a window shows, and a pixel more if there is."""
    x, y = [0, cols[1] - cols[0]], [0, rows[1] - rows[0]]
    corners = matrix @ [[x[0], x[0], x[1], x[1]], [y[0], y[1], y[0], y[1]], [1] * 4]
    low, high = np.floor(corners.min(1)).astype(int) - 1, np.ceil(corners.max(1)).astype(int) + 1
    # A window that shows nothing of the picture still has to have a pixel to show it from.
    return tuple(
        (min(max(int(low[axis]), 0), side - 1), max(min(int(high[axis]), side), 1))
        for axis, side in ((1, size[0]), (0, size[1]))
    )


def _warp(
    array: np.ndarray,
    matrix: np.ndarray,
    rows: Window,
    cols: Window,
    resample: Image.Resampling,
    fill: int | Rgb,
    *,
    step: int = 1,
) -> np.ndarray:
    """Looks up every pixel of a window, or every `step`-th, where the matrix sends its centre."""
    # Pillow asks for the middle of each of its pixels, which are `step` wide here.
    matrix = matrix @ [[step, 0, (1 - step) / 2], [0, step, (1 - step) / 2], [0, 0, 1]]
    return np.asarray(
        Image.fromarray(array).transform(
            (-(-(cols[1] - cols[0]) // step), -(-(rows[1] - rows[0]) // step)),
            Image.Transform.AFFINE,
            tuple(matrix[:2].ravel().tolist()),
            resample,
            fillcolor=fill,
        )
    )
