"""How a picture file stores its samples, as its header says before a pixel is decoded.

Pillow names the decoder and the raw mode of every strip of a file that it has opened: "L;4" is grey
of 4 bits, which it would stretch to 0..255, and "RGB;16B" is colour of 16 bits, of which it would
drop 8. So lists of raw modes and of codecs that are known to change no number, which the readers of
images and of labels have, refuse everything else. What raw modes do not say comes from TIFF tags
and the head of a BMP.

Orientation is not applied, in images and in labels alike, so that the two stay aligned.
"""

import contextlib
import io
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Shaped
from PIL import Image, UnidentifiedImageError

from fcn_jax.data.files.problems import Problem

_FORMATS = ("PNG", "JPEG", "MPO", "TIFF", "BMP", "GIF", "WEBP", "PPM", "TGA")
_JPEGS = ("JPEG", "MPO")  # a phone's MPO holds a JPEG and previews of it
_LIMIT = threading.Lock()  # of Pillow's limit: two threads would put back what the other set
_ORIENTATION_TAG = 274
_EXTRA_SAMPLES = 338
UPRIGHT = 1
SIDEWAYS = range(5, 9)  # shown with width and height exchanged
# What brings a picture that is shown by its orientation back to how it is stored.
_TURN_BACK = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
# Name of a TIFF tag, its value if it is missing, and values that raw modes rely on.
_TIFF_TAGS = {
    258: ("BitsPerSample", 1, {1, 2, 4, 8}),
    262: ("PhotometricInterpretation", 0, {0, 1, 2, 3}),  # not YCbCr, but see below
    339: ("SampleFormat", 1, {1}),  # unsigned
}


class Storage(NamedTuple):
    """How a file stores its samples.

    Attributes:
        format: Name of the file format, such as "PNG".
        mode: Pillow's mode of the picture.
        codec: Compression, by the name of Pillow's decoder or of the TIFF compression.
        raw_mode: Pillow's name of the layout of samples in the file, such as "BGR" or "P;4".
        oddity: What else forbids to trust the numbers; empty if nothing does.
    """

    format: str
    mode: str
    codec: str
    raw_mode: str
    oddity: str

    @property
    def is_jpeg(self) -> bool:
        """Whether the samples went through JPEG, in whichever file format."""
        return self.codec in ("jpeg", "tiff_jpeg")

    def __str__(self) -> str:
        if self.oddity:
            return self.oddity
        if ";16" in self.raw_mode or self.mode.startswith("I"):
            return "more than 8 bits per sample"
        if "a" in self.raw_mode:
            return "colours multiplied by alpha"
        if self.mode == "1":
            return "1 bit per pixel"
        return f"stored as {self.codec} {self.raw_mode}"


@contextlib.contextmanager
def open_picture(
    path: Path, data: bytes | None, *, any_size: bool = False
) -> Iterator[tuple[Image.Image, Storage]]:
    """Opens a file that holds one picture, and reads no more than its header.

    Args:
        path: Where the file is.
        data: Bytes of the file, if it is not on disk: then `path` is only its name.
        any_size: Whether a picture may have more pixels than Pillow decodes at once.

    Raises:
        Problem: For a file that is no picture, is damaged, is too large, or holds several.
    """

    def file() -> Path | io.BytesIO:
        return path if data is None else io.BytesIO(data)

    with contextlib.ExitStack() as stack:
        with _name_damage(path), _any_size() if any_size else contextlib.nullcontext():
            picture = stack.enter_context(Image.open(file()))
            if picture.format == "PNG":
                # Pillow decodes a PNG without its checksums: a flipped bit may be another label.
                with Image.open(file()) as unread:
                    unread.verify()
        if picture.format not in _FORMATS:
            raise Problem(
                f"{path}: files of format {picture.format} are not read; "
                f"convert it to PNG: {to_png(path)}",
                kind="file of an unsupported format",
            )
        with _name_damage(path):
            frames = getattr(picture, "n_frames", 1)
        if frames > 1 and picture.format not in _JPEGS:
            raise Problem(
                f"{path}: this file holds {frames} pictures; save the one that is meant alone, "
                f"the first by: magick {path.name}[0] {path.stem}_0.png",
                kind="file of several pictures",
            )
        with _name_damage(path):
            storage = read_storage(picture)
        yield picture, storage


def decode(path: Path, picture: Image.Image) -> tuple[Image.Image, int]:
    """Decodes an opened picture; returns it as it is stored, and its orientation, 1 to 8.

    Raises:
        Problem: For a file that is cut short or damaged.
    """
    with _name_damage(path):
        # Pillow turns a TIFF, and no other file, by its orientation while it decodes.
        before = _read_orientation(picture) if picture.format == "TIFF" else UPRIGHT
        picture.load()
        after = _read_orientation(picture)
        if after == UPRIGHT and before != UPRIGHT:
            return picture.transpose(_TURN_BACK[before]), before
        return picture, after


def turn_upright(
    array: Shaped[np.ndarray, "h w *c"], orientation: int
) -> Shaped[np.ndarray, "..."]:
    """Turns pixels, as they are stored, to how a viewer shows them."""
    match orientation:
        case 2:
            return array[:, ::-1]
        case 3:
            return array[::-1, ::-1]
        case 4:
            return array[::-1]
        case 5:
            return array.swapaxes(0, 1)
        case 6:
            return array[::-1].swapaxes(0, 1)
        case 7:
            return array[::-1, ::-1].swapaxes(0, 1)
        case 8:
            return array[:, ::-1].swapaxes(0, 1)
    return array


def turn_back(array: Shaped[np.ndarray, "h w *c"], orientation: int) -> Shaped[np.ndarray, "..."]:
    """Turns pixels, as a viewer shows them, to how they are stored."""
    return turn_upright(array, {6: 8, 8: 6}.get(orientation, orientation))


def to_png(path: Path) -> str:
    """Returns the command of ImageMagick that makes an 8-bit RGB PNG of any picture."""
    return f"magick {path.name} -alpha off -colorspace sRGB -depth 8 PNG24:{path.stem}_rgb.png"


@contextlib.contextmanager
def _any_size() -> Iterator[None]:
    """Lets Pillow open pictures of any size; it knows one limit for the whole process."""
    with _LIMIT:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = limit


@contextlib.contextmanager
def _name_damage(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        size = str(error).partition(", could be")[0]
        raise Problem(
            f"{path}: this picture is too large to be read at once ({size}); cut it into tiles, "
            f"and its partner alike: magick {path.name} -crop 2048x2048 +repage "
            f"{path.stem}_%03d.png",
            kind="picture over the size limit",
        ) from error
    except UnidentifiedImageError as error:
        raise Problem(
            f"{path}: cannot read this file as an image (Pillow knows no such format, or it is "
            f"damaged at the start); if other programs show it, convert it: {to_png(path)}",
            kind="unreadable or damaged file",
        ) from error
    except Exception as error:  # Pillow raises almost anything for a damaged file
        raise Problem(
            f"{path}: cannot read this file as an image ({error}); get it again, or remove it "
            "(of a data set, with its partner)",
            kind="unreadable or damaged file",
        ) from error


def read_storage(picture: Image.Image) -> Storage:
    """Returns how the file of a picture stores it, which is opened and not decoded yet."""
    if picture.format == "WEBP":  # decoded by a library of its own
        picture.fp.seek(12)
        codec = "webp lossless" if picture.fp.read(4) == b"VP8L" else "webp"
        return Storage("WEBP", picture.mode, codec, picture.mode, "")
    codecs, boxes, _, arguments = zip(*picture.tile, strict=True)
    if picture.format == "GIF":  # its numbers are those of the file
        arguments = (picture.mode,)
    raw_modes = [each if isinstance(each, str) else each[0] for each in arguments]
    # Strips repeat their raw mode; of planes, each has its own band: R, G and B.
    codec, raw_mode = codecs[0], "".join(dict.fromkeys(raw_modes))
    planes, oddity = 1, ""
    match picture.format:
        case "TIFF":
            codec, tags = picture.info["compression"], picture.tag_v2
            oddity = _find_odd_tag(tags)
            if codec == "jpeg" and raw_mode == "RGB" and tags.get(262) == 6:
                oddity = ""  # the decoder of JPEG makes RGB of YCbCr
            planes = len(set(raw_modes))
            if 0 in tags.get(_EXTRA_SAMPLES, ()) and not raw_mode.endswith("X"):
                raw_mode += "X"  # planes that Pillow leaves out
        case "BMP":
            oddity = _find_odd_bmp(picture)
        case "PPM" if codec.startswith("ppm") and arguments[0][1] != 255:
            oddity = f"samples that end at {arguments[0][1]}, not at 255"
    area = sum((right - left) * (bottom - top) for left, top, right, bottom in boxes)
    if area != planes * picture.width * picture.height:
        oddity = "pixels that the file leaves out"
    return Storage(picture.format, picture.mode, codec, raw_mode, oddity)


def _find_odd_tag(tags: Mapping[int, Any]) -> str:
    for tag, (name, missing, known) in _TIFF_TAGS.items():
        values = tags.get(tag, missing)
        values = set(values if isinstance(values, tuple) else (values,))
        if not values <= known:
            return f"TIFF tag {name} is {', '.join(map(str, sorted(values)))}"
    return ""


def _find_odd_bmp(picture: Image.Image) -> str:
    picture.fp.seek(14)
    head = picture.fp.read(16)
    bits = head[10] if head[0] == 12 else head[14]
    # Pillow takes 4 bits for 8 where the palette is that of grey levels.
    return f"{bits} bits per pixel" if picture.mode == "L" and bits != 8 else ""


def _read_orientation(picture: Image.Image) -> int:
    try:
        orientation = picture.getexif().get(_ORIENTATION_TAG)
    except Exception:  # noqa: BLE001 (what no viewer can read turns no picture)
        return UPRIGHT
    return orientation if orientation in _TURN_BACK else UPRIGHT
