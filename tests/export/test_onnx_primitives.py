"""ONNX: every rule computes in onnxruntime what jax computes, at sizes that no graph knows."""

import ast
import importlib.util

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export, lax

from fcn_jax.errors import UserError

if not all(map(importlib.util.find_spec, ("onnx", "onnxruntime"))):
    pytest.skip("ONNX needs onnx and onnxruntime", allow_module_level=True)

import onnx
import onnxruntime

from fcn_jax.export import onnx_graph
from fcn_jax.export.onnx_model import make_model
from fcn_jax.export.onnx_primitives import RULES


def make(function, dtype="float32", size="b, h, w, 3"):
    images = jax.ShapeDtypeStruct(export.symbolic_shape(size), dtype)
    return make_model(function, images, input_name="images", output_name="output")


def run(model, images):
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return [session.run(None, {"images": each})[0] for each in images]


def sizes(images):
    b, h, w, _ = images.shape
    found = [h // 3, -(-h // 4), (h - 40) // 7 + w, (h - 40) % 7, 2 * h - w, h * w * b, h**2 - 5]
    if export.is_symbolic_dim(h):
        found += export.symbolic_shape("max(h - 9, 3), min(w, 6)", scope=h.scope)
    else:
        found += [max(h - 9, 3), min(w, 6)]
    return jnp.stack([jnp.asarray(size, jnp.int32) for size in found])


def whole_numbers(images):
    """Of both signs: they are rounded towards zero, and the sign of a rest is the dividend's."""
    n = jnp.arange(images.shape[1], dtype=jnp.int32) - 4
    parts = [lax.div(n, 3), lax.rem(n, 3), n // 3, n % 3, -n, jnp.sign(n), lax.clamp(-2, n, 3)]
    parts += [jnp.abs(n)]
    picked = jnp.where((n != 2) & (n < 3) | (n == 4), n, -n)
    return jnp.concatenate([*parts, picked, jnp.where(n > 0, n, 0)]).astype(jnp.float32)


def functions(images):
    x = jnp.square(images) + 1 + images.mean(axis=(1, 2), keepdims=True)
    return lax.integer_pow(jnp.exp(-jnp.log(x)), 2) + jnp.sqrt(jnp.square(x)) / jnp.minimum(x, 2)


def cuts(images):
    _, h, w, _ = images.shape
    config = [(0, 0, 0), (2, w - h, 0), (-1, 3, 0), (0, 0, 0)]
    padded = lax.pad(images, jnp.float32(-7), config)
    parts = [padded[:, 1 : w + 1 : 2], lax.rev(padded, (1, 3))[:, : (w + 1) // 2]]
    return jnp.stack(parts, axis=1)[..., ::-1]


def picks(images):
    h, w = images.shape[1:3]
    pairs = jnp.minimum(jnp.arange(h)[:, None] + jnp.arange(2), h - 1)
    picked = images.at[:, pairs].get(mode="promise_in_bounds")
    return jnp.squeeze(picked[:, 1 : h - 1, :1, 2:w], 2)


def products(images):
    b, h, _, c = images.shape
    rows = jnp.broadcast_to(jnp.arange(h, dtype=jnp.float32), (b, 2, h))
    table = np.arange(2.0 * c, dtype=np.float32).reshape(2, c)
    batches = jnp.einsum("bhw,brh->bwr", images[..., 0], rows)
    return jnp.einsum("bhwc,brh,dc->dwbr", images, rows, table) + batches.transpose(1, 0, 2)


def convolutions(images):
    def conv(maps, kernel, **options):
        return lax.conv_general_dilated(
            maps, kernel, dimension_numbers=("NHWC", "HWIO", "NHWC"), **options
        )

    kernel = np.sin(np.arange(3 * 2 * 1 * 6, dtype=np.float32)).reshape(3, 2, 1, 6)
    maps = conv(images, kernel, window_strides=(2, 1), padding=[(1, 4), (0, 3)],
                rhs_dilation=(1, 2), feature_group_count=3)  # fmt: skip
    return conv(
        maps,
        lax.slice(images, (0, 0, 0, 0), (1, 1, 1, 1)).reshape(()) * kernel.reshape(1, 1, 6, 6),
        window_strides=(1, 1),
        padding="VALID",
    )


def window_sums(images):
    return lax.reduce_window(
        images, 0.0, lax.add, (1, 2, 1, 3), (1, 1, 1, 1), [(0, 0), (0, 2), (0, 0), (1, 1)]
    )


FUNCTIONS = [sizes, whole_numbers, functions, cuts, picks, products, convolutions, window_sums]


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__name__)
def test_a_rule_computes_what_jax_computes(rng, function):
    images = [rng.normal(size=size).astype(np.float32) for size in [(2, 5, 8, 3), (1, 13, 6, 3)]]
    for actual, each in zip(run(make(function), images), images, strict=True):
        expected = np.asarray(jax.jit(function)(each))
        assert actual.dtype == expected.dtype and expected.any()
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)


def test_every_rule_is_tried():
    """By the functions above: what none of them meets nobody has seen at work."""
    seen = set()
    shape = jax.ShapeDtypeStruct(export.symbolic_shape("b, h, w, 3"), "float32")
    for function in FUNCTIONS:
        seen |= {name for name in RULES if f" {name}" in str(jax.make_jaxpr(function)(shape))}
    assert RULES.keys() == seen


def test_what_depends_on_constants_alone_is_computed_beforehand():
    model = make(lambda images: images * jnp.sqrt(jnp.arange(3.0)), size="b, 4, 5, 3")
    assert [node.op_type for node in model.graph.node][-2:] == ["Mul", "Identity"]
    assert "Sqrt" not in {node.op_type for node in model.graph.node}


@pytest.mark.parametrize(
    ("function", "answer"),
    [
        (lambda images: jnp.sort(images), "no rule for sort of jax.lax"),
        (lambda images: lax.pad(images, 0.0, [(0, 0, 1)] * 4), "rule for pad .* between values"),
        (lambda images: jnp.take(images, jnp.arange(images.shape[1]), axis=1), "mode"),
        (lambda images: images.astype(jnp.int32) & 7, "rule for and of jax.lax takes no bits"),
    ],
)
def test_what_has_no_rule_is_named(function, answer):
    with pytest.raises(UserError, match=f"ONNX: .*{answer}"):
        make(function)


def test_a_size_without_a_rule_is_named():
    graph = onnx_graph.Graph("images", (1, 4, 5, 3), "float32")
    with pytest.raises(UserError, match=r"no rule for the size abs\(h\).*\n?.*--size=HEIGHT"):
        graph._compute(ast.parse("abs(h)", mode="eval").body)
