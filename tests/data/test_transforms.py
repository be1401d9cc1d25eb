import numpy as np
import pytest

from fcn_jax.data.transforms import (
    pad_to,
    random_crop,
    random_flip,
    random_scale,
    random_scale_crop,
)

FILL = {"fill_rgb": (201, 202, 203), "ignore_label": 255}  # values that no coordinate pair has


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize("seed", range(4))
def test_crop_moves_image_and_label_alike(pair, seed):
    image, label = random_crop(rng(seed), *pair, size=32, **FILL)
    assert image.shape == (32, 32, 3)
    top, left = image[0, 0, :2]
    np.testing.assert_array_equal(image, pair[0][top : top + 32, left : left + 32])
    np.testing.assert_array_equal(label, pair[1][top : top + 32, left : left + 32])


def test_crop_reaches_every_place(pair):
    generator = rng()
    image, label = pair[0][:5, :4], pair[1][:5, :4]
    corners = {
        tuple(random_crop(generator, image, label, size=3, **FILL)[0][0, 0, :2].tolist())
        for _ in range(200)
    }
    assert corners == {(row, col) for row in range(3) for col in range(2)}


def test_crop_pads_small_images_bottom_right_with_void(pair):
    image, label = random_crop(rng(), *pair, size=96, **FILL)
    np.testing.assert_array_equal(image[:60, :90], pair[0])
    np.testing.assert_array_equal(label[:60, :90], pair[1])
    outside = np.ones((96, 96), bool)
    outside[:60, :90] = False
    assert np.all(label[outside] == 255)
    assert np.all(image[outside] == FILL["fill_rgb"])


@pytest.mark.parametrize("scale", [0.5, 1.7, 2.0])
def test_scale_keeps_label_on_its_image_point(pair, scale):
    image, label = random_scale(rng(), *pair, scale_range=(scale, scale))
    assert label.shape == (round(60 * scale), round(90 * scale))
    # Rows and columns are ramps, which bilinear resizing keeps away from the border; the label
    # there is that of the nearest pixel: within half a pixel, and half a level of rounding.
    y, x = np.mgrid[: label.shape[0], : label.shape[1]]
    y, x = ((y + 0.5) * 60 / label.shape[0] - 0.5), ((x + 0.5) * 90 / label.shape[1] - 0.5)
    inner = (slice(4, -4), slice(4, -4))
    np.testing.assert_allclose(image[..., 0][inner], y[inner], atol=1.01)
    np.testing.assert_allclose(image[..., 1][inner], x[inner], atol=1.01)
    rows, cols = np.floor(y + 0.5).astype(int), np.floor(x + 0.5).astype(int)
    np.testing.assert_array_equal(label, pair[1][rows, cols])


def test_scale_of_one_changes_nothing(pair):
    image, label = random_scale(rng(), *pair, scale_range=(1.0, 1.0))
    np.testing.assert_array_equal(image, pair[0])
    np.testing.assert_array_equal(label, pair[1])


def test_labels_are_never_blended(pair):
    label = np.where(pair[1] > 5, np.uint8(255), np.uint8(0))
    for seed in range(5):
        _, scaled = random_scale(rng(seed), pair[0], label, scale_range=(0.5, 2.0))
        assert set(np.unique(scaled)) <= {0, 255}


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("size", [24, 70])
def test_scale_crop_equals_scale_then_crop(pair, seed, size):
    noise = rng(99).integers(0, 256, pair[0].shape, np.uint8)
    one, two = rng(seed), rng(seed)
    scaled = random_scale(one, noise, pair[1], scale_range=(0.5, 2.0))
    image, label = random_crop(one, *scaled, size=size, **FILL)
    fused_image, fused_label = random_scale_crop(
        two, noise, pair[1], scale_range=(0.5, 2.0), size=size, **FILL
    )
    np.testing.assert_array_equal(fused_label, label)
    # Pillow rounds its filter weights, which it computes from the corner of the box.
    np.testing.assert_allclose(fused_image.astype(int), image, atol=1)
    assert one.random() == two.random()  # and both spent the same draws


def test_flip_mirrors_image_and_label_alike(pair):
    image, label = random_flip(rng(), *pair, prob=1.0)
    np.testing.assert_array_equal(image[..., 1], pair[0][..., 1][:, ::-1])
    np.testing.assert_array_equal(label, image[..., 2])


def test_flip_twice_is_identity(pair):
    twice = random_flip(rng(), *random_flip(rng(), *pair, prob=1.0), prob=1.0)
    np.testing.assert_array_equal(twice[0], pair[0])
    np.testing.assert_array_equal(twice[1], pair[1])


def test_flip_happens_with_its_probability(pair):
    generator = rng()
    flips = [random_flip(generator, *pair, prob=0.25)[0][0, 0, 1] != 0 for _ in range(2000)]
    assert abs(np.mean(flips) - 0.25) < 0.04  # four standard deviations
    assert random_flip(generator, *pair, prob=0.0)[0] is pair[0]


def test_pad_to_rejects_larger_image(pair):
    with pytest.raises(ValueError, match="cannot pad an image of 60x90 .* to 64x64"):
        pad_to(*pair, height=64, width=64, **FILL)
