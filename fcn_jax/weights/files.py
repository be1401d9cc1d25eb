"""Files of weights: what their bytes hold, whatever their names end in.

Arrays come with the names that the file gives them. What is written is `.safetensors`;
`network_file` says what this project puts into such a file.

Source: huggingface/safetensors, README, "Format" (eight bytes of length, a JSON header, data).
"""

import json
import re
import zipfile
from collections.abc import Mapping
from math import prod
from pathlib import Path

import numpy as np
import safetensors
import safetensors.numpy

from fcn_jax.atomic_file import local_path, replacing
from fcn_jax.errors import MissingError, UserError
from fcn_jax.weights import caffe
from fcn_jax.weights.memory_map import map_file, view
from fcn_jax.weights.torch_file import read_state_dict

DTYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "u1", "BOOL": "?",
}  # fmt: skip

# The first bytes of files that hold no weights, and what such a file is.
FOREIGN_SIGNATURES = (
    (rb"version https://git-lfs", "a Git LFS pointer, not the file itself; run: git lfs pull"),
    # A caffemodel whose net has a name of 60 characters begins with "\n<" as well.
    (rb"(?i)\s*<(html|[!?])", "a web page, probably an error message; download the file again"),
    (rb"\x1f\x8b|BZh|\xfd7zXZ|7z\xbc\xaf", "compressed; unpack it first"),
    (rb"\x89HDF", "HDF5, as of Keras or MATLAB; export it from there as .npz"),
    (rb"[\t\r\n -~\x80-\xff]+\Z", "text; a prototxt describes a network, but holds no weights"),
)


def read_weights(path: str | Path) -> dict[str, np.ndarray]:
    """Reads a foreign file of weights: Caffe's, or a torch state dict.

    The formats are `.caffemodel`, `.safetensors`, `.npz` and `.pth` (tensors alone). The
    content of a file decides, not the end of its name.

    Returns:
        Arrays as stored, many of them views of the file, by torch's kind of names; for Caffe's see
        `caffe.name_blobs`.
    Raises:
        MissingError: There is no such file.
        UserError: The file holds no weights; the message says what it is.
    """
    path = check_file(path)
    head = _read_head(path)
    if head.startswith(b"PK"):
        return _read_zip(path)
    if is_safetensors(path):
        return read_safetensors(path)[0]
    if re.match(rb"\x80[\x00-\x05]", head):
        return read_state_dict(path)
    for pattern, kind in FOREIGN_SIGNATURES:
        if re.match(pattern, head):
            raise UserError(f"{path} is no file of weights: it is {kind}")
    layers = _read_caffemodel(path)
    return {
        f"{layer}.{name}": blob
        for layer, blobs in layers.items()
        for name, blob in caffe.name_blobs(blobs).items()
    }


def check_file(path: str | Path) -> Path:
    """Returns the path if a file with content is there."""
    path = local_path(path)
    if not path.exists():
        raise MissingError(
            f"no file of weights at {path}; give the path of a .caffemodel, .safetensors, .npz "
            "or .pth"
        )
    if not path.is_file():
        raise UserError(f"{path} is a folder; give the path of a file of weights")
    if path.stat().st_size == 0:
        raise UserError(f"{path} is empty; download it again")
    return path


def read_safetensors(path: str | Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Reads a `.safetensors` file: arrays that are views of it, and its metadata.

    Raises:
        UserError: The file is of another format, or cut off.
    """
    try:
        # The library checks the whole header, but its arrays are copies.
        with safetensors.safe_open(path, framework="numpy"):
            buffer = map_file(path)
    except safetensors.SafetensorError as error:
        raise UserError(
            f"{path} is not a whole .safetensors file: {error}; get it again"
        ) from error
    begin = 8 + int.from_bytes(buffer[:8], "little")
    header = json.loads(buffer[8:begin].decode())
    metadata = header.pop("__metadata__", None) or {}
    if strange := {spec["dtype"] for spec in header.values()} - DTYPES.keys():
        raise UserError(f"{path} holds arrays of type {', '.join(strange)}; convert to F32 first")
    arrays = {
        name: view(
            buffer, DTYPES[spec["dtype"]], begin + spec["data_offsets"][0], prod(spec["shape"])
        ).reshape(spec["shape"])
        for name, spec in header.items()
    }
    return arrays, metadata


def write_safetensors(
    path: str | Path, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]
) -> None:
    """Writes arrays and metadata; a file that was there is replaced when the new one is whole.

    Raises:
        UserError: The file cannot be written; the one that was there is still there.
    """
    path = local_path(path)
    arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as beside:
            safetensors.numpy.save_file(arrays, beside, dict(metadata))
    except (FileExistsError, NotADirectoryError) as error:
        raise UserError(f"cannot write {path}: one of its folders is a file") from error
    except (OSError, safetensors.SafetensorError) as error:
        reason = getattr(error, "strerror", None) or str(error).rpartition("I/O error: ")[2]
        raise UserError(f"cannot write {path}: {reason}") from error


def read_metadata(path: str | Path) -> dict[str, str]:
    """Reads the metadata of a `.safetensors` file; a file of another format has none."""
    path = check_file(path)
    return read_safetensors(path)[1] if is_safetensors(path) else {}


def _read_head(path: Path) -> bytes:
    with open(path, "rb") as file:
        return file.read(512)


def is_safetensors(path: Path) -> bool:
    """Says whether a file begins as a `.safetensors` file does, be it a whole one or not."""
    head = _read_head(path)
    length = int.from_bytes(head[:8], "little")
    whole = length + 8 <= path.stat().st_size
    return head[8:9] == b"{" and length < 2**32 and (whole or b'"dtype"' in head)


def _read_caffemodel(path: Path) -> dict[str, list[np.ndarray]]:
    try:
        return caffe.read_caffemodel(path)
    except ValueError as error:
        try:
            caffe.read_binaryproto(path)
        except ValueError:
            raise UserError(f"{error}; nor is it .safetensors, .npz or .pth") from error
        raise UserError(f"{path} is a mean image and not a network") from error


def _read_zip(path: Path) -> dict[str, np.ndarray]:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except Exception as error:  # of any kind, of a broken archive
        raise UserError(
            f"{path} is a cut off or broken .npz or .pth file: {error}; get it again"
        ) from error
    if any(name.endswith("data.pkl") for name in names):
        return read_state_dict(path)
    if not names or not all(name.endswith(".npy") for name in names):
        raise UserError(f"{path} is a zip archive, but neither .npz nor .pth; unpack it first")
    try:
        # Without pickles: an array of objects could run code.
        with np.load(path, allow_pickle=False) as archive:
            arrays = dict(archive)
    except Exception as error:  # of any kind, of a broken archive
        raise UserError(f"{path} is no sound .npz file: {error}; get it again") from error
    if broken := [name for name, array in arrays.items() if not isinstance(array, np.ndarray)]:
        raise UserError(f"{path} is no sound .npz file: {broken[0]} is no array")
    return arrays
