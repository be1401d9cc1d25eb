"""Convolution against a loop over its taps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fcn_jax.ops.conv import conv
from fcn_jax.ops.geometry import Window, output_size
from tests import oracles


@pytest.mark.parametrize("kernel", [1, 2, 3, 4])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_conv_matches_loop_over_taps(rng, kernel, stride):
    maps = rng.normal(size=(2, 9, 8, 3))
    taps = rng.normal(size=(kernel, kernel, 3, 4))
    layers = [Window(kernel, stride, pad, rate) for pad in (0, 1, 6) for rate in (1, 2)]

    @jax.jit  # all at once: compiling takes longer than anything else here
    def run(maps, taps):
        return [conv(maps, taps, layer) for layer in layers]

    outputs = run(jnp.asarray(maps, jnp.float32), jnp.asarray(taps, jnp.float32))
    for layer, actual in zip(layers, outputs, strict=True):
        assert actual.shape[1:3] == (output_size(layer, 9), output_size(layer, 8))
        expected = oracles.conv(maps, taps, stride=stride, pad=layer.pad, rate=layer.rate)
        np.testing.assert_allclose(actual, expected, atol=2e-5)  # up to 48 float32 products


@pytest.mark.parametrize("groups", [2, 3, 6])
def test_grouped_conv_matches_loop_over_groups(rng, groups):
    maps = rng.normal(size=(2, 7, 5, 6))
    taps = rng.normal(size=(3, 3, 6 // groups, 12))
    layer = Window(3, stride=2, pad=1)
    actual = conv(
        jnp.asarray(maps, jnp.float32), jnp.asarray(taps, jnp.float32), layer, groups=groups
    )
    expected = oracles.conv(maps, taps, stride=2, pad=1, groups=groups)
    np.testing.assert_allclose(actual, expected, atol=2e-5)


@pytest.mark.parametrize("name", ["conv_k3_d2_p2", "conv_k4_d4_p6"])
def test_conv_is_unchanged(name):
    golden = oracles.load_golden("convolution")[name]
    layer = Window(len(golden["kernel"]), golden["stride"], golden["pad"], golden["dilation"])
    maps = jnp.asarray(golden["x"], jnp.float32)[None, :, :, None]
    taps = jnp.asarray(golden["kernel"], jnp.float32)[:, :, None, None]
    np.testing.assert_array_equal(conv(maps, taps, layer)[0, :, :, 0], golden["y"])  # integers
