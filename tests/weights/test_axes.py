"""Axes: fully connected layers as convolutions, axes, and what decimation keeps."""

import numpy as np
import pytest

from fcn_jax.weights import axes
from tests import oracles


def test_fc_to_conv_computes_the_matrix_product(rng):
    # A torch or Caffe map is flattened channel by channel.
    image, matrix = rng.normal(size=(5, 3, 3)), rng.normal(size=(4, 45))
    kernel = axes.oihw_to_hwio(axes.fc_to_conv(matrix, kernel=3))
    maps = oracles.conv(image.transpose(1, 2, 0)[None], kernel)
    assert maps.shape == (1, 1, 1, 4)
    # The kernel is float32.
    np.testing.assert_allclose(maps[0, 0, 0], matrix @ image.ravel(), rtol=1e-5)


def test_fc_to_conv_rejects_a_part_of_a_channel():
    with pytest.raises(ValueError, match="46 inputs are no whole channels of 3x3"):
        axes.fc_to_conv(np.zeros((4, 46)), kernel=3)


@pytest.mark.parametrize(("kernel", "taps"), [(3, [0, 3, 6]), (4, [0, 2, 4, 6])])
def test_decimate_keeps_taps_from_end_to_end(kernel, taps):
    weights = np.arange(49).reshape(1, 1, 7, 7)
    expected = [[7 * row + column for column in taps] for row in taps]
    np.testing.assert_array_equal(axes.decimate(weights, kernel=kernel)[0, 0], expected)


@pytest.mark.parametrize(("kernel", "rate"), [(3, 12), (4, 8), (7, 4)])
def test_decimated_taps_stay_over_their_pixels(rng, kernel, rate):
    """DeepLab's three heads see 25 units, and differ in how many of the taps are missing."""
    weights, maps = rng.normal(size=(2, 3, 7, 7)), rng.normal(size=(1, 27, 26, 3))
    step = rate // 4
    sparse = np.zeros_like(weights)
    sparse[:, :, ::step, ::step] = weights[:, :, ::step, ::step]
    small = axes.decimate(weights, kernel=kernel)
    assert small.shape == (2, 3, kernel, kernel)
    np.testing.assert_allclose(
        oracles.conv(maps, small.transpose(2, 3, 1, 0), rate=rate),
        oracles.conv(maps, sparse.transpose(2, 3, 1, 0), rate=4),
        atol=1e-12,  # float64, another order of summation
    )


def test_decimate_rejects_uneven_taps():
    with pytest.raises(ValueError, match="of 6 taps 3 cannot be kept at even steps"):
        axes.decimate(np.zeros((1, 1, 6, 6)), kernel=3)


def test_chosen_channels_are_different_ordered_and_seeded():
    first, again, other = (
        axes.choose_channels(np.random.default_rng(seed), 64, keep=16) for seed in (0, 0, 1)
    )
    assert len(set(first)) == 16 and first.min() >= 0 and first.max() < 64
    assert list(first) == sorted(first)
    np.testing.assert_array_equal(first, again)
    assert list(first) != list(other)


def test_axes_round_trip(rng):
    weights = rng.normal(size=(4, 3, 5, 2)).astype(np.float32)
    kernel = axes.oihw_to_hwio(weights)
    assert kernel[2, 1, 0, 3] == weights[3, 0, 2, 1]
    np.testing.assert_array_equal(axes.hwio_to_oihw(kernel), weights)
    kernel = axes.iohw_to_hwio(weights)
    assert kernel[2, 1, 3, 0] == weights[3, 0, 2, 1]
    np.testing.assert_array_equal(axes.hwio_to_iohw(kernel), weights)


@pytest.mark.parametrize("piece", [1, 20, 1000])
def test_pieces_make_no_difference(rng, monkeypatch, piece):
    monkeypatch.setattr(axes, "PIECE", piece)
    weights = rng.normal(size=(7, 3, 2, 2))
    outs, ins = np.array([0, 2, 3, 6, 1]), np.array([2, 0])
    kernel = axes.oihw_to_hwio(weights, outs=outs, ins=ins)
    expected = weights[outs][:, ins].transpose(2, 3, 1, 0).astype(np.float32)
    np.testing.assert_array_equal(kernel, expected)
