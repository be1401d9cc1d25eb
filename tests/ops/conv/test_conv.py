"""Convolution against a loop over its taps, and what the articles say about it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from fcn_jax.ops.conv import patches, taps
from fcn_jax.ops.conv.conv import conv
from fcn_jax.ops.geometry import Upscore, Window, output_size
from fcn_jax.ops.upsample import conv_transpose
from tests import oracles

pytestmark = pytest.mark.usefixtures("compile_well")


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


@pytest.mark.parametrize("name", ["conv_k3_d2_p2", "conv_k4_d4_p6"])
def test_conv_is_unchanged(name):
    golden = oracles.load_golden("convolution")[name]
    layer = Window(len(golden["kernel"]), golden["stride"], golden["pad"], golden["dilation"])
    maps = jnp.asarray(golden["x"], jnp.float32)[None, :, :, None]
    taps = jnp.asarray(golden["kernel"], jnp.float32)[:, :, None, None]
    np.testing.assert_array_equal(conv(maps, taps, layer)[0, :, :, 0], golden["y"])  # integers


# --- rounding up ------------------------------------------------------------------------------


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize(("kernel", "stride", "pad"), [(2, 2, 0), (3, 2, 1), (2, 2, 1), (3, 4, 2)])
def test_conv_that_rounds_up_meets_zeros_beyond_the_end(rng, groups, kernel, stride, pad):
    taps = rng.normal(size=(kernel, kernel, 4 // groups, 4))
    layer = Window(kernel, stride, pad, ceil=True)
    batches = [rng.normal(size=(1, size, 9 - size % 4, 4)) for size in (5, 6, 7, 8)]

    @jax.jit
    def run(batches, taps):
        return [conv(maps, taps, layer, groups=groups) for maps in batches]

    outputs = run(
        [jnp.asarray(maps, jnp.float32) for maps in batches], jnp.asarray(taps, jnp.float32)
    )
    options = {"stride": stride, "pad": pad}
    for maps, actual in zip(batches, outputs, strict=True):
        beyond = [(0, 0), (0, stride), (0, stride), (0, 0)]
        height, width = (
            len(oracles.caffe_pool_windows(size, kernel=kernel, **options))
            for size in maps.shape[1:3]
        )
        expected = oracles.conv(np.pad(maps, beyond), taps, groups=groups, **options)
        assert actual.shape[1:3] == (height, width)
        np.testing.assert_allclose(actual, expected[:, :height, :width], atol=2e-5)


# --- groups -----------------------------------------------------------------------------------


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


@pytest.mark.parametrize("kernel", [1, 2, 3])
def test_depthwise_conv_matches_loop_over_channels(rng, kernel):
    maps = rng.normal(size=(2, 9, 8, 5))
    taps = rng.normal(size=(kernel, kernel, 1, 5))
    layers = [
        Window(kernel, stride, pad, rate)
        for stride in (1, 2, 3)
        for pad in (0, 4)
        for rate in (1, 2, 4)
        if rate * (kernel - 1) < 8 + 2 * pad
    ]

    @jax.jit
    def run(maps, taps):
        return [conv(maps, taps, layer, groups=5) for layer in layers]

    outputs = run(jnp.asarray(maps, jnp.float32), jnp.asarray(taps, jnp.float32))
    for layer, actual in zip(layers, outputs, strict=True):
        options = {"stride": layer.stride, "pad": layer.pad, "rate": layer.rate}
        expected = oracles.conv(maps, taps, groups=5, **options)
        np.testing.assert_allclose(actual, expected, atol=1e-5)  # nine products


def _integers(rng, *shape):
    """Sums of their products are exact in any order."""
    return jnp.asarray(rng.integers(-4, 5, shape), jnp.float32)


@pytest.mark.parametrize(
    ("layer", "groups", "features"),
    [
        (Window(3, pad=1), 6, 6),
        (Window(3, stride=2, pad=1), 6, 6),
        (Window(3, pad=4, rate=4), 6, 6),
        (Window(2, stride=3, rate=2), 6, 6),
        (Window(5, stride=2, pad=1), 2, 4),
        (Window(3, pad=1), 6, 12),
        (Window(1), 1, 5),
        (Window(3, pad=1), 1, 5),
        (Window(3, pad=12, rate=12), 1, 5),  # but for the middle tap, all meet padding alone
        (Window(3, pad=5, rate=5), 1, 5),
        (Window(7, pad=20), 1, 5),
        (Window(3, stride=2, pad=7), 1, 5),
        (Window(2, stride=4, pad=3, rate=3), 1, 5),
    ],
    ids=str,
)
def test_gradients_match_those_of_the_operation(rng, layer, groups, features):
    def by_xla(maps, taps):
        return lax.conv_general_dilated(
            maps, taps, (layer.stride,) * 2, [(layer.pad,) * 2] * 2,
            rhs_dilation=(layer.rate,) * 2, dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=groups,
        )  # fmt: skip

    def ours(maps, taps):
        return conv(maps, taps, layer, groups=groups)

    maps = _integers(rng, 2, 11, 8, 6)
    taps = _integers(rng, layer.kernel, layer.kernel, 6 // groups, features)
    units = (output_size(layer, size) for size in (11, 8))
    grad = _integers(rng, 2, *units, features)

    @jax.jit
    def pull_back(maps, taps, grad):
        return [jax.vjp(form, maps, taps)[1](grad) for form in (ours, by_xla)]

    actual, expected = pull_back(maps, taps, grad)
    np.testing.assert_array_equal(actual[0], expected[0])
    np.testing.assert_array_equal(actual[1], expected[1])


def test_depthwise_conv_of_bfloat16_sums_in_float32():
    maps = jnp.ones((1, 300, 5, 2), jnp.bfloat16)
    taps = jnp.ones((3, 3, 1, 2), jnp.bfloat16).at[0, 0].set(256)

    @jax.jit
    def run(maps, taps):
        output, pull_back = jax.vjp(lambda *of: conv(*of, Window(3), groups=2), maps, taps)
        return output, *pull_back(jnp.ones_like(output))

    output, maps_grad, taps_grad = run(maps, taps)
    assert {output.dtype, maps_grad.dtype, taps_grad.dtype} == {jnp.dtype("bfloat16")}
    # In bfloat16, 256 + 1 is 256.
    np.testing.assert_array_equal(output, jnp.full_like(output, 256 + 8))
    np.testing.assert_array_equal(maps_grad[0, 2:-2, 2], jnp.full((296, 2), 256 + 8))
    np.testing.assert_array_equal(taps_grad, jnp.full_like(taps, 298 * 3))


@pytest.mark.parametrize("form", [patches.convolve, taps.convolve], ids=["patches", "taps"])
def test_gradients_of_bfloat16_maps_are_summed_over_the_taps_in_float32(form):
    maps = jnp.ones((1, 6, 6, 1), jnp.bfloat16)
    kernel = jnp.ones((3, 3, 1, 1), jnp.bfloat16).at[[0, 2], [0, 2]].set(256)
    maps_grad = jax.jit(jax.grad(lambda maps: form(maps, kernel, Window(3)).sum()))(maps)
    # In bfloat16, 256 + 1 is 256, and 519 is 520.
    np.testing.assert_array_equal(maps_grad[0, 2:4, 2:4], jnp.full((2, 2, 1), 2 * 256 + 7 + 1))


# --- what the articles say --------------------------------------------------------------------

SHAPES = [(kernel, stride) for kernel in (1, 2, 3, 4, 7, 16) for stride in (1, 2, 3, 8)]


@pytest.mark.parametrize(("kernel", "stride"), SHAPES)
def test_sizes_are_those_of_the_two_formulas(kernel, stride):
    """Convolution: (n + 2 p - k) / s + 1, rounded down. Deconvolution: (n - 1) s + k - 2 p."""
    taps = jax.ShapeDtypeStruct((kernel, kernel, 1, 1), "float32")
    for size in range(16, 21):
        maps = jax.ShapeDtypeStruct((1, size, 2 * size, 1), "float32")
        for pad in (0, 1, 5):
            small, large = (
                jax.eval_shape(
                    lambda maps, taps, f=f, layer=layer: f(maps, taps, layer), maps, taps
                )
                for f, layer in (
                    (conv, Window(kernel, stride, pad)),
                    (conv_transpose, Upscore(kernel, stride, pad)),
                )
            )
            by_formula = [(n + 2 * pad - kernel) // stride + 1 for n in (size, 2 * size)]
            assert list(small.shape[1:3]) == by_formula
            by_formula = [(n - 1) * stride + kernel - 2 * pad for n in (size, 2 * size)]
            assert list(large.shape[1:3]) == by_formula


def _cut(full, begin, shape):
    """Takes [begin, begin + size) of both axes; there are zeros behind the end."""
    cut = full[:, begin : begin + shape[1], begin : begin + shape[2]]
    rest = [(0, size - met) for size, met in zip(shape[1:3], cut.shape[1:3], strict=True)]
    return np.pad(cut, [(0, 0), *rest, (0, 0)])


@pytest.mark.parametrize("kernel", [1, 3, 4])
@pytest.mark.parametrize("ceil", [False, True])
def test_conv_transpose_is_the_transpose_of_conv(rng, kernel, ceil):
    """<conv(x), y> = <x, conv_transpose(y)>, whether or not the windows come out even.

    Where they do not, the padding behind the image has a pixel that no window meets, or lacks one
    that a window does. So only the padding before it is cut off, and the rest compared.
    """
    layers = [
        Window(kernel, stride, pad, ceil=ceil) for stride in (1, 2, 3) for pad in {0, 1, kernel}
    ]
    x, taps = _integers(rng, 2, 11, 8, 3), _integers(rng, kernel, kernel, 3, 2)
    ys = [_integers(rng, 2, *(output_size(layer, n) for n in (11, 8)), 2) for layer in layers]

    @jax.jit
    def run(x, taps, ys):
        return [
            (
                conv(x, taps, layer),
                conv_transpose(y, taps.swapaxes(2, 3), Upscore(kernel, layer.stride)),
            )
            for layer, y in zip(layers, ys, strict=True)
        ]

    for layer, y, (forth, back) in zip(layers, ys, run(x, taps, ys), strict=True):
        # Up to a hundred thousand products of small integers: exact.
        assert np.vdot(forth, y) == np.vdot(x, _cut(back, layer.pad, x.shape)), layer


@pytest.mark.parametrize("layer", [Window(4, 2, pad=1), Window(3, 2), Window(3, 3, pad=2)], ids=str)
def test_conv_transpose_multiplies_by_the_transposed_matrix(rng, layer):
    """A convolution is a matrix C; the transposed one multiplies by C^T forward, by C backward."""
    units = (4, 2)
    upscore = Upscore(*layer[:3])
    image = [output_size(upscore, size) for size in units]
    taps = _integers(rng, layer.kernel, layer.kernel, 1, 1)

    @jax.jit
    def run(taps):
        pixels = jnp.eye(image[0] * image[1]).reshape(-1, *image, 1)
        maps = jnp.eye(units[0] * units[1]).reshape(-1, *units, 1)
        spread, pull_back = jax.vjp(
            lambda maps: conv_transpose(maps, taps, upscore), jnp.zeros((len(pixels), *units, 1))
        )
        assert spread.shape == pixels.shape
        return conv(pixels, taps, layer), conv_transpose(maps, taps, upscore), pull_back(pixels)[0]

    by_conv, forward, backward = (np.reshape(maps, (len(maps), -1)) for maps in run(taps))
    np.testing.assert_array_equal(forward.T, by_conv)
    np.testing.assert_array_equal(backward, by_conv)
