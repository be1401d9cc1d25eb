"""Arrays of numbers in MATLAB files of versions 4 to 7, read strictly: what does not fit is damage.

A file of versions 5 to 7 is a row of elements: a tag with type and size, that many bytes, and
padding to 8 bytes. A matrix is an element that holds elements: flags, dimensions, a name, and then
numbers, or the matrices of its fields. A compressed element holds one matrix. No element may reach
beyond the one that holds it, and the sizes of numbers and dimensions must agree.

zlib's checksum guards what is compressed. Nothing guards the rest: a byte that changed among
numbers that are not compressed is another number, for every reader.

Source: MathWorks, "MAT-File Format".
"""

import math
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Shaped

from fcn_jax.data.files.problems import Problem, name_some

_HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_HDF5_STARTS = (0, 512)  # MATLAB puts 512 bytes of its own in front
_HEAD = 128  # bytes before the first element

# Types of elements.
_INT8, _INT32, _UINT32, _MATRIX, _COMPRESSED = 1, 5, 6, 14, 15
_DTYPES = {
    1: "i1",
    2: "u1",
    3: "i2",
    4: "u2",
    5: "i4",
    6: "u4",
    7: "f4",
    9: "f8",
    12: "i8",
    13: "u8",
}
# Classes of matrices; other classes need not have dimensions and a name.
_CELLS, _STRUCT, _OBJECT, _TEXT, _SPARSE = range(1, 6)
_NUMBERS = dict(enumerate(("f8", "f4", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8"), start=6))
_CLASS_NAMES = {_CELLS: "cells", _STRUCT: "structs", _OBJECT: "objects", _TEXT: "text"}
_CLASS_NAMES |= {_SPARSE: "sparse"}
_COMPLEX = 8  # a flag

_DTYPES_4 = ("f8", "f4", "i4", "i2", "u2", "u1")


class _Matrix(NamedTuple):
    name: str
    kind: int  # its class
    is_complex: bool
    shape: tuple[int, ...]
    parts: list[tuple[int, memoryview]]  # elements after the name


class _OtherKind(Exception):
    """The file is whole, and does not hold what is wanted."""


def read_mat_array(path: Path, variable: str) -> Shaped[np.ndarray, "..."]:
    """Reads the array of numbers that a variable holds.

    Args:
        path: Where the file is.
        variable: Name of the variable, or "name.field" for a field of a struct.

    Raises:
        Problem: For a file that is damaged, or holds no such array of real numbers.
    """
    try:
        data = path.read_bytes()
        if any(data.startswith(_HDF5_SIGNATURE, start) for start in _HDF5_STARTS):
            raise Problem(
                f"{path}: this is a MATLAB 7.3 file (HDF5), which is not read; load it in MATLAB "
                "and save it again with the option '-v7'",
                kind="MATLAB 7.3 file",
            )
        order = {b"\0\1IM": "<", b"\1\0MI": ">"}.get(data[_HEAD - 4 : _HEAD])
        if order:
            return _read_5(memoryview(data)[_HEAD:], order, variable)
        return _read_4(data, variable)
    except (FileNotFoundError, Problem):
        raise
    except _OtherKind as error:
        reason, kind = str(error), "MATLAB file of another kind"
    except (ValueError, OSError, struct.error, zlib.error) as error:
        reason, kind = f"damaged: {error}", "unreadable or damaged file"
    raise Problem(
        f"{path}: cannot read {variable} from this file ({reason}); take the file from its "
        f"source again, or save {variable} in MATLAB with the option '-v7'",
        kind=kind,
    )


# --- versions 5 to 7 ---------------------------------------------------------------------------


def _read_5(data: memoryview, order: str, variable: str) -> Shaped[np.ndarray, "..."]:
    name, *fields = variable.split(".")
    matrices = {}
    for kind, content in _split(data, order):
        if kind == _COMPRESSED:
            ((kind, content),) = _split(_inflate(content), order)
        matrix = _read_matrix(kind, content, order)
        matrices[matrix.name] = matrix
    matrix = _pick(name, matrices)
    for field in fields:
        matrix = _pick(field, _read_fields(matrix, order))
    if matrix.kind not in _NUMBERS or matrix.is_complex:
        held = "complex" if matrix.is_complex else _CLASS_NAMES.get(matrix.kind, "functions")
        raise _OtherKind(f"it is no array of numbers, but {held}")
    (numbers,) = matrix.parts
    array = _to_array(*numbers, matrix.shape, order)
    # MATLAB stores numbers in fewer bytes than their class has, if they fit.
    with np.errstate(invalid="ignore"):
        in_class = array.astype(_NUMBERS[matrix.kind])
    if not np.array_equal(in_class, array, equal_nan=True):
        raise ValueError("numbers that their class does not have")
    return array


def _split(data: memoryview, order: str) -> Iterator[tuple[int, memoryview]]:
    """Yields type and content of each element; the padding of the last may be missing."""
    start = 0
    while start < len(data):
        kind, size = struct.unpack_from(order + "II", data, start)
        begin, end, step = start + 8, len(data), 8
        if kind >> 16:  # up to four bytes lie within the tag
            kind, size = kind & 0xFFFF, kind >> 16
            begin, end, step = start + 4, start + 8, 4
        if begin + size > end:
            raise ValueError(f"an element of {size} bytes where {end - begin} are left")
        yield kind, data[begin : begin + size]
        start = begin + size + (0 if kind == _COMPRESSED else -size % step)


def _inflate(content: memoryview) -> memoryview:
    stream = zlib.decompressobj()
    inflated = stream.decompress(content)
    if not stream.eof:  # where the checksum would be
        raise ValueError("compressed bytes end too early")
    return memoryview(inflated)


def _read_matrix(kind: int, content: memoryview, order: str) -> _Matrix:
    if kind != _MATRIX:
        raise ValueError(f"an element of type {kind} in place of a matrix")
    if not content:  # an empty field
        return _Matrix("", 6, False, (0, 0), [(9, content)])
    (kind, flags), *parts = _split(content, order)
    if kind != _UINT32 or len(flags) != 8:
        raise ValueError("a matrix without flags")
    (flags,) = struct.unpack_from(order + "I", flags)
    is_complex = bool(flags >> 8 & _COMPLEX)
    if flags & 0xFF not in _CLASS_NAMES.keys() | _NUMBERS.keys():
        return _Matrix("", flags & 0xFF, is_complex, (), parts)
    (kind, dimensions), (name_kind, name), *parts = parts
    if kind != _INT32 or name_kind != _INT8 or len(dimensions) < 8:
        raise ValueError("a matrix without dimensions or name")
    shape = tuple(np.frombuffer(dimensions, order + "i4").tolist())
    return _Matrix(bytes(name).decode("latin-1"), flags & 0xFF, is_complex, shape, parts)


def _read_fields(matrix: _Matrix, order: str) -> dict[str, _Matrix]:
    if matrix.kind != _STRUCT or math.prod(matrix.shape) != 1:
        held = _CLASS_NAMES.get(matrix.kind, "numbers")
        raise _OtherKind(f"{matrix.name} is no struct, but {matrix.shape} {held}")
    (kind, length), (name_kind, names), *values = matrix.parts
    if (kind, name_kind, len(length)) != (_INT32, _INT8, 4):
        raise ValueError("a struct without names of fields")
    (step,) = struct.unpack(order + "i", length)
    if step < 1 or len(names) != step * len(values):
        raise ValueError(f"{len(values)} fields with names of {len(names)} bytes")
    keys = [bytes(names[start : start + step]) for start in range(0, len(names), step)]
    fields = (_read_matrix(*value, order) for value in values)
    return {
        key.partition(b"\0")[0].decode("latin-1"): field
        for key, field in zip(keys, fields, strict=True)
    }


def _pick(name: str, matrices: dict[str, Any]) -> Any:
    if name not in matrices:
        names = [ascii(other)[1:-1] for other in matrices if other]
        raise _OtherKind(f"the file holds {name_some(names) if names else 'nothing'}")
    return matrices[name]


def _to_array(
    kind: int, content: memoryview, shape: tuple[int, ...], order: str
) -> Shaped[np.ndarray, "..."]:
    dtype = np.dtype(order + _DTYPES[kind]) if kind in _DTYPES else None
    if not dtype or min(shape) < 0 or len(content) != dtype.itemsize * math.prod(shape):
        raise ValueError(f"{len(content)} bytes of type {kind} for numbers of shape {shape}")
    return np.frombuffer(content, dtype).reshape(shape, order="F")


# --- version 4 ---------------------------------------------------------------------------------


def _read_4(data: bytes, variable: str) -> Shaped[np.ndarray, "..."]:
    """Reads an array from a row of arrays: five numbers about it, its name, and its numbers."""
    matrices, start = {}, 0
    while start < len(data):
        (code,) = struct.unpack_from("<I", data, start)
        order, first_code = ("<", 0) if code < 100 else (">", 1000)
        code, rows, columns, is_complex, length = struct.unpack_from(order + "5I", data, start)
        dtype, kind = divmod(code - first_code, 10)
        if dtype not in range(len(_DTYPES_4)) or kind > 2 or is_complex > 1:
            raise ValueError("this is not the head of a MATLAB file")
        dtype = np.dtype(order + _DTYPES_4[dtype])
        begin = start + 20 + length
        name = data[start + 20 : begin].partition(b"\0")[0].decode("latin-1")
        start = begin + rows * columns * (1 + is_complex) * dtype.itemsize
        if start > len(data):
            raise ValueError(f"an array that ends at byte {start} of {len(data)}")
        matrices[name] = (data[begin:start], dtype, (rows, columns), kind or is_complex)
    numbers, dtype, shape, is_other = _pick(variable, matrices)
    if is_other:
        raise _OtherKind("it is no array of numbers, but text, sparse or complex")
    return np.frombuffer(numbers, dtype).reshape(shape, order="F")
