"""Matrix products against the transposed convolution that they stand for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

from fcn_jax.ops.geometry import Upscore, output_size
from fcn_jax.ops.upsample import (
    align_corners,
    bilinear_kernel,
    bilinear_upscore,
    conv_transpose,
    upscore_matrix,
)
from tests import oracles

pytestmark = pytest.mark.usefixtures("compile_well")

SIZES = [(1, 1), (2, 3), (5, 4), (7, 9)]


def _maps(rng, height, width):
    return rng.normal(size=(2, height, width, 3)).astype(np.float32)


@pytest.mark.parametrize("size", ["4", "16", "32", "63", "64"])
def test_bilinear_kernel_is_unchanged(size):
    taps = bilinear_kernel(int(size))
    np.testing.assert_array_equal(taps, oracles.load_golden("bilinear_kernels")[size])
    assert taps.sum() == (int(size) + 1) // 2  # the factor: all are binary fractions


@pytest.mark.parametrize("size", range(1, 20))
def test_bilinear_kernel_matches_released_filter(size):
    taps = bilinear_kernel(size)
    # Exact up to the rounding of the factors that are no power of two.
    np.testing.assert_allclose(np.outer(taps, taps), oracles.bilinear_kernel(size), atol=1e-15)


def _upscore_all(batches, layer):
    """Compiled all at once: compiling takes longer than anything else here."""
    return jax.jit(lambda batches: [bilinear_upscore(maps, layer) for maps in batches])(batches)


@pytest.mark.parametrize(
    "layer",
    [
        *[Upscore(2 * factor, factor) for factor in (1, 2, 3, 4, 8, 16, 32)],
        *[Upscore(2 * factor - 1, factor) for factor in (2, 3, 32)],
        *[align_corners(factor) for factor in (1, 2, 3, 8)],
        Upscore(4, 2, pad=1),
        Upscore(16, 8, pad=4),
    ],
    ids=str,
)
def test_bilinear_upscore_matches_transposed_convolution(rng, layer):
    batches = [_maps(rng, *size) for size in SIZES]
    kernel = oracles.bilinear_kernel(layer.kernel)
    for maps, actual in zip(batches, _upscore_all(batches, layer), strict=True):
        _, height, width, _ = maps.shape
        assert actual.shape[1:3] == (output_size(layer, height), output_size(layer, width))
        expected = oracles.conv_transpose(maps, kernel, stride=layer.stride, pad=layer.pad)
        np.testing.assert_allclose(actual, expected, atol=1e-6)  # at most four products each


def test_bilinear_upscore_is_unchanged():
    golden = oracles.load_golden("convolution")["deconv_bilinear_k4_s2"]
    maps = jnp.asarray(golden["x"], jnp.float32)[None, :, :, None]
    actual = bilinear_upscore(maps, Upscore(4, golden["stride"]))
    np.testing.assert_array_equal(actual[0, :, :, 0], golden["y"])  # small binary fractions


@pytest.mark.parametrize("factor", [2, 3, 4, 8, 16, 32])
def test_bilinear_upscore_preserves_a_constant_in_the_interior(factor):
    upscored = np.asarray(
        bilinear_upscore(jnp.full((1, 5, 3, 2), 7.0), Upscore(2 * factor, factor))
    )
    # A border as wide as the factor has no second unit to share with.
    interior = upscored[:, factor:-factor, factor:-factor]
    assert interior.shape[1:3] == (4 * factor, 2 * factor)
    np.testing.assert_allclose(interior, 7.0, rtol=1e-6)  # 1/3 and 2/3 are rounded


@pytest.mark.parametrize("factor", [1, 2, 3, 5, 8])
def test_align_corners_matches_interpolation_by_definition(rng, factor):
    batches = [_maps(rng, *size) for size in SIZES]
    for maps, actual in zip(batches, _upscore_all(batches, align_corners(factor)), strict=True):
        _, height, width, _ = maps.shape
        size = ((height - 1) * factor + 1, (width - 1) * factor + 1)
        expected = oracles.align_corners_resize(maps, *size)
        np.testing.assert_allclose(actual, expected, atol=1e-6)


def test_align_corners_is_unchanged():
    golden = oracles.load_golden("interp")
    line = jnp.asarray(golden["zoom8_of_3"]["x"], jnp.float32).reshape(1, 1, -1, 1)
    actual = bilinear_upscore(line, align_corners(8))
    np.testing.assert_array_equal(actual.ravel(), golden["zoom8_of_3"]["y"])
    for size, zoomed in golden["zoom8_sizes"].items():
        assert output_size(align_corners(8), int(size)) == zoomed


def test_shrinking_a_label_map_by_align_corners_takes_every_eighth_pixel(rng):
    """So training on the labels under the units is the release's, which shrinks them by 8."""
    golden = oracles.load_golden("interp")
    for size, small in golden["shrink8_sizes"].items():
        assert len(range(0, int(size), 8)) == small
        assert output_size(align_corners(8), small) == int(size)
    for size, (first, small) in golden["label_shrink8"].items():
        label = rng.integers(0, 21, int(size))
        line = label[None, None, first:, None]
        shrunk = oracles.align_corners_resize(line, 1, small).ravel()
        np.testing.assert_array_equal(shrunk, label[first::8])
        assert first + 8 * (small - 1) < int(size) <= first + 8 * small


@pytest.mark.parametrize("factor", [2, 8])
def test_align_corners_keeps_the_old_pixels(rng, factor):
    maps = _maps(rng, 4, 6)
    upscored = bilinear_upscore(jnp.asarray(maps), align_corners(factor))
    np.testing.assert_array_equal(upscored[:, ::factor, ::factor], maps)


def test_upscore_matrix_of_twice_the_factor_shares_every_unit_out_completely():
    np.testing.assert_allclose(upscore_matrix(5, Upscore(16, 8)).sum(0), 8)


def test_bilinear_upscore_keeps_the_dtype():
    maps = jnp.ones((1, 2, 2, 1), jnp.bfloat16)
    assert bilinear_upscore(maps, Upscore(4, 2)).dtype == jnp.bfloat16


# --- learned ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kernel", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("stride", [1, 2, 3, 5])
def test_conv_transpose_matches_loop_over_units(rng, kernel, stride):
    maps = _maps(rng, 3, 4)
    taps = rng.normal(size=(kernel, kernel, 3, 2))
    layers = [Upscore(kernel, stride, pad) for pad in range(kernel) if 2 * pad < kernel + stride]

    @jax.jit
    def run(maps, taps):
        return [conv_transpose(maps, taps, layer) for layer in layers]

    outputs = run(jnp.asarray(maps), jnp.asarray(taps, jnp.float32))
    for layer, actual in zip(layers, outputs, strict=True):
        assert actual.shape[1:3] == (output_size(layer, 3), output_size(layer, 4))
        expected = oracles.conv_transpose(maps, taps, stride=stride, pad=layer.pad)
        np.testing.assert_allclose(actual, expected, atol=2e-5)  # up to 36 float32 products


@pytest.mark.parametrize("name", ["deconv_bilinear_k4_s2", "deconv_asymmetric_k4_s2"])
def test_conv_transpose_is_unchanged(name):
    golden = oracles.load_golden("convolution")[name]
    maps = jnp.asarray(golden["x"], jnp.float32)[None, :, :, None]
    taps = jnp.asarray(golden["kernel"], jnp.float32)[:, :, None, None]
    actual = conv_transpose(maps, taps, Upscore(len(taps), golden["stride"]))
    # Integers and small binary fractions; the asymmetric kernel would show a flip.
    np.testing.assert_array_equal(actual[0, :, :, 0], golden["y"])


@pytest.mark.parametrize(
    "layer", [Upscore(4, 2), Upscore(63, 32), Upscore(64, 32), Upscore(16, 8, 4), align_corners(8)]
)
def test_bilinear_upscore_is_conv_transpose_with_the_diagonal_bilinear_kernel(rng, layer):
    maps = jnp.asarray(_maps(rng, 4, 5))
    taps = oracles.bilinear_kernel(layer.kernel)[:, :, None, None] * np.eye(3)
    fixed, learned = jax.jit(
        lambda maps, taps: (bilinear_upscore(maps, layer), conv_transpose(maps, taps, layer))
    )(maps, jnp.asarray(taps, jnp.float32))
    np.testing.assert_allclose(fixed, learned, atol=1e-6)  # four products that are not zero


def test_conv_transpose_keeps_the_dtype():
    maps, taps = jnp.ones((1, 2, 2, 1), jnp.bfloat16), jnp.ones((4, 4, 1, 2), jnp.bfloat16)
    assert conv_transpose(maps, taps, Upscore(4, 2)).dtype == jnp.bfloat16


@pytest.mark.parametrize("layer", [Upscore(4, 2), Upscore(63, 32), align_corners(8)], ids=str)
def test_symbolic_sizes_give_what_numbers_give(rng, layer):
    taps = jnp.asarray(rng.normal(size=(layer.kernel, layer.kernel, 3, 2)), jnp.float32)
    run = jax.jit(lambda maps: (bilinear_upscore(maps, layer), conv_transpose(maps, taps, layer)))
    sizes = export.symbolic_shape("b, h, w")
    program = export.export(run)(jax.ShapeDtypeStruct((*sizes, 3), "float32"))
    for size in ((1, 1), (5, 4)):
        maps = _maps(rng, *size)
        for ours, theirs in zip(program.call(maps), run(maps), strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-5)  # sums in another order
