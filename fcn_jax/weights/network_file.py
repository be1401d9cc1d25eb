"""The file of a network: one `.safetensors` that explains itself.

It holds float32 arrays under the paths of a network's variables (kernels may be stored as float16),
and its metadata say (as JSON, but
for the first two):

    format, network     fcn_jax, and the name of the backbone
    model               section `model` of a whole network; {} for a backbone alone
    labels              label set of a trained network, or null
    preprocess          how an image must be prepared: mean_rgb, std_rgb and bgr
    requires            options that the network must have; see `requirements`
    origin              where the arrays come from
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fcn_jax.errors import UserError
from fcn_jax.weights.files import check_file, is_safetensors, read_safetensors, read_weights
from fcn_jax.weights.recognition import recognise
from fcn_jax.weights.requirements import find_requires

FORMAT = "fcn_jax"
IMPORT_FIRST = "import it first: python launch.py import_weights --help"


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


def make_metadata(
    network: str,
    *,
    model: Mapping[str, Any],
    labels: Mapping[str, Any] | None,
    preprocess: Mapping[str, Any],
    requires: Mapping[str, Any],
    origin: Mapping[str, Any],
) -> dict[str, str]:
    """Makes the metadata of a file of this project.

    Args:
        network: Name of the backbone, as `backbone_names.NAMINGS` has it.
        model: Section `model` of a whole network, with its name; {} for a backbone alone.
        labels: Label set that the network was trained for, as a dict; None for none.
        preprocess: How an image must be prepared: `mean_rgb`, `std_rgb` and `bgr`.
        requires: Options that a network must have for the weights to mean what they meant.
        origin: Where the arrays come from: a file, or a run, its step and what else explains them.
    """
    values = {
        "model": model,
        "labels": labels,
        "preprocess": preprocess,
        "requires": requires,
        "origin": origin,
    }
    texts = {key: json.dumps(value) for key, value in values.items()}
    return {"format": FORMAT, "network": network, **texts}


def halve_kernels(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns arrays for a file of half the size: kernels rounded to float16, the rest as it is.

    Statistics and biases are few, and small variances would lose most of their digits.

    Raises:
        UserError: A kernel has numbers that float16 cannot hold.
    """
    halved = dict(arrays)
    for name, array in arrays.items():
        if array.ndim == 4:
            halved[name] = array.astype(np.float16)
            if not np.isfinite(halved[name]).all():
                raise UserError(f"{name} has numbers beyond float16; save it in float32")
    return halved


def load_weights(path: str | Path) -> Weights:
    """Loads a file of this project; its float32 arrays are read-only views of it.

    Raises:
        MissingError: There is no such file.
        UserError: The file is not one of this project, or cut off.
    """
    path = check_file(path)
    arrays, metadata = read_safetensors(path) if is_safetensors(path) else ({}, {})
    if metadata.get("format") != FORMAT:
        raise UserError(_ask_to_import(path))
    for name, array in arrays.items():
        known = array.dtype == np.float32 or (array.dtype == np.float16 and array.ndim == 4)
        if not known or not name.startswith(("params/", "batch_stats/")):
            raise UserError(f"{path}: {name!r} is no float32 array of a network's variables")
    arrays = {name: array.astype(np.float32, copy=False) for name, array in arrays.items()}
    try:
        network = metadata["network"]
        labels = metadata.get("labels", "null")
        return Weights(
            arrays=arrays,
            network=network,
            model=_read_object(metadata.get("model", "{}")),
            labels=None if labels == "null" else _read_object(labels),
            preprocess=read_preprocess(metadata["preprocess"]),
            # An option that a file says nothing of is younger than the file.
            requires=find_requires(network, arrays) | read_requires(metadata.get("requires", "{}")),
            origin=_read_origin(metadata),
            metadata=metadata,
        )
    except (KeyError, ValueError) as error:
        raise UserError(f"{path}: its metadata are broken ({error}); import it again") from error


def _ask_to_import(path: Path) -> str:
    words, network = recognise(read_weights(path))
    if not words:
        return f"{path} does not have this project's names; {IMPORT_FIRST}"
    if not network:
        return f"{path} is {words}"
    return (
        f"{path} is {words}, and is to be imported first:\npython launch.py import_weights {path} "
        f"--network={network} --output=weights/{path.stem}.safetensors"
    )


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
