"""JAX's primitives as operators of ONNX: those that the networks are made of.

A rule takes the graph, the equation of the jaxpr and the values of its inputs, and returns the
value of its output. Maps stay `[b, h, w, c]` as in the jaxpr: a convolution, which ONNX has for
`[b, c, h, w]` alone, stands between two transpositions, which runtimes push out of the way.

Source: ONNX operators of opset 13; the docstrings of jax.lax.
"""

import string
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import product
from typing import Any

import numpy as np
from jax.lax import GatherScatterMode

from fcn_jax.errors import UserError
from fcn_jax.export.onnx_graph import Graph, Value, find_type
from fcn_jax.ops.geometry import Size

Rule = Callable[..., Value]

_LAST = np.iinfo(np.int64)


def apply_rule(graph: Graph, equation: Any, values: Sequence[Value]) -> Value:
    """Writes the equation of a jaxpr with one output.

    Raises:
        UserError: No rule is for its primitive, or not for the way in which it is used.
    """
    name = equation.primitive.name
    if name not in RULES:
        raise UserError(f"ONNX: no rule for {name} of jax.lax, which the network contains")
    return RULES[name](graph, equation, *values)


def _refuse(equation: Any, why: str) -> UserError:
    return UserError(f"ONNX: the rule for {equation.primitive.name} of jax.lax takes no {why}")


def _shape_of(equation: Any) -> tuple[Size, ...]:
    return equation.outvars[0].aval.shape


def _same(graph, equation, *values, operator: str):
    return graph.add(operator, *values)


def _logical(graph, equation, *values, operator: str):
    if equation.outvars[0].aval.dtype != bool:
        raise _refuse(equation, "bits")
    return graph.add(operator, *values)


def _ne(graph, equation, left, right):
    return graph.add("Not", graph.add("Equal", left, right))


def _rem(graph, equation, left, right):
    return graph.add("Mod", left, right, fmod=1)  # of the sign of the dividend


def _square(graph, equation, value):
    return graph.add("Mul", value, value)


def _integer_pow(graph, equation, value):
    if equation.params["y"] != 2:
        raise _refuse(equation, f"power of {equation.params['y']}")
    return graph.add("Mul", value, value)


def _select_n(graph, equation, which, *cases):
    if equation.invars[0].aval.dtype != bool:
        raise _refuse(equation, "numbers of cases")
    return graph.add("Where", which, cases[1], cases[0])


def _clamp(graph, equation, low, value, high):
    return graph.add("Min", graph.add("Max", value, low), high)


def _convert_element_type(graph, equation, value):
    if equation.params["new_dtype"] == equation.invars[0].aval.dtype:
        return value
    return graph.add("Cast", value, to=find_type(equation.params["new_dtype"]))


def _broadcast_in_dim(graph, equation, value):
    shape, axes = _shape_of(equation), equation.params["broadcast_dimensions"]
    new = [axis for axis in range(len(shape)) if axis not in axes]
    if new:
        value = graph.add("Unsqueeze", value, np.array(new))
    old = dict(zip(axes, equation.invars[0].aval.shape, strict=True))
    if all(old.get(axis, 1) == size for axis, size in enumerate(shape)):
        return value
    return graph.add("Expand", value, graph.shape(shape))


def _reshape(graph, equation, value):
    return graph.add("Reshape", value, graph.shape(_shape_of(equation)))


def _squeeze(graph, equation, value):
    return graph.add("Squeeze", value, np.array(equation.params["dimensions"]))


def _transpose(graph, equation, value):
    return _turn(graph, value, equation.params["permutation"])


def _concatenate(graph, equation, *values):
    return graph.add("Concat", *values, axis=equation.params["dimension"])


def _stack(graph, equation, *values):
    axis = equation.params["axis"]
    values = [graph.add("Unsqueeze", value, np.array([axis])) for value in values]
    return graph.add("Concat", *values, axis=axis)


def _iota(graph, equation):
    (size,) = _shape_of(equation)
    numbers = graph.add("Range", np.int64(0), graph.size(size), np.int64(1))
    return graph.add("Cast", numbers, to=find_type(equation.params["dtype"]))


def _dim_as_value(graph, equation):
    dtype = equation.outvars[0].aval.dtype
    return graph.add("Cast", graph.size(equation.params["dim"]), to=find_type(dtype))


def _rev(graph, equation, value):
    axes = np.array(equation.params["dimensions"])
    last, before, back = np.full_like(axes, -1), np.full_like(axes, _LAST.min), -np.ones_like(axes)
    return graph.add("Slice", value, last, before, axes, back)


def _slice(graph, equation, value):
    params, shape = equation.params, equation.invars[0].aval.shape
    strides = params["strides"] or (1,) * len(shape)
    sides = zip(params["start_indices"], params["limit_indices"], strides, strict=True)
    return _cut(graph, value, [*sides], shape)


def _cut(graph, value, sides: Sequence[tuple[Size, Size, int]], shape: Sequence[Size]) -> Value:
    """Cuts (start, stop, stride) of every axis out of a value of this shape."""
    cuts = [(axis, *side) for axis, side in enumerate(sides) if side != (0, shape[axis], 1)]
    if not cuts:
        return value
    axes, starts, stops, strides = zip(*cuts, strict=True)
    inputs = (graph.shape(starts), graph.shape(stops), np.array(axes), np.array(strides))
    return graph.add("Slice", value, *inputs)


def _pad(graph, equation, value, fill):
    before, after, between = zip(*equation.params["padding_config"], strict=True)
    if any(between):
        raise _refuse(equation, "padding between values")
    return _add_padding(graph, value, before, after, fill)


def _add_padding(graph, value, before, after, fill) -> Value:
    if all(isinstance(size, int) and not size for size in (*before, *after)):
        return value
    return graph.add("Pad", value, graph.shape((*before, *after)), fill)


def _gather(graph, equation, value, indices):
    numbers, slices = equation.params["dimension_numbers"], equation.params["slice_sizes"]
    shape, index_shape = (var.aval.shape for var in equation.invars)
    if equation.params["mode"] != GatherScatterMode.PROMISE_IN_BOUNDS:
        raise _refuse(
            equation, f"mode {equation.params['mode']}: ONNX has no word for indices beyond"
        )
    if numbers.operand_batching_dims:
        raise _refuse(equation, "batches")
    if not numbers.collapsed_slice_dims and len(index_shape) == 1:
        return _gather_slice(graph, numbers.start_index_map, slices, value, indices)
    axis = numbers.start_index_map[0]
    there = range(axis, axis + len(index_shape) - 1)  # of the output: where ONNX has the indices
    offsets = tuple(i for i in range(len(_shape_of(equation))) if i not in there)
    whole = all(size == shape[i] for i, size in enumerate(slices) if i != axis)
    if numbers.collapsed_slice_dims != (axis,) or numbers.offset_dims != offsets or not whole:
        raise _refuse(equation, f"{numbers}")
    last = np.array([len(index_shape) - 1])
    return graph.add("Gather", value, graph.add("Squeeze", indices, last), axis=axis)


def _gather_slice(graph, axes, slices, value, indices) -> Value:
    """Cuts one slice of these sizes that begins at the indices."""
    starts = graph.add("Cast", indices, to=find_type(np.int64))
    stops = graph.add("Add", starts, graph.shape([slices[axis] for axis in axes]))
    return graph.add("Slice", value, starts, stops, np.array(axes))


def _dot_general(graph, equation, left, right):
    (left_sums, right_sums), (left_batch, right_batch) = equation.params["dimension_numbers"]
    left_axes, right_axes = (range(len(var.aval.shape)) for var in equation.invars)
    left_rest = [axis for axis in left_axes if axis not in (*left_sums, *left_batch)]
    right_rest = [axis for axis in right_axes if axis not in (*right_sums, *right_batch)]
    if len(left_sums) == len(right_rest) == 1 and (len(left_rest) == 1 or not left_batch):
        # Several times as fast in onnxruntime.
        left = _turn(graph, left, [*left_batch, *left_rest, *left_sums])
        right = _turn(graph, right, [*right_batch, *right_sums, *right_rest])
        return graph.add("MatMul", left, right)
    letters = iter(string.ascii_letters)
    of_left, of_right = ([next(letters) for _ in axes] for axes in (left_axes, right_axes))
    for ours, theirs in zip((*left_sums, *left_batch), (*right_sums, *right_batch), strict=True):
        of_right[theirs] = of_left[ours]
    of_output = [of_left[axis] for axis in (*left_batch, *left_rest)]
    of_output += [of_right[axis] for axis in right_rest]
    sides = ("".join(side) for side in (of_left, of_right, of_output))
    return graph.add("Einsum", left, right, equation="{},{}->{}".format(*sides))


def _turn(graph, value, axes: Sequence[int]) -> Value:
    """Puts the axis `axes[i]` into place i."""
    if isinstance(value, np.ndarray):
        return np.transpose(value, axes)
    return value if [*axes] == sorted(axes) else graph.add("Transpose", value, perm=[*axes])


def _conv_general_dilated(graph, equation, maps, kernel):
    params = equation.params
    of_maps, of_kernel, of_output = params["dimension_numbers"]
    if params["batch_group_count"] != 1 or {*params["lhs_dilation"]} != {1}:
        raise _refuse(equation, "dilated maps")
    before, after = zip(*params["padding"], strict=True)
    output = graph.add(
        "Conv",
        _turn(graph, maps, of_maps),
        _turn(graph, kernel, of_kernel),
        strides=list(params["window_strides"]),
        pads=[*before, *after],
        dilations=list(params["rhs_dilation"]),
        group=params["feature_group_count"],
    )
    return _turn(graph, output, np.argsort(of_output).tolist())


def _reduce_window_sum(graph, equation, value):
    params = equation.params
    if {*params["base_dilation"], *params["window_dilation"], *params["window_strides"]} != {1}:
        raise _refuse(equation, "strides or dilation")
    before, after = zip(*params["padding"], strict=True)
    fill = np.zeros((), equation.invars[0].aval.dtype)
    value = _add_padding(graph, value, before, after, fill)
    padded = [
        a + size + b
        for a, size, b in zip(before, equation.invars[0].aval.shape, after, strict=True)
    ]
    sizes, total = _shape_of(equation), None
    for starts in product(*map(range, params["window_dimensions"])):
        sides = [(start, start + size, 1) for start, size in zip(starts, sizes, strict=True)]
        part = _cut(graph, value, sides, padded)
        total = part if total is None else graph.add("Add", total, part)
    return total


def _reduce_sum(graph, equation, value):
    return graph.add("ReduceSum", value, np.array(equation.params["axes"]), keepdims=0)


_SAME = {
    "add": "Add",
    "sub": "Sub",
    "mul": "Mul",
    "div": "Div",  # of integers towards zero, both
    "max": "Max",
    "min": "Min",
    "neg": "Neg",
    "abs": "Abs",
    "sign": "Sign",
    "exp": "Exp",
    "log": "Log",
    "sqrt": "Sqrt",
    "eq": "Equal",
    "gt": "Greater",
    "lt": "Less",
}

RULES: Mapping[str, Rule] = {
    **{name: partial(_same, operator=operator) for name, operator in _SAME.items()},
    "and": partial(_logical, operator="And"),
    "or": partial(_logical, operator="Or"),
    "ne": _ne,
    "rem": _rem,
    "square": _square,
    "integer_pow": _integer_pow,
    "select_n": _select_n,
    "clamp": _clamp,
    "convert_element_type": _convert_element_type,
    "broadcast_in_dim": _broadcast_in_dim,
    "reshape": _reshape,
    "squeeze": _squeeze,
    "transpose": _transpose,
    "concatenate": _concatenate,
    "stack": _stack,
    "iota": _iota,
    "dim_as_value": _dim_as_value,
    "rev": _rev,
    "slice": _slice,
    "pad": _pad,
    "gather": _gather,
    "dot_general": _dot_general,
    "conv_general_dilated": _conv_general_dilated,
    "reduce_window_sum": _reduce_window_sum,
    "reduce_sum": _reduce_sum,
}
