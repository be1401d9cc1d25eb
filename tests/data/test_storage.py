"""A picture in every way to store it: it is read as it was written, or refused by name.

The law goes over a table of formats, bits, bands, compressions, colour spaces and orientations,
most of them written without Pillow. A second test names those that must be read.
"""

import contextlib
import io
import itertools
import re
import struct
import subprocess
import sys
import warnings
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from fcn_jax.data.files.pictures import read_image_file, read_label_file
from fcn_jax.data.files.problems import Problem

from .picture_writers import TIFF_COMPRESSIONS, bmp, exif, png, pnm, tga, tiff

SIZE = HEIGHT, WIDTH = 5, 19
COLORS = {(0, 0, 0): 0, (128, 0, 0): 1, (0, 128, 0): 2, (224, 224, 192): 255}
LABEL = np.random.default_rng(0).choice(list(COLORS.values()), SIZE)
COLOUR_LABEL = np.array([{v: c for c, v in COLORS.items()}[n] for n in LABEL.ravel()], int)
COLOUR_LABEL = COLOUR_LABEL.reshape(*SIZE, 3)
PALETTE = np.random.default_rng(1).permutation(256 * 3)[: 256 * 3].reshape(256, 3) % 251
SMOOTH = np.stack(np.broadcast_arrays(*np.ogrid[40:60:5j, 90:180:19j], 99), -1).astype(int)


class Case(NamedTuple):
    """A file, and what a reader may take it for; None where only a refusal is right."""

    data: bytes
    label: np.ndarray | None
    image: np.ndarray | None
    orientation: int = 1
    atol: int = 0  # of images that are stored with loss


def samples(bits, bands):
    """Numbers that use all bits, or the colours of classes."""
    if bands == 3 and bits == 8:
        return COLOUR_LABEL
    rng = np.random.default_rng(bits + bands)
    return rng.integers(0, 2**bits, (*SIZE, bands))


def shown(array, bits):
    """Grey levels or colours as a viewer shows them, from 0 to 255."""
    image = np.round(array * (255 / (2**bits - 1))).astype(int)
    return np.broadcast_to(image, (*SIZE, 3)) if image.shape[2] == 1 else image[:, :, :3]


def meaning(array, bits):
    """Label and image of grey levels, or of colours."""
    if array.shape[2] == 1:
        return array[:, :, 0], shown(array, bits)
    is_label = array.shape[2] == 3 and bits == 8
    return LABEL if is_label else None, shown(array, bits) if array.shape[2] > 2 else None


def palettes(bits):
    """Yields palettes of `bits`, and whether the label is clear."""
    number = 2**bits
    grey = np.arange(number)[:, None].repeat(3, axis=1)
    yield "colours", PALETTE[:number], True
    yield "equal greys", grey, True
    yield "other greys", grey[::-1], False
    yield "spread greys", grey * (255 // (number - 1)), bits == 8


def make_png():
    for bits, bands in [
        *itertools.product((1, 2, 4), (1,)),
        *itertools.product((8, 16), (1, 2, 3, 4)),
    ]:
        array = samples(bits, bands)
        yield f"{bands}x{bits}", Case(png(array, bits), *meaning(array, bits))
        if bands in (1, 3):
            chunks = {b"tRNS": b"\0\1" * bands}
            yield (
                f"{bands}x{bits} tRNS",
                Case(png(array, bits, before=chunks), *meaning(array, bits)),
            )
    for bits in (1, 2, 4, 8):
        array = samples(bits, 1)
        for name, palette, clear in palettes(bits):
            for chunks in ({}, {b"tRNS": b"\0\x80"}):
                data = png(array, bits, palette=palette.astype(np.uint8).tobytes(), before=chunks)
                label = array[:, :, 0] if clear else None
                yield (
                    f"palette of {name} x{bits} {'tRNS' * bool(chunks)}",
                    Case(data, label, palette[array[:, :, 0]]),
                )
    for bands, orientation in itertools.product((1, 3), range(1, 9)):
        array = samples(8, bands)
        data = png(array, 8, before={b"eXIf": exif(orientation)})
        yield f"{bands}x8 orientation {orientation}", Case(data, *meaning(array, 8), orientation)


# photometric interpretation: numbers of bands besides, by meaning of the extra samples
TIFF_BANDS = {
    (0, 1): [()],
    (1, 1): [(), (0,), (1,), (2,)],
    (2, 3): [(), (0,), (1,), (2,), (0, 0), (2, 0)],
    (3, 1): [()],
    (5, 4): [(), (0,)],
    (6, 3): [()],
    (8, 3): [()],
}


def make_tiff_case(photometric, bands, extra, bits, *, tags=None, orientation=1, **options):
    array = samples(bits, bands)
    color_map = PALETTE[: 2**bits] if bits <= 8 else PALETTE
    written = np.concatenate([array, *[samples(bits, 1) for _ in extra]], axis=2)
    label, image = meaning(array, bits)
    tags = dict(tags or {})
    if extra:
        tags[338] = list(extra)
    if orientation != 1:
        tags[274] = [orientation]
    if photometric == 3:
        tags[320] = (color_map.T.ravel() * 257).tolist()
        image = color_map[array[:, :, 0]] if bits <= 8 else None
    if photometric == 0:
        image = 255 - image
    if photometric in (5, 6, 8) or 1 in extra:
        label = image = None
    if extra:
        label = None
    data = tiff(written, bits, photometric=photometric, tags=tags, **options)
    return Case(data, label, image, orientation)


def make_tiff():
    kinds = [(*kind, extra) for kind, extras in TIFF_BANDS.items() for extra in extras]
    for (photometric, bands, extra), bits, order in itertools.product(
        kinds, (1, 2, 4, 8, 16, 32), "<>"
    ):
        several = bands + len(extra) > 1
        if several and bits not in (8, 16):
            continue  # no reader opens them
        planes = (1, 2) if several else (1,)
        for compression, planar in itertools.product(TIFF_COMPRESSIONS, planes):
            for tile in (0, 16) if order == "<" and bits == 8 else (0,):
                name = f"photometric {photometric} {bands}+{extra} x{bits} {order} compression "
                name += f"{compression} planar {planar} tile {tile}"
                yield name, make_tiff_case(
                    photometric, bands, extra, bits,
                    order=order, compression=compression, planar=planar, tile=tile,
                )  # fmt: skip
    for photometric, bands in ((0, 1), (1, 1), (2, 3), (3, 1)):
        for compression, orientation in itertools.product((1, 5), range(2, 9)):
            name = f"photometric {photometric} {bands}x8 compression {compression} "
            yield (
                name + f"orientation {orientation}",
                make_tiff_case(
                    photometric, bands, (), 8, compression=compression, orientation=orientation
                ),
            )
        for compression, order in itertools.product((1, 5, 8), (1, 2)):
            yield (
                f"photometric {photometric} {bands}x8 compression {compression} fill {order}",
                make_tiff_case(
                    photometric, bands, (), 8, compression=compression, tags={266: [order]}
                ),
            )
            case = make_tiff_case(
                photometric, bands, (), 8, compression=compression, tags={339: [1 + order] * bands}
            )
            yield (
                f"photometric {photometric} {bands}x8 compression {compression} format {1 + order}",
                case._replace(label=None, image=None),
            )
    for compression in (1, 5):  # strips for 6 rows
        case = make_tiff_case(1, 1, (), 8, compression=compression, tags={257: [9]})
        yield f"rows left out compression {compression}", case._replace(label=None, image=None)
    case = make_tiff_case(1, 1, (), 8, more=1)
    yield "two pages", case._replace(label=None, image=None)


def make_bmp():
    for bits, top_down in itertools.product((1, 4, 8), (False, True)):
        array = samples(bits, 1)
        for (name, palette, clear), rle in itertools.product(palettes(bits), (False, True)):
            if bits == 1 and rle:
                continue
            flat = palette.astype(np.uint8).tobytes()
            data = bmp(array, bits, palette=flat, rle=rle, top_down=top_down)
            label = array[:, :, 0] if clear else None
            yield (
                f"{name} x{bits} {'RLE' * rle} {'down' if top_down else 'up'}",
                Case(data, label, palette[array[:, :, 0]]),
            )
    narrow, greys = samples(4, 1)[:, :4], bytes(np.arange(16).repeat(3).tolist())
    label = narrow[:, :, 0]
    yield "narrow x4", Case(bmp(narrow, 4, palette=greys), label, narrow.repeat(3, axis=2))
    colours, alpha = samples(8, 3), samples(8, 1)
    bgr = colours[:, :, ::-1]
    yield "3x8", Case(bmp(bgr, 24), LABEL, colours)
    bgra = np.concatenate([bgr, alpha], axis=2)
    yield "4x8", Case(bmp(bgra, 32), LABEL, colours)
    masks = 0xFF0000, 0xFF00, 0xFF
    yield "4x8 masks", Case(bmp(bgra, 32, masks=masks), LABEL, colours)
    yield "16 bits", Case(bmp(samples(16, 1)[:, :, 0], 16), None, None)
    masks = 0xF800, 0x7E0, 0x1F
    yield "16 bits masks", Case(bmp(samples(16, 1)[:, :, 0], 16, masks=masks), None, None)


def make_pnm():
    for plain, bands, maxval in itertools.product(
        (False, True), (1, 3), (1, 15, 200, 255, 1000, 65535)
    ):
        if maxval == 1 and bands == 3:
            continue
        array = np.random.default_rng(0).integers(0, maxval + 1, (*SIZE, bands))
        if bands == 3 and maxval == 255:
            array = COLOUR_LABEL
        label, image = meaning(array, 8)
        if maxval != 255:
            image = np.broadcast_to(np.round(array * (255 / maxval)), (*SIZE, 3))
        if maxval == 1:
            image = 255 - image
        if bands == 3 and maxval != 255:
            label = None
        yield (
            f"{bands} to {maxval} {'plain' * plain}",
            Case(pnm(array, maxval=maxval, plain=plain), label, image),
        )


def make_tga():
    colours = samples(8, 3)
    bgra = np.concatenate([colours[:, :, ::-1], samples(8, 1)], axis=2)
    for rle, corner in itertools.product((False, True), (0, 0x10, 0x20, 0x30)):
        name = f"{'RLE' * rle} corner {corner}"
        options = {"rle": rle, "corner": corner}
        grey = samples(8, 1)
        yield f"1x8 {name}", Case(tga(grey, **options), *meaning(grey, 8))
        yield f"2x8 {name}", Case(tga(samples(8, 2), **options), None, None)
        yield f"3x8 {name}", Case(tga(bgra[:, :, :3], **options), LABEL, colours)
        yield f"4x8 {name}", Case(tga(bgra, **options), None, colours)
        flat = PALETTE.astype(np.uint8).tobytes()
        case = Case(tga(grey, palette=flat, **options), grey[:, :, 0], PALETTE[grey[:, :, 0]])
        yield f"palette {name}", case


def saved(mode, name, array=SMOOTH, **options):
    """What only Pillow writes."""
    stream = io.BytesIO()
    Image.fromarray(array.astype(np.uint8)).convert(mode).save(stream, name, **options)
    return stream.getvalue()


def make_others():
    data = saved("L", "GIF", LABEL)
    yield "partial GIF", Case(data[:6] + b"\x40\0\x40\0" + data[10:], None, None)
    grey = np.broadcast_to(SMOOTH[:, :, 1:2], (*SIZE, 3))
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        for name in ("JPEG", "WEBP", "MPO"):
            options = {"save_all": True, "append_images": [Image.new("RGB", (9, 9))]}
            data = saved("RGB", name, quality=95, exif=exif, **(options if name == "MPO" else {}))
            yield f"{name} 3x8 orientation {orientation}", Case(data, None, SMOOTH, orientation, 8)
    yield "JPEG 1x8", Case(saved("L", "JPEG", SMOOTH[:, :, 1], quality=95), None, grey, atol=8)
    yield "JPEG 4x8", Case(saved("CMYK", "JPEG"), None, None)
    yield (
        "WEBP lossless 3x8",
        Case(saved("RGB", "WEBP", COLOUR_LABEL, lossless=True), LABEL, COLOUR_LABEL),
    )
    yield "WEBP lossless 4x8", Case(saved("RGBA", "WEBP", lossless=True), None, SMOOTH)
    for mode in ("L", "RGB", "YCbCr"):
        array, image = (SMOOTH[:, :, 1], grey) if mode == "L" else (SMOOTH, SMOOTH)
        data = saved(mode, "TIFF", array, compression="jpeg", quality=95)
        yield f"TIFF jpeg {mode}", Case(data, None, image, atol=12)
    yield "TIFF jpeg CMYK", Case(saved("CMYK", "TIFF", compression="jpeg"), None, None)
    yield "TIFF fax", Case(saved("1", "TIFF", compression="group4"), None, None)
    for compression in ("zstd", "lzma"):
        with contextlib.suppress(OSError):  # libtiff need not have them
            data = saved("RGB", "TIFF", COLOUR_LABEL, compression=compression)
            yield f"TIFF {compression}", Case(data, LABEL, COLOUR_LABEL)
    yield "TIFF float", Case(saved("F", "TIFF"), None, None)
    yield "JPEG2000", Case(saved("RGB", "JPEG2000"), None, SMOOTH)
    yield "ICO", Case(saved("RGB", "ICO"), None, None)
    numbers = samples(8, 1)[:, :, 0]
    for name, palette, clear in palettes(8):
        for interlace in (0, 1):
            picture = Image.fromarray(numbers.astype(np.uint8))
            picture.putpalette(palette.astype(np.uint8).tobytes())
            stream = io.BytesIO()
            picture.save(stream, "GIF", interlace=interlace, optimize=False)
            yield (
                f"GIF {name} interlace {interlace}",
                Case(stream.getvalue(), numbers if clear else None, palette[numbers]),
            )


MAKERS = {
    "PNG": make_png,
    "TIFF": make_tiff,
    "BMP": make_bmp,
    "PNM": make_pnm,
    "TGA": make_tga,
    "": make_others,
}
CASES = {f"{kind} {name}".strip(): case for kind, make in MAKERS.items() for name, case in make()}


def read(data):
    """Returns what the readers of labels and of images make of bytes: a reading or a Problem."""
    results = []
    for read_file, options in ((read_label_file, {"colors": COLORS}), (read_image_file, {})):
        try:
            results.append(read_file(Path("a.pic"), data=data, **options))
        except Problem as problem:
            assert str(problem).startswith("a.pic: ")
            results.append(problem)
    return results


@pytest.fixture(scope="module")
def readings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # Pillow's, of what users cannot change
        return {name: read(case.data) for name, case in CASES.items()}


def test_every_picture_is_read_as_it_was_written_or_refused(readings):
    wrong = []
    for name, (label, image) in readings.items():
        case = CASES[name]
        for kind, reading, expected in (("label", label, case.label), ("image", image, case.image)):
            if isinstance(reading, Problem):
                continue
            found = reading.numbers if kind == "label" else reading.pixels
            if expected is None or found.shape != expected.shape:
                wrong.append(f"{kind} {name} is read as {found.shape}")
            elif (error := abs(found - expected).max()) > case.atol:
                wrong.append(f"{kind} {name} is wrong by {error}")
            elif reading.orientation != case.orientation:
                wrong.append(f"{kind} {name} has orientation {reading.orientation}")
    assert wrong == []


# Patterns of names that are read as labels, and as images.
LABELS_READ = r"""
    PNG (1|3)x8.* | PNG palette of (colours|equal greys) x\d.*
    TIFF photometric (1|2) (1|3)x8 .*(orientation \d|fill 1)
    TIFF photometric (1 1|2 3|3 1)\+\(\) x8 [<>] compression \d+ planar \d tile \d+
    BMP (colours|equal greys) x8.* | BMP 3x8
    GIF colours.* | PNM (1|3) to 255.* | TGA (1|3)x8.* | TGA palette.*
    WEBP lossless 3x8
"""
IMAGES_READ = (
    LABELS_READ
    + r"""
    PNG 1x(2|4).* | PNG 4x8.* | PNG palette.*
    JPEG (1|3)x8.* | MPO.* | WEBP.* | BMP (colours|other greys) x\d.* | BMP 4x8.* | GIF.*
    TGA 4x8.*
    TIFF photometric (0|1) 1\+\(\) x8 .* | TIFF jpeg (L|RGB|YCbCr)
    TIFF photometric 2 3\+\((2|0),\) x8 .* planar 1 .*
"""
)


@pytest.mark.parametrize(("which", "patterns"), [(0, LABELS_READ), (1, IMAGES_READ)])
def test_common_pictures_are_read(readings, which, patterns):
    refused = []
    for line in re.split(r" \| |\n", patterns):
        if pattern := line.strip():
            names = [name for name in CASES if re.fullmatch(pattern, name)]
            assert names, pattern
            refused += [name for name in names if isinstance(readings[name][which], Problem)]
    assert refused == []


def test_table_is_long_and_much_of_it_is_refused_and_much_read(readings):
    for which, least in ((0, 200), (1, 300)):
        read = sum(not isinstance(results[which], Problem) for results in readings.values())
        assert least < read < len(readings) - least


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("JPEG 1x8", "JPEG"),
        ("MPO 3x8 orientation 1", "JPEG"),
        ("TIFF jpeg L", "JPEG"),
        ("WEBP 3x8 orientation 1", "WEBP"),
    ],
)
def test_lossy_label_is_refused_for_that(readings, name, kind):
    assert readings[name][0].kind == f"label that is a {kind}"


# --- palettes of greys ------------------------------------------------------------------------


def palette_png(array, *colors):
    flat = np.array(colors, np.uint8).tobytes()
    return png(np.array(array)[:, :, None], 8, palette=flat)


BLACK, WHITE, GREY_7 = (0, 0, 0), (255, 255, 255), (7, 7, 7)
RED = (128, 0, 0)


@pytest.mark.parametrize(
    "data",
    [
        palette_png([[0, 1]], GREY_7, BLACK),  # a mask of 7 and 0
        palette_png([[0, 1]], BLACK, GREY_7),
        palette_png([[0, 1]], BLACK, WHITE),
        palette_png([[0, 0]], GREY_7),
    ],
)
def test_palette_of_greys_that_are_not_the_numbers_is_refused(data):
    with pytest.raises(
        Problem, match=r"a\.png: number . is shown as grey level .*\.convert\('L'\)"
    ):
        read_label_file(Path("a.png"), data=data)


@pytest.mark.parametrize(
    ("data", "colors"),
    [
        (palette_png([[0, 1]], BLACK, (1, 1, 1)), {}),  # level and number agree
        (palette_png([[0, 1]], BLACK, BLACK, GREY_7), {}),  # nobody set the colours of 0 and 1
        (palette_png([[0, 1]], RED, BLACK, BLACK), {}),  # not greys alone
        (palette_png([[0, 1]], BLACK, GREY_7), {GREY_7: 1}),  # the classes have these greys
    ],
)
def test_numbers_count_in_a_palette_that_leaves_no_doubt(data, colors):
    label = read_label_file(Path("a.png"), data=data, colors=colors)
    np.testing.assert_array_equal(label.numbers, [[0, 1]])


def test_black_that_is_set_counts_as_the_colour_of_a_class():
    data = palette_png([[0, 1]], RED, BLACK)
    with pytest.raises(Problem, match=r"number 1 has the colour \(0, 0, 0\), which means 2"):
        read_label_file(Path("a.png"), data=data, colors={RED: 0, BLACK: 2})


# --- what the messages say --------------------------------------------------------------------


def refusal(read_file, data):
    with pytest.raises(Problem) as caught:
        read_file(Path("a.png"), data=data)
    return caught.value


@pytest.mark.parametrize("read_file", [read_image_file, read_label_file])
def test_picture_over_the_size_limit_is_not_called_damaged(read_file):
    whole = png(np.zeros((1, 1, 1), int), 8)
    ihdr = b"IHDR" + struct.pack(">II", 40_000, 10_000) + whole[24:29]
    data = whole[:12] + ihdr + struct.pack(">I", zlib.crc32(ihdr)) + whole[33:]
    problem = refusal(read_file, data)
    assert re.search(r"a\.png: .* too large .*400000000 pixels.*-crop", str(problem))
    assert problem.kind == "picture over the size limit"


def run_advice(folder, array, bits):
    """Runs the command that a refused label's message names."""
    (folder / "a.png").write_bytes(png(array[:, :, None], bits))
    with pytest.raises(Problem) as caught:
        read_label_file(folder / "a.png")
    (code,) = re.findall(r'python -c "(.*?)"', str(caught.value))
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False).stderr


@pytest.mark.parametrize("bits", [1, 2, 4, 16])
def test_refused_label_says_how_to_save_it(bits, tmp_path):
    array = np.array([[0, 1], [1, 0]])
    assert run_advice(tmp_path, array, bits) == ""
    np.testing.assert_array_equal(read_label_file(tmp_path / "a_label.png").numbers, array)


def test_numbers_that_do_not_fit_are_not_cut_by_the_command_that_saves(tmp_path):
    assert "OverflowError" in run_advice(tmp_path, np.full((1, 1), 257), 16)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            CASES["PNG 3x16"].data,
            "mode RGB is not supported .more than 8 bits per sample.; .*magick a",
        ),
        (CASES["JPEG 4x8"].data, "mode CMYK is not supported"),
        (
            CASES["JPEG2000"].data,
            "files of format JPEG2000 are not read; convert it to PNG: magick",
        ),
        (CASES["TIFF two pages"].data, r"holds 2 pictures; .*magick a\.png\[0\]"),
        (b"no picture", "Pillow knows no such format"),
    ],
)
def test_refused_image_says_what_it_is_and_how_to_convert_it(data, message):
    assert re.search(rf"a\.png: .*{message}", str(refusal(read_image_file, data)))
