"""What an exported file takes and gives, for whoever runs it: a JSON file beside it."""

import datetime
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax

import fcn_jax
from fcn_jax.atomic_file import write_text
from fcn_jax.data.batches.transforms import FILL_RGB
from fcn_jax.export.program import Comparison
from fcn_jax.train.trained import Trained


def find_path(path: Path) -> Path:
    """Returns the path of the description of a file."""
    return path.with_name(f"{path.name}.json")


def write(
    net: Trained,
    path: Path,
    images: jax.ShapeDtypeStruct,
    *,
    program: Mapping[str, Any],
    comparison: Comparison,
    today: datetime.date,
) -> None:
    """Writes the description of the file at `path`.

    Args:
        images: Shape that the program takes.
        program: Format of the file, and what reads it.
        comparison: How far the program is from the network.
    """
    shape = [side if isinstance(side, int) else str(side) for side in images.shape]
    text = {
        "network": net.section["name"],
        "classes": net.labels.to_dict()["names"],
        "colors": net.labels.to_dict()["colors"],
        "void_label": net.labels.ignore_label,
        "input": {
            "shape": shape,
            "dtype": str(images.dtype),
            "meaning": "RGB in 0..255, as read: the preparation of the images is in the program",
            "size_multiple": net.size_multiple,
            "fill_rgb": list(FILL_RGB),
        },
        "output": {
            "shape": [*shape[:3], net.labels.num_classes],
            "dtype": "float32",
            "meaning": "logits: the scores of the classes before the softmax",
        },
        "program": dict(program),
        "comparison": comparison._asdict(),
        "origin": dict(net.origin),
        "fcn_jax": fcn_jax.__version__,
        "exported": str(today),
    }
    write_text(find_path(path), json.dumps(text, indent=1, ensure_ascii=False) + "\n")
