"""Picture files and picture bytes, read by Pillow and strictly: what is unclear is refused by name.

EXIF orientation is ignored, in images and in labels alike, so that the two stay aligned.
"""

import contextlib
import io
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, UnidentifiedImageError

Color = tuple[int, int, int]  # red, green, blue in [0, 255]


def array_to_png(array: UInt8[np.ndarray, "h w *c"]) -> bytes:
    """Encodes RGB [h, w, 3] or a label map [h, w] without loss."""
    stream = io.BytesIO()
    # On CamVid level 1 takes a fraction of the time of level 6, for 6 % more bytes; decoding is as
    # fast.
    Image.fromarray(array).save(stream, "PNG", compress_level=1)
    return stream.getvalue()


def picture_to_array(data: bytes, *, mode: str) -> UInt8[np.ndarray, "h w *c"]:
    """Decodes JPEG or PNG bytes that must already be of Pillow mode `mode` ("RGB" or "L")."""
    with Image.open(io.BytesIO(data)) as picture:
        if picture.mode != mode:
            raise ValueError(f"record holds a picture of mode {picture.mode}, expected mode {mode}")
        return np.asarray(picture)


def read_image_file(path: Path) -> UInt8[np.ndarray, "h w 3"]:
    """Reads an image file as RGB; grey, palette and RGBA files are converted (alpha is dropped).

    Raises:
      ValueError: for a file that is no image, is cut short, or has another colour mode.
    """
    with _open_picture(path) as picture:
        if picture.mode not in ("RGB", "L", "P", "RGBA"):
            raise ValueError(
                f"{path}: image mode {picture.mode} is not supported; "
                "convert it to 8-bit RGB, grey (L), palette (P) or RGBA"
            )
        return np.asarray(picture.convert("RGB"))


def read_label_file(
    path: Path, *, colors: Mapping[Color, int] | None = None
) -> UInt8[np.ndarray, "h w"]:
    """Reads a label file as the numbers that it stores: grey level (L) or palette index (P).

    Args:
      colors: the label value of each (red, green, blue). With it, RGB files are read by colour,
        and a palette file is refused if its palette gives one of these colours to another number.

    Raises:
      ValueError: for a file that is no image, is cut short, or holds what cannot be understood.
    """
    with _open_picture(path) as picture:
        if picture.format == "JPEG":
            raise ValueError(
                f"{path}: this is a JPEG, whatever its name, and JPEG blurs the borders between "
                "labels; save labels as PNG, from the source"
            )
        if picture.mode == "RGB" and colors:
            return _colors_to_label(path, np.asarray(picture), colors)
        if picture.mode not in ("L", "P"):
            raise ValueError(
                f"{path}: a label must store one class number per pixel "
                f"(8-bit PNG of mode L or P), got mode {picture.mode}"
            )
        if picture.format == "PNG" and picture.mode == "L" and (depth := _bit_depth(path)) < 8:
            # Pillow stretches these to 0..255: a 1 in a 4-bit file would be read as 17.
            raise ValueError(
                f"{path}: a grey label must have 8 bits per pixel, got {depth}; "
                "save it again as an 8-bit PNG of mode L or P"
            )
        label = np.asarray(picture)
        if picture.mode == "P" and colors:
            _check_palette(path, label, picture.getpalette(), colors)
        return label


def _bit_depth(png_file: Path) -> int:
    """Reads the bits per channel from the IHDR chunk, which comes first in every PNG."""
    with png_file.open("rb") as file:
        file.seek(24)
        return file.read(1)[0]


def _colors_to_label(
    path: Path, image: UInt8[np.ndarray, "h w 3"], colors: Mapping[Color, int]
) -> UInt8[np.ndarray, "h w"]:
    codes = image.astype(np.int32) @ (1 << 16, 1 << 8, 1)
    found, index = np.unique(codes, return_inverse=True)
    values = []
    for code in found:
        color = (int(code) >> 16, int(code) >> 8 & 255, int(code) & 255)
        if color not in colors:
            y, x = np.argwhere(codes == code)[0]
            raise ValueError(
                f"{path}: the colour {color}, first at row {y}, column {x}, belongs to no class; "
                "colour labels must hold the exact colours of the classes (no JPEG, no smoothing)"
            )
        values.append(colors[color])
    return np.array(values, np.uint8)[index].reshape(codes.shape)


def _check_palette(
    path: Path, label: UInt8[np.ndarray, "h w"], palette: list[int], colors: Mapping[Color, int]
) -> None:
    for value in np.flatnonzero(np.bincount(label.ravel(), minlength=256)):
        color = tuple(palette[3 * value : 3 * value + 3])
        # Entries that nobody set are black, so black says nothing.
        if any(color) and colors.get(color, value) != value:
            raise ValueError(
                f"{path}: number {value} has the colour {color}, which means {colors[color]}; "
                "the palette was reordered when the file was saved. Keep the original file, or "
                "convert this one to RGB, which is read by colour"
            )


@contextlib.contextmanager
def _open_picture(path: Path) -> Iterator[Image.Image]:
    with contextlib.ExitStack() as stack:
        try:
            picture = stack.enter_context(Image.open(path))
            picture.load()  # the pixels too: a file that is cut short fails here, by name
        except FileNotFoundError:
            raise
        except (UnidentifiedImageError, SyntaxError, OSError) as error:
            raise ValueError(f"{path}: cannot read this file as an image ({error})") from error
        yield picture


def check_label(
    label_file: Path, label: UInt8[np.ndarray, "h w"], *, num_classes: int, void: int
) -> None:
    """Raises a ValueError, with the first bad value, unless all are classes or `void`."""
    counts = np.bincount(label.ravel(), minlength=256)
    counts[:num_classes] = counts[void] = 0
    if counts.any():
        value = int(np.argmax(counts > 0))
        raise ValueError(
            f"{label_file}: label value {value} is not allowed ({counts[value]} pixels); allowed "
            f"are the classes 0..{num_classes - 1} and {void} for unlabelled"
        )
