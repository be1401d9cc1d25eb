"""The ONNX file: the network for runtimes that do not know jax.

Whatever the dtype of the network, ONNX computes in float32: few runtimes have bfloat16.
"""

import dataclasses
import datetime
import importlib.util
import json
from pathlib import Path
from typing import Any

import jax

from fcn_jax.errors import UserError
from fcn_jax.export.program import Comparison, compare, make_function
from fcn_jax.models.zoo import get_model
from fcn_jax.train.trained import Trained

TOLERANCE = 1e-4  # onnxruntime adds up in another order than XLA
INPUT, OUTPUT = "images", "logits"


def check_packages() -> None:
    """Raises UserError if a package is missing."""
    if missing := [name for name in ("onnx", "onnxruntime") if not importlib.util.find_spec(name)]:
        raise UserError(
            "ONNX is written by onnx and compared in onnxruntime: pip install " + " ".join(missing)
        )


def write(net: Trained, path: Path, images: jax.ShapeDtypeStruct) -> None:
    """Writes the model that takes images of this shape.

    Raises:
        UserError: The network contains a primitive of jax that has no rule here.
    """
    from onnx import helper

    from fcn_jax.export.onnx_model import make_model

    function = make_function(_in_float32(net))
    model = make_model(function, images, input_name=INPUT, output_name=OUTPUT)
    labels = {key: json.dumps(value) for key, value in net.labels.to_dict().items()}
    helper.set_model_props(model, labels)
    path.write_bytes(model.SerializeToString())


def verify(net: Trained, path: Path, images: jax.ShapeDtypeStruct) -> Comparison:
    """Reads a file of `write`, and compares what onnxruntime computes with the network."""
    import onnx
    import onnxruntime

    onnx.checker.check_model(path, full_check=True)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def run(pixels):
        return session.run([OUTPUT], {INPUT: pixels})[0]

    return compare(_in_float32(net), run, images, tolerance=TOLERANCE)


def describe(today: datetime.date) -> dict[str, Any]:
    """Says, as JSON holds it, what reads a file that is written today."""
    import onnx
    import onnxruntime

    from fcn_jax.export.onnx_graph import OPSET

    del today  # the promise has no end
    return {
        "format": "onnx",
        "opset": OPSET,
        "onnx": onnx.__version__,
        "onnxruntime": onnxruntime.__version__,
        "readable_by": f"runtimes that know ONNX opset {OPSET}: onnxruntime from 1.6 on, every "
        "version of which reads all opsets from 7 on",
        "source": "https://onnxruntime.ai/docs/reference/compatibility.html",
    }


def _in_float32(net: Trained) -> Trained:
    section = {**net.section, "dtype": "float32"}
    model = get_model(**section, num_classes=net.labels.num_classes)
    return dataclasses.replace(net, model=model, section=section)
