"""Images and labels that are picture files, read strictly: what is unclear is refused by name.

An image is read as a viewer shows it, in 8 bits; a label as the numbers that were written. Both
have a list of the ways to store samples that are known to give exactly that.
"""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int, UInt8
from PIL import Image

from fcn_jax.data.files.problems import Problem
from fcn_jax.data.files.storage import Storage, decode, open_picture, read_storage, to_png
from fcn_jax.data.files.value_table import look_up
from fcn_jax.data.labels import Color
from fcn_jax.errors import UserError, counted

# Raw modes, by Pillow's mode, that are unpacked number by number.
_EXACT = {
    "L": {"L"},
    "P": {"P", "P;1", "P;2", "P;4"},
    "RGB": {"RGB", "BGR", "BGRX"},
    "RGBA": {"RGBA", "BGRA"},
}
# Right for images alone: grey that is shown stretched to 0..255, or inverted, and a fourth band
# without a meaning, such as infrared.
_SHOWN = {**_EXACT, "L": {"L", "L;2", "L;4", "L;I"}, "RGB": _EXACT["RGB"] | {"RGBX"}}
_LOSSLESS = {"raw", "zip", "gif", "bmp_rle", "tga_rle", "ppm_plain", "webp lossless"}
_LOSSLESS |= {"tiff_lzw", "tiff_deflate", "tiff_adobe_deflate", "packbits", "lzma", "zstd"}
# By raw mode, what makes an 8-bit label of the opened picture `p`: perhaps what was meant, so it is
# said and not done. Numbers above 255 are an error of numpy.
_NUMBERS = "Image.fromarray(np.array(np.array(p).tolist(), 'u1'))"
_IN_8_BITS = {
    **dict.fromkeys(("1", "I;16", "I;16B", "I;16N"), _NUMBERS),
    "L;2": "Image.fromarray(np.array(p) // 85)",
    "L;4": "Image.fromarray(np.array(p) // 17)",
    "LA": "p.convert('L')",
    "RGBA": "p.convert('RGB')",
}


class ImageFile(NamedTuple):
    """What an image file holds.

    Attributes:
        pixels: The image as RGB.
        kind: Format and Pillow mode, such as "JPEG RGB"; it ends in A if there is transparency.
        orientation: Orientation that EXIF or a TIFF tag gives, 1 to 8; it is not applied.
    """

    pixels: UInt8[np.ndarray, "h w 3"]
    kind: str
    orientation: int


class LabelFile(NamedTuple):
    """What a label file holds.

    Attributes:
        numbers: Number of each pixel.
        kind: How the file stores the numbers: "grey", "palette" or "colours".
        palette: Colour that the file itself gives to each number that occurs. Where several numbers
            are black, nobody may have set them, and they are left out.
        orientation: Orientation that EXIF or a TIFF tag gives, 1 to 8; it is not applied.
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
        Problem: For a file that is no image, is cut short, or stores samples that have no exact
            form in 8-bit RGB: 1 or more than 8 bits, other colour spaces, grey with alpha, colours
            multiplied by alpha.
    """
    with open_picture(path, data) as (picture, storage):
        _check_image(path, storage)
        picture, orientation = decode(path, picture)
        # Pillow would warn of palettes with transparency.
        transparent = picture.info.pop("transparency", None) is not None
        return ImageFile(
            pixels=np.asarray(picture.convert("RGB")),
            kind=f"{storage.format} {storage.mode}{'A' * transparent}",
            orientation=orientation,
        )


def read_image_size(path: Path) -> tuple[int, int]:
    """Returns the height and the width of an image file of any size; decodes nothing.

    Raises:
        Problem: For what `read_image_file` refuses by the head of the file.
    """
    with open_picture(path, None, any_size=True) as (picture, storage):
        _check_image(path, storage)
        return picture.height, picture.width


def check_opened(picture: Image.Image) -> None:
    """Raises the Problem that `read_image_file` has with the file of a picture of Pillow's.

    Pillow shows colours of 16 bits as 8, and nothing in its pixels tells. The file does, if it is
    still there or not decoded yet.
    """
    path = Path(getattr(picture, "filename", "") or "this picture")
    if path.is_file():
        with open_picture(path, None) as (_, storage):
            _check_image(path, storage)
    elif getattr(picture, "tile", None):
        _check_image(path, read_storage(picture))


def _check_image(path: Path, storage: Storage) -> None:
    if storage.raw_mode not in _SHOWN.get(storage.mode, ()) or storage.oddity:
        raise Problem(
            f"{path}: image mode {storage.mode} is not supported ({storage}); convert it to 8-bit "
            f"RGB, grey (L), palette (P) or RGBA, for example: {to_png(path)}",
            kind="image of an unsupported mode",
        )


def read_label_file(
    path: Path,
    *,
    colors: Mapping[Color, int] | None = None,
    table: Mapping[int, int] | None = None,
    data: bytes | None = None,
) -> LabelFile:
    """Reads a label file as the numbers that it stores: grey level (L) or palette index (P).

    Args:
        path: Where the file is.
        colors: Label value of each (red, green, blue). With it, RGB files are read by colour, and a
            palette file is refused if its palette gives one of these colours to another number.
        table: Label of each number that an L or P file stores; without it, the numbers are the
            labels.
        data: Bytes of the file, if it is not on disk: then `path` is only its name.

    Raises:
        Problem: For a file that is no image, is cut short, is compressed with loss, or does not say
            which numbers were written.
    """
    with open_picture(path, data) as (picture, storage):
        if problem := _refuse_label(path, storage, has_colors=bool(colors)):
            raise problem
        picture, orientation = decode(path, picture)
        array = np.asarray(picture)
        if storage.mode == "RGB":
            return LabelFile(_colors_to_label(path, array, colors), "colours", {}, orientation)
        palette = {}
        if storage.mode == "P":
            entries = np.reshape(picture.getpalette(), (-1, 3))
            palette = _used_colors(array, entries)
            if (entries == entries[:, :1]).all():
                _check_greys(path, palette, {} if table else colors or {})
        if table is not None:
            palette = {table[number]: palette[number] for number in palette if number in table}
            array = look_up(path, array, table)
        _check_palette(path, palette, colors or {})
        kind = "palette" if storage.mode == "P" else "grey"
        return LabelFile(array, kind, palette, orientation)


def _refuse_label(path: Path, storage: Storage, *, has_colors: bool) -> Problem | None:
    """Returns what forbids to take the numbers of a file for those that were written."""
    mode, raw_mode = storage.mode, storage.raw_mode
    if storage.is_jpeg or storage.codec not in _LOSSLESS:
        name = "JPEG" if storage.is_jpeg else storage.format
        what = f"this is a {name}" if storage.format != "TIFF" else f"this TIFF holds a {name}"
        return Problem(
            f"{path}: {what}, and its compression ({storage.codec}) may change the numbers of "
            "labels; save labels as PNG, from the source",
            kind=f"label that is a {name}",
        )
    one_number = "a label must store one class number per pixel (8-bit PNG of mode L or P)"
    hint = "save it again from the source"
    if raw_mode in _IN_8_BITS:
        hint = f"save it again, for example by: {_save_again(path, _IN_8_BITS[raw_mode])}"
    if mode not in ("L", "P", "RGB"):
        reason = f"{one_number}, got mode {mode}"
    elif mode == "RGB" and not has_colors:
        reason = f"{one_number}, got mode RGB, and no colours of classes to read it by"
        hint = "give the classes their colours (in your own folder: in classes.txt)"
    elif raw_mode in ("L;2", "L;4"):
        bits, step = (2, 85) if raw_mode == "L;2" else (4, 17)
        reason = (
            f"a grey label must have 8 bits per pixel, got {bits}, and its 1 may mean 1 or {step} "
            f"(if {step}, leave out // {step} below)"
        )
    elif raw_mode not in _EXACT[mode] or storage.oddity:
        reason = f"a label must store the numbers themselves, got mode {mode} ({storage})"
    else:
        return None
    return Problem(f"{path}: {reason}; {hint}", kind="label of an unsupported mode")


def _save_again(path: Path, picture: str) -> str:
    """Returns the command that saves what an expression makes of the opened picture `p`."""
    return (
        'python -c "import numpy as np; from PIL import Image; '
        f'p = Image.open({path.name!r}); {picture}.save({path.stem + "_label.png"!r})"'
    )


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


def _used_colors(
    numbers: UInt8[np.ndarray, "h w"], entries: Int[np.ndarray, "n 3"]
) -> dict[int, Color]:
    is_set = entries.any(axis=1)
    if (~is_set).sum() == 1:
        is_set[:] = True
    used = np.flatnonzero(np.bincount(numbers.ravel(), minlength=256)[: len(entries)])
    return {int(n): tuple(entries[n].tolist()) for n in used if is_set[n]}


def _check_palette(path: Path, palette: Mapping[int, Color], colors: Mapping[Color, int]) -> None:
    for number, color in palette.items():
        if colors.get(color, number) != number:
            raise Problem(
                f"{path}: number {number} has the colour {color}, which means {colors[color]}; "
                "the palette was reordered when the file was saved. Keep the original file, or "
                "convert this one to RGB, which is read by colour",
                kind="label with a reordered palette",
            )


def _check_greys(path: Path, palette: Mapping[int, Color], colors: Mapping[Color, int]) -> None:
    """Refuses a palette of greys alone, unless number and grey level agree.

    A program that makes files smaller turns a grey mask of 0 and 7 into the numbers 0 and 1 with
    the colours black and grey 7; another program shows the classes 0 and 1 as black and grey 7.
    """
    for number, color in palette.items():
        if color[0] != number and colors.get(color) != number:
            raise Problem(
                f"{path}: number {number} is shown as grey level {color[0]}, and nothing tells "
                "which of the two is the class (programs that shrink PNG files turn grey masks "
                "into such palettes). Save it again, if the level is by: "
                f"{_save_again(path, _IN_8_BITS['LA'])} , if the number is with "
                "Image.fromarray(np.array(p)) in place of p.convert('L')",
                kind="label with a palette of greys",
            )


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
            f"{label_file}: label value {value} is not allowed "
            f"({counted(int(counts[value]), 'pixel')}){nor}; "
            f"allowed are the classes 0..{num_classes - 1} and {void} for unlabelled",
            kind="label value outside the classes",
        )
