"""`.pth` files without torch: state dicts of tensors, and nothing else.

Such a file is a pickle, and a pickle can call any function that it names. This reader knows the
few names that tensors need, answers each of them with something of its own, and refuses all others,
so that nothing in a file can run.

A file is a zip archive (since torch 1.6): `data.pkl`, which refers to the files `data/KEY` that
hold the numbers; or, before that, five pickles in a row (a magic number, a version, facts of the
machine, the content, the keys of the storages) and then the numbers of each storage behind their
count.

Source: pytorch torch/serialization.py (_save, _legacy_save), torch/_utils.py (_rebuild_tensor_v2).
"""

import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from functools import cache
from io import BufferedIOBase
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fcn_jax.errors import UserError

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_VERSION = 1001
BIG_ENDIAN = "it was written on a big-endian machine"
LARGEST_PICKLE = 1 << 28  # bytes: of a state dict they are names and shapes

# What torch calls its types. numpy has no bfloat16: its 16 bits are the first of a float32.
BFLOAT16 = np.dtype("V2")
STORAGES = {
    "DoubleStorage": "<f8", "FloatStorage": "<f4", "HalfStorage": "<f2", "LongStorage": "<i8",
    "IntStorage": "<i4", "ShortStorage": "<i2", "CharStorage": "i1", "ByteStorage": "u1",
    "BoolStorage": "?", "BFloat16Storage": BFLOAT16, "UntypedStorage": "u1",
}  # fmt: skip
DTYPES = {
    "float64": "<f8", "float32": "<f4", "float16": "<f2", "int64": "<i8", "int32": "<i4",
    "int16": "<i2",
    "int8": "i1", "uint8": "u1", "bool": "?", "bfloat16": BFLOAT16,
}  # fmt: skip

# Where training checkpoints have the state dict, and where a moving average of it.
STATES = ("state_dict", "model", "model_state_dict", "model_state", "net", "network", "weights")
AVERAGES = ("state_dict_ema", "model_ema", "ema_state_dict", "ema_model", "ema", "averaged_model")


class NotTensorsAlone(UserError):
    """A file holds something that is no tensor; the message names it."""


class NotPlain(UserError):
    """A file holds a tensor that is no array of numbers: quantized, sparse, without data ..."""


def read_state_dict(path: str | Path) -> dict[str, np.ndarray]:
    """Reads the tensors of a state dict, or of a training checkpoint around one, by name.

    Returns:
        Arrays as stored, bfloat16 as float32. Those of a moving average that the checkpoint has
        beside the state dict have its key before their names.

    Raises:
        UserError: if the file is broken, or holds something else; it says what.
    """
    try:
        content = _read_zip(path) if zipfile.is_zipfile(path) else _read_legacy(path)
        content, averages = _find_state(content)
        if not isinstance(content, Mapping):
            raise NotTensorsAlone(f"it holds a {type(content).__name__}, and no state dict")
        arrays = {}
        for name, tensor in {**content, **averages}.items():
            if not isinstance(tensor, _Tensor):
                raise NotTensorsAlone(f"{name!r} is no tensor")
            arrays[str(name)] = tensor.to_array()
        return arrays
    except NotTensorsAlone as error:
        raise UserError(
            f"{path} is a .pth file of more than tensors: {error}; save model.state_dict() alone"
        ) from error
    except NotPlain as error:
        raise UserError(
            f"{path} holds a tensor that is no plain array of numbers ({error}); save the weights "
            "as dense float32 tensors"
        ) from error
    except RecursionError as error:
        raise _broken(path, "it is nested too deeply") from error
    except MemoryError as error:
        # A damaged pickle may ask for any number of bytes.
        raise UserError(
            f"{path} asks for more memory than there is: get it again if it is damaged, or give "
            "the command where there is more"
        ) from error
    except Exception as error:
        # Of any kind: what a broken pickle or archive leads to is not foreseeable.
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise _broken(path, reason) from error


def _broken(path: Path, reason: str) -> UserError:
    return UserError(
        f"{path} is no sound .pth file: {reason}; get it again, or save model.state_dict() anew"
    )


def _find_state(content: Any) -> tuple[Any, dict[str, Any]]:
    """Finds the state dict in a training checkpoint, and averages of it that are beside it.

    An average has the key in front of its names that the checkpoint has it under, unless there is
    nothing else.
    """
    averages = {}
    while isinstance(content, Mapping):
        states = {key: content.get(key) for key in (*STATES, *AVERAGES)}
        states = {key: state for key, state in states.items() if isinstance(state, Mapping)}
        if not states:
            break
        first, *others = states
        for key in others:
            if key in AVERAGES:
                state, _ = _find_state(states[key])
                averages |= {f"{key}.{name}": tensor for name, tensor in state.items()}
        content = states[first]
    return content, averages


def _read_zip(path: str | Path) -> Any:
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        (pickled,) = (name for name in names if name.split("/")[-1] == "data.pkl")
        root = pickled.removesuffix("data.pkl")
        if archive.getinfo(pickled).file_size > LARGEST_PICKLE:
            raise UserError("its table of contents is too large for one of tensors")
        if f"{root}byteorder" in names and archive.read(f"{root}byteorder") != b"little":
            raise UserError(BIG_ENDIAN)

        @cache  # many tensors may be views of one storage
        def read(key: str) -> bytes:
            entry = archive.getinfo(f"{root}data/{key}")
            if entry.compress_type != zipfile.ZIP_STORED:
                raise UserError("its numbers are compressed, which torch never does")
            return archive.read(entry)

        def load(key: str, dtype: np.dtype, count: int) -> np.ndarray:
            del count  # the file is as long as it is
            return np.frombuffer(read(key), dtype)

        with archive.open(pickled) as file:
            return _Unpickler(file, load).load()


def _read_legacy(path: str | Path) -> Any:
    with open(path, "rb") as file:
        storages: dict[str, np.ndarray] = {}

        def reserve(key: str, dtype: np.dtype, count: int) -> np.ndarray:
            # The numbers come after the pickles that refer to them.
            if key not in storages:
                storages[key] = _empty(file, dtype, count)
            return storages[key]

        magic, version, machine = (_Unpickler(file, reserve).load() for _ in range(3))
        if magic != LEGACY_MAGIC or version != LEGACY_VERSION or not isinstance(machine, Mapping):
            raise UserError("it is a pickle, but not torch's")
        if not machine.get("little_endian", True):
            raise UserError(BIG_ENDIAN)
        content = _Unpickler(file, reserve).load()
        for key in _Unpickler(file, reserve).load():
            count = int.from_bytes(file.read(8), "little")
            if key not in storages:
                raise UserError(f"storage {key!r} belongs to no tensor")
            array = storages[key]
            if count != len(array):
                raise UserError(f"storage {key!r} holds {count} numbers where {len(array)} belong")
            read = file.readinto(memoryview(array).cast("B"))
            if read != array.nbytes:
                raise UserError("the end, in the middle of the numbers")
        return content


def _empty(file: BufferedIOBase, dtype: np.dtype, count: int) -> np.ndarray:
    """Makes room for a storage, unless the file cannot hold as much."""
    here = file.tell()
    size = file.seek(0, 2)
    file.seek(here)
    if not 0 <= count * dtype.itemsize <= size:
        raise UserError(f"a storage of {count} numbers does not fit into a file of {size} bytes")
    return np.empty(count, dtype)


class _Sealed:
    """Something that a pickle can hand on, but not change."""

    __slots__ = ()

    def __setstate__(self, state: Any) -> None:
        raise NotTensorsAlone("it tries to change a tensor")


class _Type(_Sealed):
    """A type of numbers."""

    __slots__ = ("dtype",)

    def __init__(self, name: str | np.dtype):
        self.dtype = np.dtype(name)


class _Storage(_Sealed):
    """The numbers that tensors are views of."""

    __slots__ = ("numbers",)

    def __init__(self, numbers: np.ndarray):
        self.numbers = numbers


class _View(NamedTuple):
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


class _Tensor(_Sealed):
    """A view of a storage, in numbers of this type."""

    __slots__ = ("dtype", "storage", "view")

    def __init__(self, storage: _Storage, view: _View, dtype: np.dtype | None):
        self.storage, self.view, self.dtype = storage, view, dtype

    def to_array(self) -> np.ndarray:
        offset, size, stride = self.view
        numbers = self.storage.numbers
        if self.dtype is not None:
            numbers = numbers.view(self.dtype)
        whole = all(isinstance(n, int) and n >= 0 for n in (offset, *size, *stride))
        if not whole or len(size) != len(stride):
            raise UserError("a tensor has an impossible shape")
        if prod(size) > len(numbers):
            raise UserError("a tensor has more numbers than its storage")
        if 0 not in size:
            last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
            if last >= len(numbers):
                raise UserError("a tensor reaches beyond its storage")
        else:
            offset = 0
        strides = [step * numbers.itemsize for step in stride]
        array = np.lib.stride_tricks.as_strided(numbers[offset:], size, strides, writeable=False)
        if numbers.dtype.kind == "V":
            bits = np.ascontiguousarray(array).reshape(-1).view("<u2").astype(np.uint32)
            return (bits << 16).view(np.float32).reshape(size)
        return np.array(array)


def _rebuild_tensor(storage, offset, size, stride, *rest) -> _Tensor:
    """Stands in for `torch._utils._rebuild_tensor`, `_v2` and `_v3`, which names a type as well."""
    dtype = next((value.dtype for value in rest if isinstance(value, _Type)), None)
    if not isinstance(storage, _Storage):
        raise NotTensorsAlone("a tensor without numbers")
    return _Tensor(storage, _View(offset, tuple(size), tuple(stride)), dtype)


def _rebuild_parameter(tensor, *_) -> _Tensor:
    """Stands in for `torch._utils._rebuild_parameter`."""
    if not isinstance(tensor, _Tensor):
        raise NotTensorsAlone("a parameter that is no tensor")
    return tensor


KNOWN: Mapping[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor"): _rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v3"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    **{("torch", name): _Type(dtype) for name, dtype in (STORAGES | DTYPES).items()},
    ("torch.storage", "UntypedStorage"): _Type("u1"),
}


class _Unpickler(pickle.Unpickler):
    """Unpickles tensors alone; `load(key, dtype, count)` gives the numbers of a storage."""

    def __init__(self, file: BufferedIOBase, load: Callable[[str, np.dtype, int], np.ndarray]):
        super().__init__(file, encoding="utf-8")
        self._load = load

    def find_class(self, module: str, name: str) -> Any:
        """Returns what stands in for a name."""
        if (module, name) not in KNOWN:
            if module == "torch" or name.startswith("_rebuild_"):
                raise NotPlain(f"{module}.{name}")
            raise NotTensorsAlone(f"it needs {module}.{name}")
        return KNOWN[module, name]

    def persistent_load(self, pid: Any) -> _Storage:
        """Returns the storage that a pickle refers to."""
        kind, type_, key, _, count, *view = pid
        if (
            kind != "storage"
            or not isinstance(type_, _Type)
            or not isinstance(count, int)
            or any(view)
        ):
            raise NotTensorsAlone("it refers to something that is no storage")
        return _Storage(self._load(str(key), type_.dtype, count))
