"""The fully convolutional networks against the release, layer by layer and pixel by pixel."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fcn_jax.models.table import layer_table
from fcn_jax.models.zoo import get_model
from fcn_jax.ops.geometry import receptive_field
from fcn_jax.ops.losses import softmax_cross_entropy
from tests import oracles

SKIPS = ("pool4", "pool3", "pool2", "pool1")


def _tiny(name, **options):
    options = {"num_classes": 3, "width": 1 / 32, "fc_channels": 8, **options}
    return get_model(name, **options)


def _logits_shape(model, height, width):
    images = jax.ShapeDtypeStruct((1, height, width, 3), "float32")

    def run(images):
        return model.init_with_output(jax.random.key(0), images, train=False)[0]

    return jax.eval_shape(run, images).shape[1:3]


# --- numbers ----------------------------------------------------------------------------------


def _fcn8s_by_hand(params, images):
    """Runs the released FCN-8s in numpy; the crop offsets are the release's own numbers."""
    kernel = {name: layer["kernel"] for name, layer in params.items() if name != "backbone"}
    bias = {name: layer["bias"] for name, layer in params.items() if name != "backbone"}
    blob = (images - np.array([122.67892, 116.66877, 104.00699]))[..., ::-1]
    blobs = {}
    for stage, convs in enumerate((2, 2, 3, 3, 3), start=1):
        for index in range(1, convs + 1):
            layer = params["backbone"][f"conv{stage}_{index}"]
            pad = 100 if stage == index == 1 else 1
            blob = np.maximum(oracles.conv(blob, layer["kernel"], layer["bias"], pad=pad), 0)
            blobs[f"conv{stage}_{index}"] = blob
        blob = blobs[f"pool{stage}"] = oracles.caffe_pool(blob, "max", kernel=2, stride=2)
    for name in ("fc6", "fc7"):
        blob = blobs[name] = np.maximum(oracles.conv(blob, kernel[name], bias[name]), 0)
    score = blobs["score_fr"] = oracles.conv(blob, kernel["score_fr"], bias["score_fr"])
    for name, pool, offset in [("upscore2", "pool4", 5), ("upscore_pool4", "pool3", 9)]:
        upscore = oracles.conv_transpose(score, oracles.bilinear_kernel(4), stride=2)
        blobs[name] = upscore
        skip = oracles.conv(blobs[pool], kernel[f"score_{pool}"], bias[f"score_{pool}"])
        blobs[f"score_{pool}"] = skip
        height, width = upscore.shape[1:3]
        skip = skip[:, offset : offset + height, offset : offset + width]
        blobs[f"score_{pool}c"] = skip
        score = blobs[f"fuse_{pool}"] = upscore + skip
    upscore = oracles.conv_transpose(score, oracles.bilinear_kernel(16), stride=8)
    blobs["upscore8"] = upscore
    height, width = images.shape[1:3]
    blobs["score"] = upscore[:, 31 : 31 + height, 31 : 31 + width]
    return blobs


def test_fcn8s_matches_numpy_layer_by_layer(rng, draw_variables, run_blobs):
    model = _tiny("vgg16_fcn8s")
    variables = draw_variables(model)
    images = rng.integers(0, 256, (1, 37, 53, 3)).astype(np.float32)
    blobs, _ = run_blobs(model, variables, images)
    expected = _fcn8s_by_hand(variables["params"], images.astype(np.float64))
    assert list(blobs) == list(expected)
    for name, values in expected.items():
        assert blobs[name].shape == values.shape, name
        error = np.abs(blobs[name] - values).max() / np.abs(values).max()
        assert error < 1e-5, f"{name}: {error}"  # float32 sums of up to 784 products, 20 layers


def test_skip_scales_multiply_what_the_skips_score(rng, draw_variables):
    scales = {"score_pool4": 0.01, "score_pool3": 0.0001}
    options = {"padding": "same", "fc6_kernel": 1}
    model = _tiny("vgg16_fcn8s", **options)
    variables = draw_variables(model)
    scaled = _tiny("vgg16_fcn8s", skip_scales=tuple(scales.values()), **options)
    images = jnp.asarray(rng.integers(0, 256, (1, 40, 24, 3)), jnp.float32)
    actual = jax.jit(lambda: scaled.apply(variables, images, train=False))()
    params = dict(variables["params"])
    for name, scale in scales.items():
        params[name] = {**params[name], "kernel": params[name]["kernel"] * np.float32(scale)}
    expected = jax.jit(lambda: model.apply({"params": params}, images, train=False))()
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)


def test_untrained_logits_are_zero_and_the_loss_is_log_of_the_number_of_classes(rng, init):
    model = _tiny("vgg16_fcn8s", num_classes=21, width=1 / 64, padding="same")
    images = jnp.asarray(rng.integers(0, 256, (1, 40, 23, 3)), jnp.float32)
    labels = jnp.asarray(rng.integers(0, 21, (1, 40, 23)), jnp.int32)
    logits, variables = init(model, images)
    assert np.std(variables["params"]["fc7"]["kernel"]) > 0
    np.testing.assert_array_equal(logits, np.zeros((1, 40, 23, 21)))
    loss_sum, count = softmax_cross_entropy(logits, labels, ignore_label=255)
    np.testing.assert_allclose(loss_sum / count, np.log(21), rtol=1e-6)


# --- sizes and positions ----------------------------------------------------------------------


def test_logits_have_the_size_of_the_image_at_every_size():
    model = _tiny("vgg16_fcn8s", padding="same")
    for height in range(1, 71):
        width = height * 37 % 71  # each of 1 ... 70 once
        assert _logits_shape(model, height, width) == (height, width)


@pytest.mark.parametrize("padding", ["caffe", "same"])
@pytest.mark.parametrize("skips", [SKIPS[:count] for count in range(5)] + [("pool3",)], ids=str)
def test_logits_have_the_size_of_the_image_whatever_the_skips(padding, skips):
    model = _tiny("vgg16_fcn8s", skips=skips, padding=padding)
    for height, width in [(1, 1), (33, 64), (70, 1)]:
        assert _logits_shape(model, height, width) == (height, width)


@pytest.mark.parametrize(
    ("name", "offsets"),
    [
        ("vgg16_fcn32s", {"score": 19}),
        ("vgg16_fcn16s", {"score_pool4c": 5, "score": 27}),
        ("vgg16_fcn8s", {"score_pool4c": 5, "score_pool3c": 9, "score": 31}),
    ],
)
def test_crop_offsets_come_out_as_released(name, offsets):
    rows = layer_table(_tiny(name), height=1, width=1)
    crops = {row.name: row.layer.offset for row in rows if row.kind == "Crop"}
    assert crops.items() >= offsets.items()


@pytest.mark.parametrize("axis", ["height", "width"])
@pytest.mark.parametrize("padding", ["caffe", "same"])
def test_output_depends_on_exactly_its_receptive_field(see_pixels, padding, axis):
    model = _tiny("vgg16_fcn8s", num_classes=1, width=1 / 64, fc_channels=1, padding=padding)
    size = 560
    bright = np.arange(0, size, 23)  # prime: every phase of every stride occurs
    if axis == "height":
        support, paths = see_pixels(model, size, 3, [(i, 1) for i in bright])
        support = support[:, :, 1]
    else:
        support, paths = see_pixels(model, 3, size, [(1, i) for i in bright])
        support = support[:, 1]
    fields = [[receptive_field(path, index) for path in paths] for index in range(size)]
    expected = [
        [any(first <= pixel <= last for first, last in field) for field in fields]
        for pixel in bright
    ]
    assert any(first > 0 and last < size - 1 for field in fields for first, last in field[:1])
    np.testing.assert_array_equal(support, expected)
