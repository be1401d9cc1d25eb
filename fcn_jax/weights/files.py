"""Weight files: foreign ones are told by their content, ours are `.safetensors` with a passport.

A saved file holds float32 arrays under the paths of a network's variables. Its metadata say which
network they belong to, how an image must be prepared for them, and which file they came from.

Source: huggingface/safetensors, README, "Format" (eight bytes of length, a JSON header, data).
"""

import json
import os
import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import safetensors
import safetensors.numpy

from fcn_jax.errors import MissingError, UserError
from fcn_jax.weights import caffe
from fcn_jax.weights.memory_map import map_file, view

FORMAT = "fcn_jax"

DTYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "u1", "BOOL": "?",
}  # fmt: skip

# What the first bytes of a file that is not one of weights show it to be.
STRANGERS = (
    (rb"version https://git-lfs", "a Git LFS pointer, not the file itself; run: git lfs pull"),
    # A caffemodel whose net has a name of 60 characters begins with "\n<" as well.
    (rb"(?i)\s*<(html|[!?])", "a web page, probably an error message; download the file again"),
    (rb"\x1f\x8b|BZh|\xfd7zXZ|7z\xbc\xaf", "compressed; unpack it first"),
    (rb"\x89HDF", "HDF5, as of Keras or MATLAB; export it from there as .npz"),
    (rb"[\t\r\n -~\x80-\xff]+\Z", "text; a prototxt describes a network, but holds no weights"),
)


class Weights(NamedTuple):
    """A saved file.

    Attributes:
        arrays: by path, float32.
        network: whose backbone they are; one of `networks.LAYOUTS`.
        preprocess: `mean_rgb`, `std_rgb` and `bgr`.
        metadata: all of it, as text.
    """

    arrays: dict[str, np.ndarray]
    network: str
    preprocess: dict[str, Any]
    metadata: dict[str, str]


def read_weights(path: str | Path) -> dict[str, np.ndarray]:
    """Reads a foreign file of weights: Caffe's, or a torch state dict.

    Formats: `.caffemodel`, `.safetensors`, `.npz`, and `.pth` if torch is installed. The content
    decides, whatever the name ends in.

    Returns:
        Arrays as stored, many of them views of the file, by torch's kind of names; of a Caffe layer
        the first blob is `.weight`, the second `.bias`, and further ones are numbered from `.2` on.
    Raises:
        FileNotFoundError, ValueError: if there is no file, or it is not one of weights; it says so.
    """
    path = check_file(path)
    head = _read_head(path)
    if head.startswith(b"PK"):
        return _read_zip(path)
    if _is_safetensors(head, path):
        return read_safetensors(path)[0]
    if re.match(rb"\x80[\x00-\x05]", head):
        return _read_torch(path)
    for pattern, kind in STRANGERS:
        if re.match(pattern, head):
            raise UserError(f"{path} is no file of weights: it is {kind}")
    layers = _read_caffemodel(path)
    return {
        f"{layer}.{('weight', 'bias')[index] if index < 2 else index}": blob
        for layer, blobs in layers.items()
        for index, blob in enumerate(blobs)
    }


def check_file(path: str | Path) -> Path:
    """Returns the path if a file with content is there."""
    path = Path(path).expanduser()
    if not path.exists():
        raise MissingError(f"no file of weights at {path}")
    if not path.is_file():
        raise UserError(f"{path} is a folder; give the path of a file of weights")
    if path.stat().st_size == 0:
        raise UserError(f"{path} is empty; download it again")
    return path


def read_safetensors(path: str | Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Reads a `.safetensors` file: arrays that are views of it, and its metadata.

    Raises:
        ValueError: if the file is none, or not a whole one.
    """
    try:
        # The library checks the whole header, but its arrays are copies.
        with safetensors.safe_open(path, framework="numpy"):
            buffer = map_file(path)
    except safetensors.SafetensorError as error:
        raise UserError(f"{path} is not a whole .safetensors file: {error}") from error
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
        ValueError: if it cannot be written; what was there is still there.
    """
    path = Path(path).expanduser()
    partial = path.with_name(f"{path.name}.partial-{os.getpid()}")
    arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write_whole(path, partial, arrays, dict(metadata))
    except (FileExistsError, NotADirectoryError) as error:
        raise UserError(f"cannot write {path}: one of its folders is a file") from error
    except (OSError, safetensors.SafetensorError) as error:
        reason = getattr(error, "strerror", None) or str(error).rpartition("I/O error: ")[2]
        raise UserError(f"cannot write {path}: {reason}") from error


def _write_whole(path: Path, partial: Path, arrays, metadata: dict[str, str]) -> None:
    try:
        # safetensors' own files are for their owner alone; those of others have the umask's mode.
        partial.touch()
        mode = partial.stat().st_mode
        safetensors.numpy.save_file(arrays, partial, metadata)
        partial.chmod(mode)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def load_weights(path: str | Path) -> Weights:
    """Loads a saved file; its arrays are read-only views of it.

    Raises:
        FileNotFoundError, ValueError: if it is not there, not ours, or not whole.
    """
    path = check_file(path)
    if not _is_safetensors(_read_head(path), path):
        raise UserError(f"{path} is not a saved .safetensors file; {IMPORT_FIRST}")
    arrays, metadata = read_safetensors(path)
    if metadata.get("format") != FORMAT:
        raise UserError(f"{path} does not have this project's names; {IMPORT_FIRST}")
    for name, array in arrays.items():
        if array.dtype != np.float32 or not name.startswith(("params/", "batch_stats/")):
            raise UserError(f"{path}: {name!r} is no float32 array of a network's variables")
    try:
        preprocess = read_preprocess(metadata["preprocess"])
        return Weights(arrays, metadata["network"], preprocess, metadata)
    except (KeyError, ValueError) as error:
        raise UserError(f"{path}: its metadata are broken ({error}); import it again") from error


def read_metadata(path: str | Path) -> dict[str, str]:
    """Reads the metadata of a `.safetensors` file; a file of another format has none."""
    path = check_file(path)
    return read_safetensors(path)[1] if _is_safetensors(_read_head(path), path) else {}


def read_preprocess(text: str) -> dict[str, Any]:
    """Reads what metadata say of how an image must be prepared.

    Raises:
        ValueError: if they do not say all of it.
    """
    try:
        preprocess = json.loads(text)
        mean, std = (list(map(float, preprocess[key])) for key in ("mean_rgb", "std_rgb"))
        if len(mean) != 3 or len(std) != 3 or not isinstance(preprocess["bgr"], bool):
            raise UserError("three means, three deviations and true or false are expected")
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"preprocess={text}: {error}") from error
    return {"mean_rgb": mean, "std_rgb": std, "bgr": preprocess["bgr"]}


IMPORT_FIRST = "import it first: python launch.py import_weights --help"
SAVE_STATE_DICT = "save model.state_dict() alone"


def _read_head(path: Path) -> bytes:
    with open(path, "rb") as file:
        return file.read(512)


def _is_safetensors(head: bytes, path: Path) -> bool:
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
        raise UserError(f"{path} is a cut off or broken .npz or .pth file: {error}") from error
    if any(name.endswith("data.pkl") for name in names):
        return _read_torch(path)
    if not names or not all(name.endswith(".npy") for name in names):
        raise UserError(f"{path} is a zip archive, but neither .npz nor .pth; unpack it first")
    try:
        # Without pickles: an array of objects could run code.
        with np.load(path, allow_pickle=False) as archive:
            arrays = dict(archive)
    except Exception as error:  # of any kind, of a broken archive
        raise UserError(f"{path} is no sound .npz file: {error}") from error
    if broken := [name for name, array in arrays.items() if not isinstance(array, np.ndarray)]:
        raise UserError(f"{path} is no sound .npz file: {broken[0]} is no array")
    return arrays


def _read_torch(path: Path) -> dict[str, np.ndarray]:
    try:
        import torch
    except ImportError:
        raise UserError(
            f"{path} is a .pth file (or another pickle), which only torch can read safely; "
            "install torch, or give a .safetensors or .npz file"
        ) from None
    try:
        with warnings.catch_warnings(action="ignore"):  # of what is refused in our own words
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # of any kind, of a broken or malicious pickle
        reason = _torch_reason(error)
        raise UserError(f"{path} is no sound .pth file of tensors alone: {reason}") from error
    for key in ("state_dict", "model"):  # a training checkpoint around the weights
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not all(map(torch.is_tensor, content.values())):
        raise UserError(f"{path} is a .pth file, but not a state dict; {SAVE_STATE_DICT}")
    arrays = {}
    for name, tensor in content.items():
        try:
            # torch.nn.DataParallel puts "module." in front; numpy has no bfloat16.
            tensor = tensor.float() if tensor.dtype == torch.bfloat16 else tensor
            arrays[str(name).removeprefix("module.")] = tensor.detach().numpy()
        except (TypeError, RuntimeError) as error:  # quantized, sparse, without data ...
            raise UserError(
                f"{path}: {name} is no plain array of numbers ({_torch_reason(error)}); "
                "save the weights as dense float32 tensors"
            ) from error
    return arrays


def _torch_reason(error: Exception) -> str:
    """Says in a line why torch refuses a file."""
    text = re.sub(r"\x1b\[\d*m", "", str(error)).strip()
    if isinstance(error, pickle.UnpicklingError) or "weights_only" in text:
        # torch's own words lead to the unsafe way of reading it.
        return f"it holds more than tensors, or is broken; {SAVE_STATE_DICT}"
    return next(iter(text.splitlines()), "it is broken").rstrip(".")
