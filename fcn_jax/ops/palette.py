"""Label maps as palette images, and the colour map of PASCAL VOC."""

from pathlib import Path

import numpy as np
from jaxtyping import Int, UInt8

# The colour that VOC's own palette gives index 255, its void outline.
VOID_COLOR = (224, 224, 192)


def voc_palette(*, num_colors: int = 256) -> UInt8[np.ndarray, "{num_colors} 3"]:
    """Makes VOC's colours: bits 0, 1, 2 of the index feed red, green, blue, highest bit first."""
    palette = np.zeros((num_colors, 3), np.uint8)
    index = np.arange(num_colors)
    for bit in range(8):
        for channel in range(3):
            palette[:, channel] |= ((index >> (3 * bit + channel) & 1) << (7 - bit)).astype(
                np.uint8
            )
    return palette


def full_palette(
    colors: Int[np.ndarray, "k 3"] | UInt8[np.ndarray, "k 3"],
) -> UInt8[np.ndarray, "256 3"]:
    """Extends class colours to 256 entries: VOC's colours after them, the void colour last."""
    palette = voc_palette()
    palette[: len(colors)] = colors
    palette[255] = VOID_COLOR
    return palette


def save_label_png(
    path: str | Path,
    label: Int[np.ndarray, "h w"] | UInt8[np.ndarray, "h w"],
    colors: Int[np.ndarray, "k 3"] | UInt8[np.ndarray, "k 3"],
    *,
    orientation: int = 1,
) -> None:
    """Writes a label map as a palette PNG: the pixels are the labels, the palette shows them.

    Args:
        path: Where to.
        label: Class numbers.
        colors: Colours of the classes.
        orientation: EXIF's number for how a viewer has to turn the picture, 1 to 8; 1 is upright.
    """
    from PIL import Image  # here, because colours are asked for where no picture is written

    image = Image.fromarray(np.asarray(label, np.uint8), mode="P")
    image.putpalette(full_palette(colors).tobytes())
    exif = Image.Exif()
    if orientation != 1:
        exif[274] = orientation
    image.save(path, "PNG", exif=exif)
