"""Transforms of an image together with its label: what moves one moves the other.

A random transform is `f(rng, image, label, *, options)` and spends `rng` (a numpy Generator) in the
order that its docstring gives. Pixel (i, j) covers the square [i, i+1) x [j, j+1): resizing maps
centres to centres. Images are resized bilinearly (with Pillow, which also averages when it
shrinks), labels take the value of the nearest pixel and are never blended.
"""

import numpy as np
from jaxtyping import UInt8
from PIL import Image

# The ImageNet mean, rounded: padding is (nearly) zero after the mean subtraction of the models.
FILL_RGB = (123, 117, 104)

Rgb = tuple[int, int, int]


def random_scale(
    rng: np.random.Generator,
    image: UInt8[np.ndarray, "h w 3"],
    label: UInt8[np.ndarray, "h w"],
    *,
    scale_range: tuple[float, float],
) -> tuple[UInt8[np.ndarray, "h2 w2 3"], UInt8[np.ndarray, "h2 w2"]]:
    """Resizes both sides by one factor, uniform in `scale_range`; sides are rounded to pixels.

    Spends one draw: the factor.
    """
    height, width = _draw_scaled_size(rng, label.shape, scale_range)
    return _resize_window(image, label, (height, width), (0, height), (0, width))


def random_crop(
    rng: np.random.Generator,
    image: UInt8[np.ndarray, "h w 3"],
    label: UInt8[np.ndarray, "h w"],
    *,
    size: int,
    fill_rgb: Rgb = FILL_RGB,
    ignore_label: int = 255,
) -> tuple[UInt8[np.ndarray, "{size} {size} 3"], UInt8[np.ndarray, "{size} {size}"]]:
    """Cuts a square of `size` pixels at a uniform place; pads bottom and right where it is short.

    Spends two draws: top, left.
    """
    rows = _draw_window(rng, label.shape[0], size)
    cols = _draw_window(rng, label.shape[1], size)
    window = slice(*rows), slice(*cols)
    return pad_to(
        image[window],
        label[window],
        height=size,
        width=size,
        fill_rgb=fill_rgb,
        ignore_label=ignore_label,
    )


def random_scale_crop(
    rng: np.random.Generator,
    image: UInt8[np.ndarray, "h w 3"],
    label: UInt8[np.ndarray, "h w"],
    *,
    scale_range: tuple[float, float],
    size: int,
    fill_rgb: Rgb = FILL_RGB,
    ignore_label: int = 255,
) -> tuple[UInt8[np.ndarray, "{size} {size} 3"], UInt8[np.ndarray, "{size} {size}"]]:
    """Does `random_scale`, then `random_crop`, but computes only the pixels that are kept.

    Spends three draws, those of the two in turn: the factor, top, left. The window is drawn in
    the scaled image and traced back to the original, so the result is that of the two in turn
    (image values may differ by one level, where Pillow rounds its filter weights).
    """
    height, width = _draw_scaled_size(rng, label.shape, scale_range)
    rows = _draw_window(rng, height, size)
    cols = _draw_window(rng, width, size)
    image, label = _resize_window(image, label, (height, width), rows, cols)
    return pad_to(
        image, label, height=size, width=size, fill_rgb=fill_rgb, ignore_label=ignore_label
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
        return image[:, ::-1], label[:, ::-1]
    return image, label


def pad_to(
    image: UInt8[np.ndarray, "h w 3"],
    label: UInt8[np.ndarray, "h w"],
    *,
    height: int,
    width: int,
    fill_rgb: Rgb = FILL_RGB,
    ignore_label: int = 255,
) -> tuple[UInt8[np.ndarray, "{height} {width} 3"], UInt8[np.ndarray, "{height} {width}"]]:
    """Pads bottom and right: the image with `fill_rgb`, the label with `ignore_label`."""
    old_height, old_width = label.shape
    if (old_height, old_width) == (height, width):
        return image, label
    if old_height > height or old_width > width:
        raise ValueError(
            f"cannot pad an image of {old_height}x{old_width} (height x width) "
            f"to {height}x{width}: it is larger; crop it first"
        )
    padded_image = np.empty((height, width, 3), np.uint8)
    padded_image[:] = fill_rgb
    padded_image[:old_height, :old_width] = image
    padded_label = np.full((height, width), ignore_label, np.uint8)
    padded_label[:old_height, :old_width] = label
    return padded_image, padded_label


def _draw_scaled_size(
    rng: np.random.Generator, shape: tuple[int, int], scale_range: tuple[float, float]
) -> tuple[int, int]:
    scale = rng.uniform(*scale_range)
    return max(1, round(shape[0] * scale)), max(1, round(shape[1] * scale))


def _draw_window(rng: np.random.Generator, side: int, size: int) -> tuple[int, int]:
    """Draws (start, stop) of at most `size` pixels within `side`."""
    start = int(rng.integers(0, max(side - size, 0) + 1))
    return start, min(start + size, side)


def _resize_window(
    image: np.ndarray,
    label: np.ndarray,
    scaled_size: tuple[int, int],
    rows: tuple[int, int],
    cols: tuple[int, int],
) -> tuple[np.ndarray, np.ndarray]:
    """Computes the window `rows` x `cols` (start, stop) of the pair resized to `scaled_size`."""
    if scaled_size == label.shape:
        window = slice(*rows), slice(*cols)
        return image[window], label[window]
    # The box is in source pixels and may be fractional. Pillow clips its filter at the border of
    # the image, not of the box, so a window equals the same window of the whole resized image.
    y_step, x_step = label.shape[0] / scaled_size[0], label.shape[1] / scaled_size[1]
    box = (cols[0] * x_step, rows[0] * y_step, cols[1] * x_step, rows[1] * y_step)
    box = (*box[:2], min(box[2], label.shape[1]), min(box[3], label.shape[0]))
    resized = Image.fromarray(image).resize(
        (cols[1] - cols[0], rows[1] - rows[0]), Image.Resampling.BILINEAR, box=box
    )
    y = _nearest(rows, scaled_size[0], label.shape[0])
    x = _nearest(cols, scaled_size[1], label.shape[1])
    return np.asarray(resized), label[y[:, None], x[None, :]]


def _nearest(window: tuple[int, int], scaled_side: int, side: int) -> np.ndarray:
    """Returns the source pixel that holds the centre of each scaled pixel; integers, so exact."""
    return (2 * np.arange(*window) + 1) * side // (2 * scaled_side)
