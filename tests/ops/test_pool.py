"""Pooling by shifted slices against Caffe's windows, one by one."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export, lax

from fcn_jax.ops.geometry import Window, output_size
from fcn_jax.ops.pool import avg_pool, max_pool
from tests import oracles

POOL = {"max": max_pool, "ave": avg_pool}
CASES = oracles.load_golden("pooling")["cases"]


def _maps(rng, height, width, channels=2):
    return rng.normal(size=(2, height, width, channels)).astype(np.float32)


@pytest.mark.parametrize("index", range(len(CASES)))
def test_pooling_is_unchanged(index):
    case = CASES[index]
    layer = Window(case["kernel"], case["stride"], case["pad"], ceil=True)
    maps = jnp.asarray(case["x"], jnp.float32)[None, :, :, None]
    actual = jax.jit(lambda maps: POOL[case["mode"]](maps, layer))(maps)[0, :, :, 0]
    np.testing.assert_allclose(actual, case["y"], rtol=1e-6)  # ninths, in float32


@pytest.mark.parametrize("mode", POOL)
@pytest.mark.parametrize(
    ("kernel", "stride"),  # a stride beyond the kernel would leave Caffe windows without a pixel
    [(1, 1), (2, 1), (2, 2), (3, 1), (3, 2), (3, 3), (4, 2), (4, 3)],
)
def test_pooling_matches_caffe_windows(rng, mode, kernel, stride):
    sizes = [(kernel, 9), (5, 8), (7, 6)]
    cases = [(pad, _maps(rng, *size)) for pad in range(kernel) for size in sizes]

    @jax.jit  # all at once: compiling takes longer than anything else here
    def run(batches):
        layers = [Window(kernel, stride, pad, ceil=True) for pad, _ in cases]
        return [POOL[mode](maps, layer) for maps, layer in zip(batches, layers, strict=True)]

    for (pad, maps), actual in zip(cases, run([maps for _, maps in cases]), strict=True):
        expected = oracles.caffe_pool(maps, mode, kernel=kernel, stride=stride, pad=pad)
        # Maxima are copies; means are sums of up to 16 float32 numbers.
        tolerance = 0 if mode == "max" else 1e-6
        np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("rate", [2, 3, 4])
@pytest.mark.parametrize("stride", [1, 2])
def test_dilated_max_pool_matches_its_taps(rng, rate, stride):
    maps = _maps(rng, 11, 8)
    layer = Window(3, stride, pad=rate, rate=rate)
    actual = jax.jit(lambda maps: max_pool(maps, layer))(maps)
    expected = oracles.dilated_max_pool(maps, kernel=3, stride=stride, pad=rate, rate=rate)
    np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize("stride", [2, 4])  # each of these windows meets pixels of one phase alone
def test_dilated_avg_pool_is_that_of_every_second_pixel(rng, stride):
    maps = _maps(rng, 11, 9)
    layer = Window(3, stride, pad=2, rate=2, ceil=True)
    actual = jax.jit(lambda maps: avg_pool(maps, layer))(maps)
    expected = oracles.caffe_pool(maps[:, ::2, ::2], "ave", kernel=3, stride=stride // 2, pad=1)
    np.testing.assert_allclose(actual, expected, rtol=1e-6, atol=1e-6)  # sums of nine


def test_max_pool_ignores_padding_where_everything_is_negative():
    pooled = max_pool(jnp.full((1, 3, 3, 1), -5.0), Window(3, pad=1, ceil=True))
    np.testing.assert_array_equal(pooled, jnp.full((1, 3, 3, 1), -5.0))


def test_avg_pool_counts_padding_as_zeros():
    pooled = avg_pool(jnp.full((1, 3, 3, 1), 9.0), Window(3, pad=1, ceil=True))
    np.testing.assert_allclose(pooled[0, :, :, 0], [[4, 6, 4], [6, 9, 6], [4, 6, 4]], rtol=1e-6)


def test_avg_pool_does_not_count_what_lies_beyond_the_padding():
    # 4 pixels, windows of 3 at stride 2: the second one meets 2 pixels and nothing else.
    pooled = avg_pool(jnp.full((1, 4, 4, 1), 6.0), Window(3, stride=2, ceil=True))
    np.testing.assert_allclose(pooled, jnp.full((1, 2, 2, 1), 6.0), rtol=1e-6)


def test_max_pool_depends_on_every_pixel_of_its_window_and_on_no_other():
    layer = Window(3, stride=2, pad=1, ceil=True)
    brightened = jnp.eye(36).reshape(36, 6, 6, 1)  # one bright pixel in each
    pooled = np.asarray(jax.jit(max_pool, static_argnames="layer")(brightened, layer=layer))[..., 0]
    windows = oracles.caffe_pool_windows(6, kernel=3, stride=2, pad=1)
    for y, (top, bottom) in enumerate(windows):
        for x, (left, right) in enumerate(windows):
            expected = np.zeros((6, 6))
            expected[max(top, 0) : bottom, max(left, 0) : right] = 1
            np.testing.assert_array_equal(pooled[:, y, x].reshape(6, 6), expected)


@pytest.mark.parametrize(
    "layer", [Window(2, 2, ceil=True), Window(3, 2, pad=1, ceil=True), Window(3, pad=1)]
)
def test_max_pool_gradient_matches_reduce_window_without_ties(rng, layer):
    maps = rng.permutation(2 * 9 * 7 * 2).reshape(2, 9, 7, 2).astype(np.float32)
    height, width = (output_size(layer, size) for size in (9, 7))

    def by_xla(maps):
        padding = [(0, 0)] + [
            (layer.pad, (count - 1) * layer.stride + layer.kernel - size - layer.pad)
            for count, size in ((height, 9), (width, 7))
        ]
        return lax.reduce_window(
            maps, -jnp.inf, lax.max, (1, layer.kernel, layer.kernel, 1),
            (1, layer.stride, layer.stride, 1), (*padding, (0, 0)),
        )  # fmt: skip

    # Sums of integers are exact in any order.
    weights = rng.integers(1, 100, (2, height, width, 2)).astype(np.float32)

    @partial(jax.jit, static_argnums=0)
    def pull_back(pool, maps):
        pooled, gradient = jax.vjp(pool, maps)
        return pooled, gradient(weights)[0]

    ours, theirs = pull_back(partial(max_pool, layer=layer), maps), pull_back(by_xla, maps)
    np.testing.assert_array_equal(ours[0], theirs[0])
    np.testing.assert_array_equal(ours[1], theirs[1])


def test_max_pool_gradient_goes_to_the_first_maximum_in_reading_order():
    image = [[0, 7, 7], [7, 7, 0], [0, 0, 7]]
    maps = jnp.asarray(image, jnp.float32)[None, :, :, None]
    gradient = jax.jit(jax.grad(lambda maps: max_pool(maps, Window(3)).sum()))(maps)
    np.testing.assert_array_equal(gradient[0, :, :, 0], [[0, 1, 0], [0, 0, 0], [0, 0, 0]])


@pytest.mark.parametrize("layer", [Window(2, 2), Window(3, 2, pad=1, ceil=True)])
def test_max_pool_gradient_of_ties_matches_a_search_in_reading_order(rng, layer):
    maps = rng.integers(0, 3, (1, 8, 6, 1)).astype(np.float32)
    options = {"kernel": layer.kernel, "stride": layer.stride, "pad": layer.pad}
    expected = np.zeros((8, 6))
    for top, bottom in oracles.caffe_pool_windows(8, **options):
        for left, right in oracles.caffe_pool_windows(6, **options):
            pixels = [
                (y, x)
                for y in range(max(top, 0), min(bottom, 8))
                for x in range(max(left, 0), min(right, 6))
            ]
            expected[max(pixels, key=lambda pixel: maps[0, *pixel, 0])] += 1  # max: the first
    gradient = jax.jit(jax.grad(lambda maps: max_pool(maps, layer).sum()))(maps)
    np.testing.assert_array_equal(gradient[0, :, :, 0], expected)


@pytest.mark.parametrize("pool", POOL.values())
def test_pooling_rejects_maps_smaller_than_the_window(pool):
    with pytest.raises(ValueError, match="2 pixels are too few for a window of 3"):
        pool(jnp.zeros((1, 2, 2, 1)), Window(3))


@pytest.mark.parametrize("mode", POOL)
@pytest.mark.parametrize(
    "layer",
    [Window(2, 2, ceil=True), Window(2, 2, 1, ceil=True), Window(3, 1, 1, ceil=True)],
    ids=str,
)
def test_symbolic_sizes_give_what_numbers_give(rng, mode, layer):
    run = jax.jit(lambda maps: POOL[mode](maps, layer))
    sizes = export.symbolic_shape("b, h, w")
    program = export.export(run)(jax.ShapeDtypeStruct((*sizes, 2), "float32"))
    for size in ((5, 8), (1, 7)):
        maps = _maps(rng, *size)
        # XLA may multiply by the inverse of a constant count.
        tolerance = 0 if mode == "max" else 1e-6
        np.testing.assert_allclose(program.call(maps), run(maps), rtol=tolerance, atol=tolerance)
