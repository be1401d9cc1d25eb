"""An ONNX graph as it grows: nodes, constants, and sizes that depend on those of the input.

What is computed twice is one node. A size of `jax.export` is written as the document of symbolic
dimensions has it (`2*floordiv(h + 197, 2) - 8`); here it becomes arithmetic of integers that the
graph does itself.

Source: ONNX operators of opset 13; jax.export.symbolic_shape.
"""

import ast
import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from fcn_jax.errors import UserError
from fcn_jax.ops.geometry import Size

# The lowest that has all operators for all types of the networks, and lists as inputs of Squeeze.
OPSET = 13
IR_VERSION = 7  # of the same release, onnx 1.8

# Something computed: an array where it is known, otherwise the name of a tensor of the graph.
Value = np.ndarray | str

_ARITHMETIC = {ast.Add: "Add", ast.Sub: "Sub", ast.Mult: "Mul", ast.Pow: "Pow"}


class Graph:
    """A graph of one input and one output.

    Args:
        input_name: Name of the input.
        input_shape: Its sizes; the symbolic ones are names, each of them once.
        dtype: Its dtype.
    """

    def __init__(self, input_name: str, input_shape: Sequence[Size], dtype: str):
        self._input = _describe(input_name, dtype, input_shape)
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[TensorProto] = []
        self._known: dict[Any, str] = {}
        shape = self.add("Shape", input_name)
        self._sizes = {
            str(size): self.add("Gather", shape, np.int64(axis), axis=0)
            for axis, size in enumerate(input_shape)
            if not isinstance(size, int)
        }

    def add(self, operator: str, *inputs: Value | np.generic, **attributes: Any) -> str:
        """Adds a node of one output, unless it is there already; returns the output's name."""
        names = [self.find_name(value) for value in inputs]
        key = (operator, *names, str(sorted(attributes.items())))
        if key not in self._known:
            output = self._known[key] = f"{operator.lower()}_{len(self._nodes)}"
            self._nodes.append(helper.make_node(operator, names, [output], **attributes))
        return self._known[key]

    def find_name(self, value: Value | np.generic) -> str:
        """Returns the name of a value; an array becomes a constant of the graph."""
        if isinstance(value, str):
            return value
        array = np.ascontiguousarray(value).reshape(np.shape(value))
        key = (array.dtype.str, array.shape, hashlib.sha256(array).digest())
        if key not in self._known:
            name = self._known[key] = f"constant_{len(self._constants)}"
            self._constants.append(numpy_helper.from_array(array, name))
        return self._known[key]

    def size(self, size: Size) -> Value:
        """Returns a size as an int64 number."""
        if isinstance(size, int):
            return np.array(size, np.int64)
        return self._compute(ast.parse(str(size).replace("^", "**"), mode="eval").body)

    def shape(self, sizes: Sequence[Size]) -> Value:
        """Returns sizes as an int64 vector."""
        if all(isinstance(size, int) for size in sizes):
            return np.array(sizes, np.int64)
        first = np.array([0])
        parts = [self.add("Unsqueeze", self.size(size), first) for size in sizes]
        return self.add("Concat", *parts, axis=0)

    def make_model(
        self, output: str, output_name: str, output_shape: Sequence[Size], dtype: str
    ) -> onnx.ModelProto:
        """Makes the model whose output is the tensor `output`."""
        self._nodes.append(helper.make_node("Identity", [output], [output_name]))
        graph = helper.make_graph(
            self._nodes,
            "network",
            [self._input],
            [_describe(output_name, dtype, output_shape)],
            self._constants,
        )
        return helper.make_model(
            graph,
            producer_name="fcn_jax",
            ir_version=IR_VERSION,
            opset_imports=[helper.make_opsetid("", OPSET)],
        )

    def _compute(self, tree: ast.expr) -> Value:
        match tree:
            case ast.Constant(value=int(number)):
                return np.array(number, np.int64)
            case ast.Name(id=name):
                return self._sizes[name]
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return self.add("Neg", self._compute(operand))
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
                return self.add(_ARITHMETIC[type(op)], self._compute(left), self._compute(right))
            case ast.Call(func=ast.Name(id=name), args=[left, right]):
                left, right = self._compute(left), self._compute(right)
                if name in ("max", "min"):
                    return self.add(name.capitalize(), left, right)
                rest = self.add("Mod", left, right)  # of the sign of the divisor
                if name == "mod":
                    return rest
                if name == "floordiv":  # Div itself rounds towards zero
                    return self.add("Div", self.add("Sub", left, rest), right)
        # Sizes have no other form in the versions of jax that this was tried with.
        raise UserError(
            f"ONNX: no rule for the size {ast.unparse(tree)}, which the network computes; export "
            "it for one size: --size=HEIGHTxWIDTH"
        )


def find_type(dtype: Any) -> int:
    """Returns the number that ONNX has for a dtype."""
    return helper.np_dtype_to_tensor_dtype(np.dtype(dtype))


def _describe(name: str, dtype: Any, shape: Sequence[Size]) -> onnx.ValueInfoProto:
    sides = [size if isinstance(size, int) else str(size) for size in shape]
    return helper.make_tensor_value_info(name, find_type(dtype), sides)
