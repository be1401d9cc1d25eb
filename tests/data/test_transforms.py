import math
from functools import partial

import numpy as np
import pytest
import scipy.ndimage
from PIL import Image

from fcn_jax.data.batches.transforms import (
    GRID,
    MAX_CROPS,
    pad_to,
    random_crop,
    random_flip,
)

FILL = {"fill_rgb": (201, 202, 203), "ignore_label": 255}  # values that no coordinate pair has
EVERYTHING = {
    "scale_range": (0.5, 1.6),
    "rotation_range": (-40.0, 40.0),
    "max_class_share": 0.5,
}


def rng(seed=0):
    return np.random.default_rng(seed)


def whole(pair, *, seed=0, **options):
    """The scaled and rotated pair, uncut."""
    return random_crop(rng(seed), *pair, size=1000, **FILL, **options)


# --- cutting ----------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_crop_moves_image_and_label_alike(pair, seed):
    image, label = random_crop(rng(seed), *pair, size=32)
    assert image.shape == (32, 32, 3)
    top, left = image[0, 0, :2]
    np.testing.assert_array_equal(image, pair[0][top : top + 32, left : left + 32])
    np.testing.assert_array_equal(label, pair[1][top : top + 32, left : left + 32])


def test_crop_reaches_every_place(pair):
    generator = rng()
    image, label = pair[0][:5, :4], pair[1][:5, :4]
    corners = {
        tuple(random_crop(generator, image, label, size=3)[0][0, 0, :2].tolist())
        for _ in range(200)
    }
    assert corners == {(row, col) for row in range(3) for col in range(2)}


def test_crop_of_a_small_image_is_the_image(pair):
    image, label = whole(pair)
    np.testing.assert_array_equal(image, pair[0])
    np.testing.assert_array_equal(label, pair[1])


@pytest.mark.parametrize("scale", [0.5, 1.7, 2.0])
def test_scale_keeps_label_on_its_image_point(pair, scale):
    image, label = whole(pair, scale_range=(scale, scale))
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


def test_scales_take_the_place_of_the_range(pair):
    options = {"scales": (0.5, 2.0), "scale_range": (1.0, 1.5)}
    shapes = {whole(pair, seed=seed, **options)[1].shape for seed in range(20)}
    assert shapes == {(30, 45), (120, 180)}


def stripes(height=60, width=90, period=15):
    """A pair whose image shows the coordinates, and whose label is that of a coarse cell."""
    y, x = np.mgrid[:height, :width]
    label = (y // period + 4 * (x // period)).astype(np.uint8)
    return np.stack([y, x, y], axis=-1).astype(np.uint8), label


@pytest.mark.parametrize("seed", range(8))
def test_label_stays_on_its_image_point_under_everything(seed):
    image, label = stripes()
    generator = rng(seed)
    image, label = random_crop(generator, image, label, size=50, **FILL, **EVERYTHING)
    image, label = random_flip(generator, image, label, prob=0.5)
    y, x = image[..., 0].astype(int), image[..., 1].astype(int)
    # The image says where a pixel came from to within a level; the border of a cell is left out,
    # and so is that of the image, beyond which Pillow repeats it.
    sure = (label != 255) & (y > 1) & (y < 58) & (x > 1) & (x < 88)
    sure &= (np.abs(y % 15 - 7) < 6) & (np.abs(x % 15 - 7) < 6)
    assert sure.mean() > 0.1
    np.testing.assert_array_equal(label[sure], (y // 15 + 4 * (x // 15))[sure])


@pytest.mark.parametrize("seed", range(5))
def test_labels_are_never_invented(pair, seed):
    label = np.where(pair[1] > 5, np.uint8(250), np.uint8(0))
    _, cut = random_crop(rng(seed), pair[0], label, size=40, **FILL, **EVERYTHING)
    assert set(np.unique(cut)) <= {0, 250, 255}


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("size", [24, 70])
def test_crop_equals_the_part_of_the_resized_whole(pair, seed, size):
    noise = rng(99).integers(0, 256, pair[0].shape, np.uint8)
    one, two = rng(seed), rng(seed)
    scale = one.uniform(0.5, 2.0)
    height, width = round(60 * scale), round(90 * scale)
    resized = Image.fromarray(noise).resize((width, height), Image.Resampling.BILINEAR)
    top = one.integers(0, max(height - size, 0) + 1)
    left = one.integers(0, max(width - size, 0) + 1)
    image, label = random_crop(two, noise, pair[1], scale_range=(0.5, 2.0), size=size)
    # Pillow rounds its filter weights, which it computes from the corner of the box.
    part = np.asarray(resized)[top : top + size, left : left + size]
    np.testing.assert_allclose(image.astype(int), part, atol=1)
    rows = (2 * np.arange(height) + 1) * 60 // (2 * height)
    cols = (2 * np.arange(width) + 1) * 90 // (2 * width)
    part = pair[1][rows][:, cols][top : top + size, left : left + size]
    np.testing.assert_array_equal(label, part)
    assert one.random() == two.random()  # and both spent the same draws


def test_crop_draws_a_scale_and_a_place_alone(pair):
    one, two = rng(), rng()
    random_crop(one, *pair, size=32)
    two.uniform(), two.integers(0, 60 - 32 + 1), two.integers(0, 90 - 32 + 1)
    assert one.random() == two.random()


# --- rotation ---------------------------------------------------------------------------------


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_rotation_by_right_angles_matches_rot90(pair, turns):
    square = pair[0][:40, :40], pair[1][:40, :40]
    image, label = whole(square, rotation_range=(90.0 * turns,) * 2)
    # Pillow cuts the fractions off, and 7.999 is a 7.
    np.testing.assert_allclose(image.astype(int), np.rot90(square[0], turns), atol=1)
    np.testing.assert_array_equal(label, np.rot90(square[1], turns))


@pytest.mark.parametrize("scale", [0.6, 1.0, 1.6])  # no centre falls between two source pixels
def test_rotation_by_next_to_nothing_is_identity(pair, scale):
    still = whole(pair, scale_range=(scale, scale))
    image, label = whole(pair, scale_range=(scale, scale), rotation_range=(1e-6, 1e-6))
    np.testing.assert_array_equal(label, still[1])
    np.testing.assert_allclose(image.astype(int), still[0], atol=1)


def test_rotation_by_0_changes_nothing(pair):
    image, label = whole(pair, rotation_range=(0.0, 0.0))
    np.testing.assert_array_equal(image, pair[0])
    np.testing.assert_array_equal(label, pair[1])


def test_rotation_matches_pixel_loop(pair):
    """Every pixel of the result asks where it was, counterclockwise about the centre."""
    angle = 25.0
    source, classes = pair[0][:14, :19], pair[1][:14, :19]
    image, label = whole((source, classes), rotation_range=(angle, angle))
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    for row in range(14):
        for col in range(19):
            right, up = col + 0.5 - 9.5, 7 - (row + 0.5)
            x, y = 9.5 + right * cos + up * sin, 7 - (up * cos - right * sin)
            if not (0 <= x < 19 and 0 <= y < 14):
                assert label[row, col] == 255 and tuple(image[row, col]) == FILL["fill_rgb"]
                continue
            assert label[row, col] == classes[int(y), int(x)]
            value = scipy.ndimage.map_coordinates(
                source.astype(float), [[y - 0.5] * 3, [x - 0.5] * 3, [0, 1, 2]],
                order=1, mode="nearest",
            )  # fmt: skip
            np.testing.assert_allclose(image[row, col], value, atol=1)


@pytest.mark.parametrize("scale", [0.6, 1.6])
@pytest.mark.parametrize("seed", range(4))
def test_rotated_crop_equals_the_part_of_the_rotated_whole(pair, seed, scale):
    options = {"scale_range": (scale, scale), "rotation_range": (-90.0, 90.0)}
    image, label = whole(pair, seed=seed, **options)
    generator, size = rng(seed), 20
    generator.uniform(), generator.uniform()
    top = generator.integers(0, label.shape[0] - size + 1)
    left = generator.integers(0, label.shape[1] - size + 1)
    crop = random_crop(rng(seed), *pair, size=size, **FILL, **options)
    part = np.s_[top : top + size, left : left + size]
    # Pillow adds up steps of 2**-16 pixels: a centre on a border may fall to the other side.
    assert np.mean(crop[1] != label[part]) < 0.01
    np.testing.assert_allclose(crop[0].astype(int), image[part], atol=1)


# --- which crop -------------------------------------------------------------------------------


def test_crops_are_balanced_where_there_is_a_choice(pair):
    label = np.zeros((60, 90), np.uint8)
    label[:, 60:] = 1

    def largest_shares(max_class_share):
        cut = partial(random_crop, size=32, max_class_share=max_class_share)
        crops = [cut(rng(seed), pair[0], label)[1] for seed in range(40)]
        return np.array([np.bincount(crop.ravel()).max() / crop.size for crop in crops])

    # Three of ten places are good: of ten crops, in three cases of a hundred none is. A class is
    # counted on a grid, which misses up to GRID - 1 of the 32 columns.
    good = 0.75 + (GRID - 1) / 32
    assert np.mean(largest_shares(1.0) <= good) < 0.6
    assert np.mean(largest_shares(0.75) <= good) > 0.95


def test_crops_without_any_label_are_drawn_again(pair):
    label = np.full((60, 90), 255, np.uint8)
    label[:, 60:] = np.arange(60)[:, None] % 8 // 4
    crops = [
        random_crop(rng(seed), pair[0], label, size=20, max_class_share=0.9)[1]
        for seed in range(40)
    ]
    assert np.mean([np.all(crop == 255) for crop in crops]) < 0.1


@pytest.mark.parametrize("share", [1.0, 0.9])
def test_crop_of_one_class_stands_in_the_end(pair, share):
    one, two = rng(), rng()
    label = np.zeros_like(pair[1])
    image, _ = random_crop(one, pair[0], label, size=32, max_class_share=share)
    two.uniform()
    for _ in range(1 if share == 1 else MAX_CROPS):
        top, left = two.integers(0, 60 - 32 + 1), two.integers(0, 90 - 32 + 1)
    np.testing.assert_array_equal(image, pair[0][top : top + 32, left : left + 32])
    assert one.random() == two.random()


# --- flip and padding -------------------------------------------------------------------------


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


def test_padding_is_bottom_right_and_void(pair):
    image, label = pad_to(*pair, height=96, width=96, **FILL)
    np.testing.assert_array_equal(image[:60, :90], pair[0])
    np.testing.assert_array_equal(label[:60, :90], pair[1])
    outside = np.ones((96, 96), bool)
    outside[:60, :90] = False
    assert np.all(label[outside] == 255)
    assert np.all(image[outside] == FILL["fill_rgb"])


def test_pad_to_rejects_larger_image(pair):
    with pytest.raises(ValueError, match="cannot pad an image of 60x90 .* to 64x64"):
        pad_to(*pair, height=64, width=64, **FILL)
