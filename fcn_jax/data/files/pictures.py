"""Picture files and picture bytes, read by Pillow and strictly: what is unclear is refused by name.

EXIF orientation is not applied, in images and in labels alike, so that the two stay aligned.
"""

import contextlib
import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from fcn_jax.data.files.problems import Problem
from fcn_jax.data.labels import Color
from fcn_jax.errors import UserError

_ORIENTATION_TAG = 0x0112  # of EXIF
UPRIGHT = 1
SIDEWAYS = range(5, 9)  # shown with width and height exchanged


class ImageFile(NamedTuple):
    """What an image file holds.

    Attributes:
        pixels: The image as RGB.
        kind: Format and Pillow mode, such as "JPEG RGB".
        orientation: Orientation that EXIF gives, 1 to 8.
    """

    pixels: UInt8[np.ndarray, "h w 3"]
    kind: str
    orientation: int


class LabelFile(NamedTuple):
    """What a label file holds.

    Attributes:
        numbers: Number of each pixel.
        kind: How the file stores the numbers: "grey", "palette" or "colours".
        palette: Colour that the file itself gives to each number that occurs; black ones, which may
            only mean that nobody set them, are left out.
        orientation: Orientation that EXIF gives, 1 to 8.
    """

    numbers: UInt8[np.ndarray, "h w"]
    kind: str
    palette: Mapping[int, Color]
    orientation: int


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
            raise UserError(f"record holds a picture of mode {picture.mode}, expected mode {mode}")
        return np.asarray(picture)


def read_image_file(path: Path, *, data: bytes | None = None) -> ImageFile:
    """Reads an image file as RGB; grey, palette and RGBA files are converted (alpha is dropped).

    Args:
        path: Where the file is.
        data: Bytes of the file, if it is not on disk: then `path` is only its name.

    Raises:
        Problem: For a file that is no image, is cut short, or has another colour mode.
    """
    with _open_picture(path, data) as picture:
        if picture.mode not in ("RGB", "L", "P", "RGBA"):
            raise Problem(
                f"{path}: image mode {picture.mode} is not supported; "
                "convert it to 8-bit RGB, grey (L), palette (P) or RGBA",
                kind="image of an unsupported mode",
            )
        return ImageFile(
            pixels=np.asarray(picture.convert("RGB")),
            kind=f"{picture.format} {picture.mode}",
            orientation=_orientation(picture),
        )


def read_label_file(
    path: Path, *, colors: Mapping[Color, int] | None = None, data: bytes | None = None
) -> LabelFile:
    """Reads a label file as the numbers that it stores: grey level (L) or palette index (P).

    Args:
        path: Where the file is.
        colors: Label value of each (red, green, blue). With it, RGB files are read by colour, and a
            palette file is refused if its palette gives one of these colours to another number.
        data: Bytes of the file, if it is not on disk: then `path` is only its name.

    Raises:
        Problem: For a file that is no image, is cut short, or holds what cannot be understood.
    """
    with _open_picture(path, data) as picture:
        if picture.format == "JPEG":
            raise Problem(
                f"{path}: this is a JPEG, whatever its name, and JPEG blurs the borders between "
                "labels; save labels as PNG, from the source",
                kind="label that is a JPEG",
            )
        if picture.mode == "RGB" and colors:
            numbers = _colors_to_label(path, np.asarray(picture), colors)
            return LabelFile(numbers, "colours", {}, _orientation(picture))
        if picture.mode not in ("L", "P"):
            why = ", and no colours of classes to read it by" if picture.mode == "RGB" else ""
            raise Problem(
                f"{path}: a label must store one class number per pixel "
                f"(8-bit PNG of mode L or P), got mode {picture.mode}{why}",
                kind="label of an unsupported mode",
            )
        if (
            picture.format == "PNG"
            and picture.mode == "L"
            and (depth := _bit_depth(path, data)) < 8
        ):
            # Pillow stretches these to 0..255: a 1 in a 4-bit file would be read as 17.
            raise Problem(
                f"{path}: a grey label must have 8 bits per pixel, got {depth}; "
                "save it again as an 8-bit PNG of mode L or P",
                kind="label of an unsupported mode",
            )
        numbers, palette = np.asarray(picture), {}
        if picture.mode == "P":
            palette = _used_colors(numbers, picture.getpalette())
            _check_palette(path, palette, colors or {})
        kind = "palette" if picture.mode == "P" else "grey"
        return LabelFile(numbers, kind, palette, _orientation(picture))


def _bit_depth(path: Path, data: bytes | None) -> int:
    """Reads the bits per channel from the IHDR chunk, which comes first in every PNG."""
    with path.open("rb") if data is None else io.BytesIO(data) as file:
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
            raise Problem(
                f"{path}: the colour {color}, first at row {y}, column {x}, belongs to no class; "
                "colour labels must hold the exact colours of the classes (no JPEG, no smoothing)",
                kind="label colour that belongs to no class",
            )
        values.append(colors[color])
    return np.array(values, np.uint8)[index].reshape(codes.shape)


def _used_colors(numbers: UInt8[np.ndarray, "h w"], palette: list[int]) -> dict[int, Color]:
    used = np.flatnonzero(np.bincount(numbers.ravel(), minlength=256)).tolist()
    colors = {number: tuple(palette[3 * number : 3 * number + 3]) for number in used}
    # Entries that nobody set are black, or missing, so black says nothing.
    return {number: color for number, color in colors.items() if any(color)}


def _check_palette(path: Path, palette: Mapping[int, Color], colors: Mapping[Color, int]) -> None:
    for number, color in palette.items():
        if colors.get(color, number) != number:
            raise Problem(
                f"{path}: number {number} has the colour {color}, which means {colors[color]}; "
                "the palette was reordered when the file was saved. Keep the original file, or "
                "convert this one to RGB, which is read by colour",
                kind="label with a reordered palette",
            )


@contextlib.contextmanager
def _open_picture(path: Path, data: bytes | None) -> Iterator[Image.Image]:
    def file() -> Path | io.BytesIO:
        return path if data is None else io.BytesIO(data)

    with contextlib.ExitStack() as stack:
        try:
            picture = stack.enter_context(Image.open(file()))
            if picture.format == "PNG":
                # Pillow decodes a PNG without its checksums: a flipped bit may be another label.
                with Image.open(file()) as unread:
                    unread.verify()
            picture.load()  # the pixels too: a file that is cut short fails here, by name
        except FileNotFoundError:
            raise
        except Exception as error:  # Pillow raises almost anything for a damaged file
            raise Problem(
                f"{path}: cannot read this file as an image ({error})",
                kind="unreadable or damaged file",
            ) from error
        # A phone's MPO holds a JPEG and previews of it.
        if (frames := getattr(picture, "n_frames", 1)) > 1 and picture.format != "MPO":
            raise Problem(
                f"{path}: this file holds {frames} pictures; save the one that is meant alone",
                kind="file of several pictures",
            )
        yield picture


def _orientation(picture: Image.Image) -> int:
    try:
        orientation = picture.getexif().get(_ORIENTATION_TAG)
    except Exception:  # noqa: BLE001 (what no viewer can read turns no picture)
        return UPRIGHT
    return orientation if orientation in range(2, 9) else UPRIGHT


def check_label(
    label_file: Path, label: UInt8[np.ndarray, "h w"], *, num_classes: int, void: int
) -> None:
    """Raises a Problem, with the bad values, unless all are classes or `void`."""
    counts = np.bincount(label.ravel(), minlength=256)
    counts[:num_classes] = counts[void] = 0
    if counts.any():
        value, *others = np.flatnonzero(counts).tolist()
        nor = f", nor are {', '.join(map(str, others))}" if others else ""
        raise Problem(
            f"{label_file}: label value {value} is not allowed ({counts[value]} pixels){nor}; "
            f"allowed are the classes 0..{num_classes - 1} and {void} for unlabelled",
            kind="label value outside the classes",
        )
