import math

import numpy as np
import pytest
import scipy.ndimage

from fcn_jax.data.batches.photometric import jitter_colors, random_blur

LUMA = np.array([0.299, 0.587, 0.114])


def rng(seed=0):
    return np.random.default_rng(seed)


def picture(low=0, high=256):
    return rng(5).integers(low, high, (30, 40, 3)).astype(np.uint8)


@pytest.mark.parametrize("seed", range(5))
def test_jitter_matches_its_four_steps_one_by_one(seed):
    image = picture(90, 160)  # far enough from black and white that no step is clipped
    options = {"brightness": 0.3, "contrast": 0.4, "saturation": 0.5, "hue": 0.2}
    jittered = jitter_colors(rng(seed), image, **options)
    generator, colors = rng(seed), image.astype(float)
    colors *= generator.uniform(0.7, 1.3)
    mean = (colors @ LUMA).mean()
    colors = mean + generator.uniform(0.6, 1.4) * (colors - mean)
    grey = (colors @ LUMA)[..., None]
    colors = grey + generator.uniform(0.5, 1.5) * (colors - grey)
    # The hue turns in the plane that is spanned by the colour axes of YIQ, luma being its normal.
    angle = 2 * math.pi * generator.uniform(-0.2, 0.2)
    to_i, to_q = np.array([0.5959, -0.2746, -0.3213]), np.array([0.2115, -0.5227, 0.3112])
    old_i, old_q = colors @ to_i, colors @ to_q
    new_i = math.cos(angle) * old_i - math.sin(angle) * old_q
    new_q = math.sin(angle) * old_i + math.cos(angle) * old_q
    colors = np.linalg.solve(
        np.array([LUMA, to_i, to_q]), np.stack([colors @ LUMA, new_i, new_q]).reshape(3, -1)
    )
    np.testing.assert_allclose(
        jittered.reshape(-1, 3).T, np.clip(colors, 0, 255), atol=0.51
    )  # one rounding


def test_jitter_leaves_grey_where_saturation_and_hue_are_changed():
    grey = np.repeat(picture()[..., :1], 3, axis=-1)
    jittered = jitter_colors(rng(), grey, saturation=1.0, hue=0.5)
    np.testing.assert_array_equal(jittered, grey)


def test_hue_keeps_the_luma():
    image = picture(100, 150)
    jittered = jitter_colors(rng(3), image, hue=0.5)
    assert np.abs(jittered.astype(int) - image).max() > 10
    np.testing.assert_allclose(jittered @ LUMA, image @ LUMA, atol=0.51)


def test_contrast_keeps_the_mean_luma():
    image = picture(60, 200)
    jittered = jitter_colors(rng(), image, contrast=0.3)
    assert jittered.std() != pytest.approx(image.std(), rel=0.02)
    assert (jittered @ LUMA).mean() == pytest.approx((image @ LUMA).mean(), abs=0.1)


@pytest.mark.parametrize("sigma", [0.4, 1.0, 2.5])
def test_blur_matches_scipy(sigma):
    image = picture()
    blurred = random_blur(rng(), image, prob=1.0, sigma_range=(sigma, sigma))
    expected = scipy.ndimage.gaussian_filter(
        image.astype(float), (sigma, sigma, 0), mode="nearest", truncate=4.0
    )
    # Weights in 256ths, cut at three deviations, and a rounding after each of two axes.
    np.testing.assert_allclose(blurred, expected, atol=2.5)


@pytest.mark.parametrize("value", [0, 1, 254, 255])
def test_blur_keeps_a_constant(value):
    image = np.full((9, 7, 3), value, np.uint8)
    for sigma in (0.1, 0.7, 3.0):
        blurred = random_blur(rng(), image, prob=1.0, sigma_range=(sigma, sigma))
        np.testing.assert_array_equal(blurred, image)


def test_blur_happens_with_its_probability():
    generator, image = rng(), picture()[:4, :4]
    blurs = [
        random_blur(generator, image, prob=0.25, sigma_range=(1.0, 2.0)) is not image
        for _ in range(1000)
    ]
    assert abs(np.mean(blurs) - 0.25) < 0.055  # four standard deviations


def test_what_is_off_spends_nothing_and_changes_nothing():
    generator, image = rng(), picture()
    changed = jitter_colors(generator, image)
    changed = random_blur(generator, changed, prob=0.0, sigma_range=(0.1, 2.0))
    assert changed is image
    assert generator.random() == rng().random()
