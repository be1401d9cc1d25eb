"""DeepLab v1 against the release, layer by layer and pixel by pixel."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fcn_jax.models.zoo import get_model
from fcn_jax.ops.geometry import receptive_field
from tests import oracles

NAMES = ["vgg16_deeplab_largefov", "vgg16_deeplab_atrous45"]


def _tiny(name, **options):
    return get_model(name, **{"num_classes": 3, "width": 1 / 32, "fc_channels": 8, **options})


def _largefov_by_hand(params, images):
    """Runs the released DeepLab-LargeFOV in numpy."""
    blob = (images - np.array([122.67892, 116.66877, 104.00699]))[..., ::-1]
    blobs = {}
    for stage, (convs, rate, stride) in enumerate(
        [(2, 1, 2), (2, 1, 2), (3, 1, 2), (3, 1, 1), (3, 2, 1)], start=1
    ):
        for index in range(1, convs + 1):
            layer = params["backbone"][f"conv{stage}_{index}"]
            blob = oracles.conv(blob, layer["kernel"], layer["bias"], pad=rate, rate=rate)
            blob = blobs[f"conv{stage}_{index}"] = np.maximum(blob, 0)
        blob = oracles.caffe_pool(blob, "max", kernel=3, stride=stride, pad=1)
        blobs[f"pool{stage}"] = blob
    blob = blobs["pool5a"] = oracles.caffe_pool(blob, "ave", kernel=3, pad=1)
    for name, options in [("fc6", {"pad": 12, "rate": 12}), ("fc7", {})]:
        blob = oracles.conv(blob, params[name]["kernel"], params[name]["bias"], **options)
        blob = blobs[name] = np.maximum(blob, 0)
    score = blobs["fc8"] = oracles.conv(blob, params["fc8"]["kernel"], params["fc8"]["bias"])
    height, width = ((size - 1) * 8 + 1 for size in score.shape[1:3])
    upscore = blobs["fc8_interp"] = oracles.align_corners_resize(score, height, width)
    blobs["fc8_crop"] = upscore[:, : images.shape[1], : images.shape[2]]
    return blobs


@pytest.mark.parametrize(("height", "width"), [(37, 53), (33, 65)])
def test_largefov_matches_numpy_layer_by_layer(rng, draw_variables, run_blobs, height, width):
    model = _tiny("vgg16_deeplab_largefov")
    variables = draw_variables(model)
    images = rng.integers(0, 256, (1, height, width, 3)).astype(np.float32)
    blobs, _ = run_blobs(model, variables, images)
    expected = _largefov_by_hand(variables["params"], images.astype(np.float64))
    assert list(blobs) == list(expected)
    for name, values in expected.items():
        assert blobs[name].shape == values.shape, name
        error = np.abs(blobs[name] - values).max() / np.abs(values).max()
        assert error < 1e-5, f"{name}: {error}"  # float32 sums of up to 144 products, 20 layers


@pytest.mark.parametrize("name", NAMES)
def test_logits_have_the_size_of_the_image(name):
    model = _tiny(name)
    for height, width in [(1, 1), (2, 70), (8, 9), (33, 32), (64, 7), (321, 255)]:
        images = jax.ShapeDtypeStruct((2, height, width, 3), "float32")

        def run(images):
            return model.init_with_output(jax.random.key(0), images, train=False)[0]

        assert jax.eval_shape(run, images).shape == (2, height, width, 3)


def test_score_layer_starts_small_and_the_others_as_wide_as_their_input(init):
    model = _tiny("vgg16_deeplab_largefov", num_classes=21, fc_channels=512)
    params = init(model, jnp.zeros((1, 16, 16, 3)))[1]["params"]
    # 10752 draws: the deviation is known to within 0.7 percent.
    np.testing.assert_allclose(np.std(params["fc8"]["kernel"]), 0.01, rtol=0.04)
    np.testing.assert_allclose(np.std(params["fc7"]["kernel"]), np.sqrt(2 / 512), rtol=0.02)


@pytest.mark.parametrize("axis", ["height", "width"])
@pytest.mark.parametrize("name", NAMES)
def test_output_depends_on_exactly_its_receptive_field(see_pixels, name, axis):
    model = _tiny(name, num_classes=1, width=1 / 64, fc_channels=1)
    size = 521
    bright = np.arange(0, size, 23)  # prime: every phase of every stride occurs
    if axis == "height":
        support, paths = see_pixels(model, size, 3, [(i, 1) for i in bright])
        support = support[:, :, 1]
    else:
        support, paths = see_pixels(model, 3, size, [(1, i) for i in bright])
        support = support[:, 1]
    (path,) = paths
    fields = [receptive_field(path, index) for index in range(size)]
    assert any(first > 0 and last < size - 1 for first, last in fields)
    expected = [[first <= pixel <= last for first, last in fields] for pixel in bright]
    np.testing.assert_array_equal(support, expected)
