"""Maps at another scale: where their pixels lie, whatever the size and the padding."""

from fractions import Fraction

import jax
import numpy as np
import pytest
from jax import export

from fcn_jax.ops import rescale as ops
from fcn_jax.ops.rescale import scaled_size
from tests import oracles

# One program, and not one for each of its operations.
rescale = jax.jit(ops.rescale, static_argnums=1)
rescale_onto = jax.jit(ops.rescale_onto, static_argnums=(1, 2))

SCALES = [Fraction(3, 4), Fraction(1, 2), Fraction(1, 3), Fraction(5, 4), Fraction(2)]


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("size", [(13, 25), (14, 20), (1, 2)])
def test_pixel_i_is_what_lies_at_i_over_the_scale(rng, scale, size):
    maps = rng.normal(size=(2, *size, 3)).astype("float32")
    actual = rescale(maps, scale)
    rows, columns = (np.arange(count) / float(scale) for count in actual.shape[1:3])
    assert rows[-1] <= size[0] - 1 < rows[-1] + 1 / scale
    expected = np.apply_along_axis(lambda a: np.interp(rows, np.arange(size[0]), a), 1, maps)
    expected = np.apply_along_axis(lambda a: np.interp(columns, np.arange(size[1]), a), 2, expected)
    np.testing.assert_allclose(actual, expected, atol=1e-6)


@pytest.mark.parametrize("scale", [Fraction(3, 4), Fraction(1, 2)])
def test_where_corners_meet_it_is_align_corners_resizing_there_and_back(rng, scale):
    maps = rng.normal(size=(1, 33, 65, 2)).astype("float32")
    small = rescale(maps, scale)
    height, width = small.shape[1:3]
    assert (height - 1, width - 1) == (32 * scale, 64 * scale)
    np.testing.assert_allclose(small, oracles.align_corners_resize(maps, height, width), atol=1e-6)
    np.testing.assert_allclose(
        rescale_onto(small, 1 / scale, (33, 65)),
        oracles.align_corners_resize(small, 33, 65),
        atol=1e-6,
    )


def test_beyond_the_last_unit_its_value_stays(rng):
    maps = rng.normal(size=(1, 3, 4, 1)).astype("float32")
    large = np.asarray(rescale_onto(maps, Fraction(2), (8, 9)))
    np.testing.assert_array_equal(
        large[:, 4:, :7], np.broadcast_to(large[:, 4:5, :7], (1, 4, 7, 1))
    )
    # Units 0 to 2 lie on rows 0 to 4, units 0 to 3 on columns 0 to 6.
    within = large[:, :5, :7]
    np.testing.assert_array_equal(large, np.pad(within, [(0, 0), (0, 3), (0, 2), (0, 0)], "edge"))


@pytest.mark.parametrize("scale", SCALES)
def test_padding_moves_no_pixel(rng, scale):
    maps = rng.normal(size=(1, 13, 18, 2)).astype("float32")
    # Large, so that the least of it would be seen. A sum of two is as good in either order, and
    # which one a processor takes depends on the size: the last bit may differ.
    padded = np.pad(maps, [(0, 0), (0, 5), (0, 7), (0, 0)], constant_values=1e12)
    expected = rescale(maps, scale)
    height, width = expected.shape[1:3]
    np.testing.assert_allclose(
        np.asarray(rescale(padded, scale))[:, :height, :width], expected, atol=1e-6
    )


def test_sizes_may_be_symbolic():
    (size,) = export.symbolic_shape("n")
    assert scaled_size(size, Fraction(3, 4)) == (3 * size - 3) // 4 + 1
