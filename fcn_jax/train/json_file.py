"""JSON objects in files: read with an answer to what is damaged, written whole or not at all."""

import json
import math
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fcn_jax.atomic_file import write_text
from fcn_jax.errors import UserError

Number = int | float | None  # null stands for what is not finite


def read_json(file: Path) -> dict[str, Any]:
    """Reads an object.

    Raises:
        UserError: If the file holds something else.
        FileNotFoundError: If it is not there.
    """
    try:
        return parse(file.read_bytes())
    except ValueError as error:
        raise damaged(file, error) from error


def parse(text: bytes) -> dict[str, Any]:
    """Parses an object.

    Raises:
        ValueError: If the text is something else.
    """
    try:
        return check(json.loads(text.decode()), {})
    except UnicodeDecodeError:
        raise ValueError("it is no UTF-8 text") from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def check_keys(value: Any, form: Mapping[str, Any], *, where: str | Path) -> None:
    """Finds that an object of a file has at least these keys, with values of these types.

    Raises:
        UserError: If it has not; the message says that `where` is damaged.
    """
    try:
        check(value, form)
    except ValueError as error:
        raise damaged(where, error) from error


def check(value: Any, form: Mapping[str, Any]) -> dict[str, Any]:
    """Returns an object that has at least these keys, with values of these types.

    Raises:
        ValueError: If it has not.
    """
    keys = value if isinstance(value, dict) else None
    if keys is None:
        raise ValueError(f"it holds {value!r:.80}, wanted keys and values")
    if missing := form.keys() - keys.keys():
        raise ValueError(f"it lacks {min(missing)}")
    wrong = [key for key, wanted in form.items() if not isinstance(keys[key], wanted)]
    if wrong:
        raise ValueError(f"its {wrong[0]} is {keys[wrong[0]]!r:.80}")
    return keys


def damaged(what: str | Path, error: Exception) -> UserError:
    """Makes the answer to a damaged file of a run folder."""
    file = Path(what)
    way_on = "restore it from a copy, or train in another --workdir"
    if file.parent.name == "eval":
        folder = shlex.quote(str(file.parent.parent))
        split, _, step = file.stem.rpartition("-")
        way_on = f"python launch.py evaluate --workdir={folder} --split={split} --step={step} "
        way_on += "writes it anew"
    return UserError(f"{what} is damaged: {error}\n{way_on}")


def write_json(file: Path, value: Any) -> None:
    """Replaces a file by an object; what JSON has no word for becomes a list or a text."""
    write_text(file, json.dumps(value, indent=1, default=plain) + "\n")


def plain(value: Any) -> Any:
    """Returns what stands in JSON for a value that it has no word for."""
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else str(value)


def finite(value: Any) -> Any:
    """Replaces what JSON has no word for (NaN, infinity) by null."""
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return finite(value.tolist())
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
