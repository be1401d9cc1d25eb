"""A function of JAX as an ONNX model: its jaxpr, equation by equation.

Whatever depends on constants alone is computed here. What the networks are made of has rules
(`onnx_primitives`); other primitives are refused by name.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
import onnx
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

from fcn_jax.export.onnx_graph import Graph, Value
from fcn_jax.export.onnx_primitives import apply_rule
from fcn_jax.ops.geometry import is_symbolic

# Calls of a jaxpr that stand for what is in it, and the parameter that holds it.
CALLS = {
    "jit": "jaxpr",
    "pjit": "jaxpr",
    "closed_call": "call_jaxpr",
    "custom_jvp_call": "call_jaxpr",
    "custom_vjp_call": "call_jaxpr",
}


def make_model(
    function: Callable[..., Any], images: jax.ShapeDtypeStruct, *, input_name: str, output_name: str
) -> onnx.ModelProto:
    """Makes the model of a function of one array.

    Args:
        function: What jax traces: f(images), an array.
        images: Shape and dtype of its argument; sizes may be symbolic names of `jax.export`.
    Raises:
        UserError: It contains what there is no rule for.
    """
    closed, output = jax.make_jaxpr(function, return_shape=True)(images)
    graph = Graph(input_name, images.shape, str(images.dtype))
    (value,) = _write(graph, closed.jaxpr, closed.consts, [input_name])
    return graph.make_model(graph.find_name(value), output_name, output.shape, str(output.dtype))


def _write(
    graph: Graph, jaxpr: Jaxpr, constants: Sequence[Any], inputs: Sequence[Value]
) -> list[Value]:
    values: dict[Any, Value] = {
        **_zip(jaxpr.constvars, map(np.asarray, constants)),
        **_zip(jaxpr.invars, inputs),
    }

    def read(atom):
        if isinstance(atom, Literal):
            return np.asarray(atom.val, atom.aval.dtype)  # which may be a number of Python
        return values[atom]

    for equation in jaxpr.eqns:
        outputs = _write_equation(graph, equation, [*map(read, equation.invars)])
        values |= _zip(equation.outvars, outputs)
    return [read(atom) for atom in jaxpr.outvars]


def _write_equation(graph: Graph, equation: Any, values: list[Value]) -> Sequence[Value]:
    name = equation.primitive.name
    if name in CALLS:
        inner = equation.params[CALLS[name]]
        jaxpr, constants = (
            (inner.jaxpr, inner.consts) if isinstance(inner, ClosedJaxpr) else (inner, ())
        )
        return _write(graph, jaxpr, constants, values)
    if name == "optimization_barrier":
        return values
    if _is_known(equation, values):
        outputs = equation.primitive.bind(*values, **equation.params)
        outputs = outputs if equation.primitive.multiple_results else [outputs]
        return [np.asarray(output) for output in outputs]
    return [apply_rule(graph, equation, values)]


def _is_known(equation: Any, values: Sequence[Value]) -> bool:
    """Says whether an equation has the same outputs whatever the input is."""
    sizes = [size for var in equation.outvars for size in var.aval.shape]
    return (
        equation.primitive.name != "dim_as_value"
        and not is_symbolic(*sizes)
        and all(isinstance(value, np.ndarray) for value in values)
    )


def _zip(keys, values):
    return dict(zip(keys, values, strict=True))
