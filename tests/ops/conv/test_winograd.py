"""Winograd's convolution against XLA's: exact on small integers, close on anything."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from fcn_jax.ops.conv import winograd
from fcn_jax.ops.geometry import Window, output_size
from tests import oracles

LAYERS = [
    Window(3),
    Window(3, pad=1),
    Window(3, pad=2),
    Window(3, pad=2, rate=2),
    Window(3, rate=3),
    Window(3, pad=8, rate=4),
]


def by_xla(maps, kernel, layer):
    return lax.conv_general_dilated(
        maps, kernel, (1, 1), [(layer.pad,) * 2] * 2,
        rhs_dilation=(layer.rate,) * 2, dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )  # fmt: skip


@pytest.mark.parametrize("layer", LAYERS, ids=str)
@pytest.mark.parametrize("at_once", [True, False])
def test_it_and_both_gradients_are_exact_on_integers(rng, layer, at_once, monkeypatch):
    monkeypatch.setattr(winograd, "PRODUCTS_BYTES", 2**28 if at_once else 0)
    assert winograd.suits(layer)
    size = (11, 8) if at_once else (12, 13)  # odd and even heights and widths
    units = [output_size(layer, side) for side in size]
    shapes = (2, *size, 3), (3, 3, 3, 5), (2, *units, 5)
    maps, kernel, grad = (jnp.asarray(rng.integers(-4, 5, shape), jnp.float32) for shape in shapes)

    @jax.jit
    def run(maps, kernel, grad):
        output, pull_back = jax.vjp(lambda *of: by_xla(*of, layer), maps, kernel)
        ours = (
            winograd.convolve(maps, kernel, layer),
            winograd.maps_grad(kernel, grad, layer),
            winograd.kernel_grad(maps, grad, layer),
        )
        return ours, (output, *pull_back(grad))

    for actual, expected in zip(*run(maps, kernel, grad), strict=True):
        np.testing.assert_array_equal(actual, expected)


def test_rounding_is_that_of_float32(rng):
    maps, kernel = rng.normal(size=(1, 9, 10, 64)), rng.normal(size=(3, 3, 64, 8)) / 24
    actual = winograd.convolve(
        jnp.asarray(maps, jnp.float32), jnp.asarray(kernel, jnp.float32), Window(3, pad=1)
    )
    expected = oracles.conv(maps, kernel, stride=1, pad=1, rate=1)
    # 576 products around 1/24 each: outputs around 1.
    np.testing.assert_allclose(actual, expected, atol=1e-5)


@pytest.mark.parametrize(
    "layer",
    [
        Window(2),
        Window(5, pad=2),
        Window(3, stride=2, pad=1),
        Window(3, pad=3),
        Window(3, pad=1, rate=2),
    ],
    ids=str,
)
def test_other_layers_do_not_suit(layer):
    assert not winograd.suits(layer)
