"""Files of weights: foreign ones, which are told by their content, and this project's own.

A file of this project is a `.safetensors` that explains itself. It holds float32 arrays under the
paths of a network's variables, and its metadata say (as JSON, but for the first two):

    format, network     fcn_jax, and the name of the backbone
    model               section `model` of a whole network; {} for a backbone alone
    labels              label set of a trained network, or null
    preprocess          how an image must be prepared: mean_rgb, std_rgb and bgr
    requires            options that the network must have; see `naming.REQUIRED_OPTIONS`
    origin              where the arrays come from

Source: huggingface/safetensors, README, "Format" (eight bytes of length, a JSON header, data).
"""

import json
import os
import re
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
from fcn_jax.weights.naming import REQUIRED_OPTIONS, find_network, find_requires
from fcn_jax.weights.torch_file import read_state_dict

FORMAT = "fcn_jax"

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


class Weights(NamedTuple):
    """A file of this project.

    Attributes:
        arrays: Float32 arrays by path.
        network: Name of the backbone, such as `vgg16`.
        model: Section `model` of the network; {} for a backbone alone.
        labels: Label set of a trained network, as a dict; None if the file has none.
        preprocess: How an image must be prepared: `mean_rgb`, `std_rgb` and `bgr`.
        requires: Options that a network must have for the weights to mean what they meant.
        origin: Where the arrays come from.
        metadata: All metadata as text.
    """

    arrays: dict[str, np.ndarray]
    network: str
    model: dict[str, Any]
    labels: dict[str, Any] | None
    preprocess: dict[str, Any]
    requires: dict[str, Any]
    origin: dict[str, Any]
    metadata: dict[str, str]


def read_weights(path: str | Path) -> dict[str, np.ndarray]:
    """Reads a foreign file of weights: Caffe's, or a torch state dict.

    The formats are `.caffemodel`, `.safetensors`, `.npz` and `.pth` (tensors alone). The
    content of a file decides, not the end of its name.

    Returns:
        Arrays as stored, many of them views of the file, by torch's kind of names. The first blob
        of a Caffe layer is named `.weight`, the second `.bias`, and further ones from `.2` on.
    Raises:
        MissingError: There is no such file.
        UserError: The file holds no weights; the message says what it is.
    """
    path = check_file(path)
    head = _read_head(path)
    if head.startswith(b"PK"):
        return _read_zip(path)
    if _is_safetensors(head, path):
        return read_safetensors(path)[0]
    if re.match(rb"\x80[\x00-\x05]", head):
        return _read_torch(path)
    for pattern, kind in FOREIGN_SIGNATURES:
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
        UserError: The file is of another format, or cut off.
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
        UserError: The file cannot be written; the one that was there is still there.
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


def _write_whole(
    path: Path, partial: Path, arrays: dict[str, np.ndarray], metadata: dict[str, str]
) -> None:
    try:
        # safetensors lets only the owner read its files; other programs leave that to the umask.
        partial.touch()
        mode = partial.stat().st_mode
        safetensors.numpy.save_file(arrays, partial, metadata)
        partial.chmod(mode)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def make_metadata(
    network: str,
    *,
    model: Mapping[str, Any],
    labels: Mapping[str, Any] | None,
    preprocess: Mapping[str, Any],
    requires: Mapping[str, Any],
    origin: Mapping[str, Any],
) -> dict[str, str]:
    """Makes the metadata of a file of this project; see `Weights`."""
    values = {
        "model": model,
        "labels": labels,
        "preprocess": preprocess,
        "requires": requires,
        "origin": origin,
    }
    texts = {key: json.dumps(value) for key, value in values.items()}
    return {"format": FORMAT, "network": network, **texts}


def save_network(
    path: str | Path,
    arrays: Mapping[str, Any],
    *,
    model: Mapping[str, Any],
    labels: Mapping[str, Any] | None,
    preprocess: Mapping[str, Any],
    origin: Mapping[str, Any],
) -> None:
    """Saves a whole network to one file that explains itself.

    Args:
        path: Path of the file, which should end in `.safetensors`.
        arrays: Variables of the network by path.
        model: Section `model` of the network, with its name.
        labels: Label set that the network was trained for, as a dict; None for none.
        preprocess: How the network prepares an image: `mean_rgb`, `std_rgb` and `bgr`.
        origin: Where the arrays come from: a run, its step and whatever else explains them.
    Raises:
        UserError: The file cannot be written.
    """
    network = find_network(model["name"])
    options = REQUIRED_OPTIONS.get(network, {})
    metadata = make_metadata(
        network,
        model=model,
        labels=labels,
        preprocess=preprocess,
        requires={name: model.get(name, default) for name, default in options.items()},
        origin=origin,
    )
    arrays = {leaf: np.asarray(array, np.float32) for leaf, array in arrays.items()}
    write_safetensors(path, arrays, metadata)


def load_weights(path: str | Path) -> Weights:
    """Loads a file of this project; its arrays are read-only views of it.

    Raises:
        MissingError: There is no such file.
        UserError: The file is not one of this project, or cut off.
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
        network = metadata["network"]
        labels = metadata.get("labels", "null")
        return Weights(
            arrays=arrays,
            network=network,
            model=_read_object(metadata.get("model", "{}")),
            labels=None if labels == "null" else _read_object(labels),
            preprocess=read_preprocess(metadata["preprocess"]),
            # Files had no such key before somebody noticed that they need one.
            requires=read_requires(metadata["requires"])
            if "requires" in metadata
            else find_requires(network, arrays),
            origin=_read_origin(metadata),
            metadata=metadata,
        )
    except (KeyError, ValueError) as error:
        raise UserError(f"{path}: its metadata are broken ({error}); import it again") from error


def _read_object(text: str) -> dict[str, Any]:
    value = json.loads(text)
    if not isinstance(value, dict):
        raise UserError(f"{text} is no JSON object")
    return value


def _read_origin(metadata: Mapping[str, str]) -> dict[str, Any]:
    """Reads where arrays come from; older files have a key for each fact, and no JSON."""
    if "head" not in metadata:
        return _read_object(metadata.get("origin", "{}"))
    facts = {"names": "origin", "head": "head", "source": "source", "sha256": "sha256"}
    return {fact: metadata[key] for fact, key in facts.items() if key in metadata}


def read_requires(text: str) -> dict[str, Any]:
    """Reads options of a network; the sequences among them become tuples, as in a signature."""
    return {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in _read_object(text).items()
    }


def read_metadata(path: str | Path) -> dict[str, str]:
    """Reads the metadata of a `.safetensors` file; a file of another format has none."""
    path = check_file(path)
    return read_safetensors(path)[1] if _is_safetensors(_read_head(path), path) else {}


def read_preprocess(text: str) -> dict[str, Any]:
    """Reads what metadata say about how an image must be prepared.

    Raises:
        UserError: They do not say all of it.
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
    # torch.nn.DataParallel puts "module." in front.
    arrays = read_state_dict(path)
    return {name.removeprefix("module."): array for name, array in arrays.items()}
