"""Writers of picture files, so that tests know what was written without the library that reads it.

Samples are arrays [h, w, bands] of whole numbers, in the bits that the file stores.
"""

import itertools
import struct
import zlib

import numpy as np


def pack(samples: np.ndarray, bits: int, *, order: str = ">") -> list[bytes]:
    """Returns the bytes of each row: samples of 1 to 32 bits, most significant bit first."""
    rows = samples.reshape(len(samples), -1)
    if bits >= 8:
        return [row.astype(f"{order}u{bits // 8}").tobytes() for row in rows]
    shifts = np.arange(bits)[::-1]
    return [np.packbits((row[:, None] >> shifts & 1).astype(np.uint8)).tobytes() for row in rows]


def png(
    samples: np.ndarray,
    bits: int,
    *,
    palette: bytes = b"",
    before: dict[bytes, bytes] | None = None,
) -> bytes:
    """Colour type 0, 4, 2 or 6 by the number of bands; 3 with a palette; other chunks by name."""

    def chunk(kind, data):
        crc = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)

    height, width, bands = samples.shape
    kind = 3 if palette else {1: 0, 2: 4, 3: 2, 4: 6}[bands]
    chunks = {b"IHDR": struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0)}
    chunks |= {b"PLTE": palette} if palette else {}
    chunks |= before or {}
    chunks[b"IDAT"] = zlib.compress(b"".join(b"\0" + row for row in pack(samples, bits)))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        itertools.starmap(chunk, [*chunks.items(), (b"IEND", b"")])
    )


def exif(orientation: int) -> bytes:
    """EXIF data, which is a TIFF without a picture."""
    return b"II*\0" + struct.pack("<IHHHIII", 8, 1, 0x0112, 3, 1, orientation, 0)


def _packbits(data: bytes) -> bytes:
    runs = [data[start : start + 128] for start in range(0, len(data), 128)]
    return b"".join(bytes([len(run) - 1]) + run for run in runs)


def _lzw(data: bytes) -> bytes:
    """The LZW of TIFF with codes of 9 bits: the table is cleared before it would need more."""
    codes = []
    for start in range(0, len(data), 250):
        codes += [256, *data[start : start + 250]]
    bits = "".join(f"{code:09b}" for code in [*codes, 257])
    return int(bits.ljust(-len(bits) % 8 + len(bits), "0"), 2).to_bytes(-(-len(bits) // 8), "big")


TIFF_COMPRESSIONS = {1: bytes, 5: _lzw, 8: zlib.compress, 32946: zlib.compress, 32773: _packbits}


def tiff(
    samples: np.ndarray,
    bits: int,
    *,
    photometric: int,
    order: str = "<",
    compression: int = 1,
    planar: int = 1,
    tile: int = 0,
    tags: dict[int, list[int]] | None = None,
    more: int = 0,
) -> bytes:
    """A TIFF in strips of two rows, or in square tiles, with further pages like it."""
    height, width, bands = samples.shape
    squeeze = TIFF_COMPRESSIONS[compression]
    planes = np.split(samples, bands, axis=2) if planar == 2 else [samples]
    blocks = []
    for plane in planes:
        if tile:
            plane = np.pad(plane, ((0, -height % tile), (0, -width % tile), (0, 0)))
            for y, x in itertools.product(
                range(0, len(plane), tile), range(0, plane.shape[1], tile)
            ):
                blocks.append(plane[y : y + tile, x : x + tile])
        else:
            blocks += [plane[y : y + 2] for y in range(0, height, 2)]
    data = [squeeze(b"".join(pack(block, bits, order=order))) for block in blocks]
    if tags and tags.get(266) == [2]:  # the least significant bit comes first
        reversal = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
        data = [each.translate(reversal) for each in data]
    file = bytearray(b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
    entries = {
        256: [width],
        257: [height],
        258: [bits] * bands,
        259: [compression],
        262: [photometric],
        277: [bands],
        284: [planar],
    }
    offsets, counts = (324, 325) if tile else (273, 279)
    entries |= {322: [tile], 323: [tile]} if tile else {278: [2]}
    entries |= {offsets: [0] * len(data), counts: [len(each) for each in data]}
    entries |= tags or {}
    for page in range(1 + more):
        start = len(file)
        where = start + len(_directory(entries, order, start, 0))
        ends = list(itertools.accumulate(map(len, data)))
        entries[offsets] = [where + end - len(each) for each, end in zip(data, ends, strict=True)]
        following = where + ends[-1] if page < more else 0
        file += _directory(entries, order, start, following) + b"".join(data)
    return bytes(file)


def _directory(entries: dict[int, list[int]], order: str, start: int, following: int) -> bytes:
    after = start + 2 + 12 * len(entries) + 4
    fields = values = b""
    for tag, numbers in sorted(entries.items()):
        kind = 4 if tag in (273, 279, 324, 325) else 3
        packed = struct.pack(f"{order}{len(numbers)}{'I' if kind == 4 else 'H'}", *numbers)
        if len(packed) > 4:
            place, values = after + len(values), values + packed
            packed = struct.pack(order + "I", place)
        fields += struct.pack(order + "HHI", tag, kind, len(numbers)) + packed.ljust(4, b"\0")
    return (
        struct.pack(order + "H", len(entries))
        + fields
        + struct.pack(order + "I", following)
        + values
    )


def _rle(row: np.ndarray, bits: int) -> bytes:
    if bits == 8:
        return b"".join(bytes([1, value]) for value in row) + b"\0\0"
    pairs = [(row[i], row[i + 1] if i + 1 < len(row) else 0) for i in range(0, len(row), 2)]
    counts = [min(2, len(row) - i) for i in range(0, len(row), 2)]
    return (
        b"".join(bytes([n, a << 4 | b]) for n, (a, b) in zip(counts, pairs, strict=True)) + b"\0\0"
    )


def bmp(
    samples: np.ndarray,
    bits: int,
    *,
    palette: bytes = b"",
    rle: bool = False,
    top_down: bool = False,
    masks: tuple[int, ...] = (),
) -> bytes:
    """A BMP of palette numbers, or of samples in the order of the file (blue, green, red)."""
    height, width = samples.shape[:2]
    if bits == 16:
        rows = [row.astype("<u2").tobytes() for row in samples]
    else:
        rows = pack(samples, min(bits, 8))
    rows = [row.ljust(-(-len(row) // 4) * 4, b"\0") for row in rows]
    if not top_down:
        rows.reverse()
        samples = samples[::-1]
    data = b"".join(rows)
    if rle:
        data = b"".join(_rle(row, bits) for row in samples[:, :, 0]) + b"\0\1"
    colors = b"".join(palette[i : i + 3][::-1] + b"\0" for i in range(0, len(palette), 3))
    extra = struct.pack(f"<{len(masks)}I", *masks)
    compression = {8: 1, 4: 2}[bits] if rle else 3 if masks else 0
    info = struct.pack(
        "<IiiHHIIiiII",
        *(40, width, -height if top_down else height, 1, bits, compression),
        *(len(data), 0, 0, len(palette) // 3, 0),
    )
    offset = 14 + len(info) + len(extra) + len(colors)
    head = b"BM" + struct.pack("<IHHI", offset + len(data), 0, 0, offset)
    return head + info + extra + colors + data


def pnm(samples: np.ndarray, *, maxval: int, plain: bool) -> bytes:
    """PGM or PPM by the number of bands; PBM with a `maxval` of 1."""
    height, width, bands = samples.shape
    kind = (1 if maxval == 1 else 2 if bands == 1 else 3) + 3 * (not plain)
    head = f"P{kind}\n{width} {height}\n" + (f"{maxval}\n" if maxval > 1 else "")
    if plain:
        return (head + "\n".join(map(str, samples.ravel()))).encode() + b"\n"
    bits = 1 if maxval == 1 else 8 if maxval < 256 else 16
    return head.encode() + b"".join(pack(samples, bits))


def tga(
    samples: np.ndarray, *, palette: bytes = b"", rle: bool = False, corner: int = 0x20
) -> bytes:
    """A TGA of palette numbers or grey levels, or blue, green, red; rows from a corner."""
    height, width, bands = samples.shape
    kind = (1 if palette else 3 if bands < 3 else 2) + 8 * rle
    head = struct.pack(
        "<BBBHHBHHHHBB",
        *(0, bool(palette), kind, 0, len(palette) // 3, 24 if palette else 0),
        *(0, 0, width, height, 8 * bands, corner),
    )
    if not corner & 0x20:
        samples = samples[::-1]
    if corner & 0x10:
        samples = samples[:, ::-1]
    data = samples.astype(np.uint8).tobytes()
    if rle:
        data = b"".join(
            b"\0" + pixel.astype(np.uint8).tobytes() for pixel in samples.reshape(-1, bands)
        )
    colors = b"".join(palette[i : i + 3][::-1] for i in range(0, len(palette), 3))
    return head + colors + data
