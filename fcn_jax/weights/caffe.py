"""Caffe's files without Caffe: `.caffemodel` networks and `.binaryproto` means.

Both are protocol buffers: a message is a row of fields, each a tag (number and wire type) and a
value, which may be a message again. Only the fields that lead to weights are looked at.

Three generations of layers are in use. The oldest (V0) wraps one message in another, V1 numbers the
layer types, V2 names them. The first two give every blob four sizes, padded with ones in front, and
so does a V2 file that was upgraded from them.

Source: BVLC/caffe src/caffe/proto/caffe.proto (NetParameter, LayerParameter, V1LayerParameter,
V0LayerParameter, BlobProto, BlobShape) and layers/batch_norm_layer.cpp; protobuf.dev, "Encoding".
"""

from collections.abc import Iterator, Sequence
from math import prod
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fcn_jax.errors import UserError
from fcn_jax.weights.axes import format_shape
from fcn_jax.weights.memory_map import map_file, view

# Wire types.
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
FIXED = {FIXED32: np.dtype("<f4"), FIXED64: np.dtype("<f8")}

# Field numbers of NetParameter.
NET_LAYERS, NET_LAYER = 2, 100


class _Form(NamedTuple):
    """The field numbers of a generation of layers; `inner` is the layer that it wraps."""

    name: int
    type: int
    blobs: int
    inner: int = 0


V2 = _Form(name=1, type=2, blobs=7)
V1 = _Form(name=4, type=5, blobs=6, inner=1)
V0 = _Form(name=1, type=2, blobs=50)

# Field numbers of BlobProto.
LEGACY_SIZES = (1, 2, 3, 4)  # num, channels, height, width
DATA, SHAPE, DOUBLE_DATA = 5, 7, 8

# The layer types whose weights have four axes even if the first two have one entry.
CONVOLUTIONS = ("Convolution", "Deconvolution", 4, 39, "conv")
# Those whose weights are vectors.
BY_CHANNEL = ("BatchNorm", "Scale", "Bias")


class _Span(NamedTuple):
    """Where in the file a message, a text or packed numbers are."""

    start: int
    stop: int


def read_caffemodel(path: str | Path) -> dict[str, list[np.ndarray]]:
    """Reads the blobs of every layer that has any: weights first, then the bias.

    Returns:
        Layer name to arrays in Caffe's shapes: (out, in / groups, height, width) for a convolution,
        (in, out / groups, height, width) for a deconvolution, (out, in) for a fully connected
        layer, (out,) for a bias. They are read-only views of the file wherever it holds them in
        one piece, of float32 or float64 as stored.
    Raises:
        UserError: The file is no caffemodel, or cut off.
    """
    try:
        return _read_net(map_file(path))
    except ValueError as error:
        raise UserError(f"{path} is not a whole caffemodel: {error}; get it again") from error


def name_blobs(blobs: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """Gives the blobs of a layer torch's kind of names.

    Returns:
        `weight`, `bias`, and further ones from `2` on. Of a batch norm, which has three, the last
        of them one number, `running_mean` and `running_var`: Caffe stores sums, and by this number
        how much they are sums of; where it is 0, both are 0.
    """
    if len(blobs) == 3 and blobs[2].size == 1 and blobs[0].size == blobs[1].size:
        mean, var, (count,) = (blob.ravel() for blob in blobs)
        share = np.float32(1 / count if count else 0)
        return {"running_mean": mean * share, "running_var": var * share}
    names = ("weight", "bias", *map(str, range(2, len(blobs))))
    return dict(zip(names, blobs, strict=False))


def read_binaryproto(path: str | Path) -> np.ndarray:
    """Reads a mean image: float32 (channels, height, width), channels in Caffe's order BGR.

    Raises:
        UserError: The file is no single blob of three axes.
    """
    try:
        buffer = map_file(path)
        blob = _read_blob(buffer, _Span(0, len(buffer)))
        shape = blob.sizes[-3:] if blob.sizes[:-3] in ((), (1,)) else ()
        if len(shape) != 3:
            raise UserError(f"its blob is {format_shape(blob.sizes)}, and not one image")
        return _shaped(blob.values, shape, "its blob").astype(np.float32)
    except ValueError as error:
        raise UserError(f"{path} is not a whole binaryproto mean: {error}") from error


def _read_net(buffer) -> dict[str, list[np.ndarray]]:
    layers: dict[str, list[np.ndarray]] = {}
    for number, value in _fields(buffer, _Span(0, len(buffer))):
        if number not in (NET_LAYERS, NET_LAYER):
            continue
        form = V2 if number == NET_LAYER else V1
        name, blobs = _read_layer(buffer, _expect(_Span, value, "a layer"), form)
        if blobs and name in layers:
            raise UserError(f"two layers with weights are called {name!r}")
        if blobs:
            layers[name] = blobs
    if not layers:
        raise UserError("it holds no layer with weights")
    return layers


def _read_layer(buffer, span: _Span, form: _Form) -> tuple[str, list[np.ndarray]]:
    name, kind, blobs = "", None, []
    for number, value in _fields(buffer, span):
        if number == form.inner:
            return _read_layer(buffer, _expect(_Span, value, "a layer"), V0)
        elif number == form.name:
            name = _text(buffer, value)
        elif number == form.type:
            kind = value if isinstance(value, int) else _text(buffer, value)
        elif number == form.blobs:
            blobs.append(_read_blob(buffer, _expect(_Span, value, f"a blob of layer {name!r}")))
    arrays = []
    for index, blob in enumerate(blobs):
        shape = blob.sizes
        if blob.legacy and shape[:2] == (1, 1) and (index > 0 or kind not in CONVOLUTIONS):
            # A matrix, or a vector for everything after it.
            is_matrix = index == 0 and kind not in BY_CHANNEL
            shape = shape[2:] if is_matrix or shape[2] > 1 else shape[3:]
        arrays.append(_shaped(blob.values, shape, f"blob {index} of layer {name!r}"))
    return name, arrays


def _shaped(values: np.ndarray, shape: tuple[int, ...], what: str) -> np.ndarray:
    if len(values) != prod(shape) or not len(values):
        raise UserError(f"{what} says it is {format_shape(shape)}, and holds {len(values)} numbers")
    return values.reshape(shape)


class _Blob(NamedTuple):
    sizes: tuple[int, ...]
    legacy: bool
    values: np.ndarray


def _read_blob(buffer, span: _Span) -> _Blob:
    legacy: dict[int, int] = {}
    sizes: list[int] = []
    pieces: dict[int, list[np.ndarray]] = {DATA: [], DOUBLE_DATA: []}
    for number, value in _fields(buffer, span):
        if number in LEGACY_SIZES:
            legacy[number] = _size(value)
        elif number == SHAPE:
            sizes += _read_shape(buffer, _expect(_Span, value, "a blob's shape"))
        elif number in pieces:
            dtype = FIXED[FIXED32 if number == DATA else FIXED64]
            pieces[number].append(_numbers(buffer, value, dtype))
    data = pieces[DOUBLE_DATA] or pieces[DATA]
    values = data[0] if len(data) == 1 else np.concatenate([np.empty(0, "<f4"), *data])
    if legacy:
        return _Blob(tuple(legacy.get(number, 0) for number in LEGACY_SIZES), True, values)
    return _Blob(tuple(sizes), False, values)


def _read_shape(buffer, span: _Span) -> list[int]:
    sizes = []
    for number, value in _fields(buffer, span):
        if number == 1 and isinstance(value, _Span):
            position = value.start
            while position < value.stop:
                size, position = _varint(buffer, position, value.stop)
                sizes.append(_size(size))
        elif number == 1:
            sizes.append(_size(value))
    return sizes


def _numbers(buffer, value, dtype: np.dtype) -> np.ndarray:
    """Returns packed numbers, or a run of unpacked ones, as a view."""
    if isinstance(value, _Span):
        count, rest = divmod(value.stop - value.start, dtype.itemsize)
        if rest:
            raise UserError(f"byte {value.start}: a broken row of numbers")
        return view(buffer, dtype, value.start, count)
    if _expect(np.ndarray, value, "numbers").dtype != dtype:
        raise UserError("a blob's numbers are of the wrong width")
    return value


def _fields(buffer, span: _Span) -> Iterator[tuple[int, int | _Span | np.ndarray]]:
    """Yields the number and the value of every field of a message.

    Numbers of fixed width come as an array, all that follow each other under one tag together.
    """
    position = span.start
    while position < span.stop:
        begin = position
        tag, position = _varint(buffer, position, span.stop)
        number, wire = tag >> 3, tag & 7
        if number == 0:
            raise UserError(f"byte {begin}: field number 0")
        if wire == VARINT:
            value, position = _varint(buffer, position, span.stop)
        elif wire == BYTES:
            length, position = _varint(buffer, position, span.stop)
            if length > span.stop - position:
                raise UserError(
                    f"byte {position}: {length} bytes should follow, {span.stop - position} do"
                )
            value = _Span(position, position + length)
            position += length
        elif wire in FIXED:
            value = _run(buffer, _Span(begin, span.stop), position - begin, FIXED[wire])
            position = begin + len(value) * (position - begin + FIXED[wire].itemsize)
        else:
            raise UserError(f"byte {begin}: wire type {wire}")
        yield number, value


def _run(buffer, span: _Span, tag_bytes: int, dtype: np.dtype) -> np.ndarray:
    """Returns the numbers from `span.start` on, each behind a tag, as long as the tags are one."""
    record = np.dtype([("tag", f"V{tag_bytes}"), ("value", dtype)])
    count = (span.stop - span.start) // record.itemsize
    if count == 0:
        raise UserError(f"byte {span.start}: a number is cut off")
    records = view(buffer, record, span.start, count)
    length, step = 1, 16
    while length < count:
        same = records["tag"][length : length + step] == records["tag"][0]
        if not same.all():
            length += int(same.argmin())
            break
        length += len(same)
        step *= 2  # a run costs its own length, however much follows it
    return records["value"][:length]


def _varint(buffer, position: int, stop: int) -> tuple[int, int]:
    """Returns an integer of 7 bits a byte, lowest first, and the position after it."""
    value = 0
    for index in range(10):
        if position >= stop:
            raise UserError(f"byte {position}: the end, in the middle of a number")
        byte = buffer[position]
        position += 1
        value |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            return value, position
    raise UserError(f"byte {position}: an integer of more than 10 bytes")


def _size(value) -> int:
    if _expect(int, value, "a size of a blob") >= 2**31:
        raise UserError(f"a size of a blob is {value}")
    return value


def _text(buffer, value) -> str:
    span = _expect(_Span, value, "a name")
    return buffer[span.start : span.stop].decode()


def _expect(kind, value, what: str):
    if isinstance(value, kind):
        return value
    raise UserError(f"{what} has another type than in Caffe's files")
