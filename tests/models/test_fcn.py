"""The fully convolutional networks against the release, layer by layer and pixel by pixel."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fcn_jax.models.blob import Blob
from fcn_jax.models.fcn import FCN
from fcn_jax.models.layer_table import layer_table
from fcn_jax.models.layers import Conv
from fcn_jax.models.preprocess import CAFFE, Preprocess
from fcn_jax.models.zoo import get_model
from fcn_jax.ops.geometry import Window, receptive_field
from fcn_jax.ops.losses import softmax_cross_entropy
from tests import oracles

pytestmark = pytest.mark.usefixtures("plain_conv")

SKIPS = ("pool4", "pool3", "pool2", "pool1")

# Where the crops of FCN-32s, 16s, 8s, 4s and 2s begin; 4s and 2s go on as the released ones do.
SKIP_CROPS = {"pool4": 5, "pool3": 9, "pool2": 17, "pool1": 33}
IMAGE_CROPS = {32: 19, 16: 27, 8: 31, 4: 33, 2: 34}

# The latter leaves out what is no multiple of 32.
ONTO, BETWEEN = Window(3, stride=2, pad=1), Window(2, stride=2)
SIZES = {ONTO: (97, 143), BETWEEN: (96, 160)}


class Pyramid(nn.Module):
    """A small backbone: five windows of stride 2, with unit i on pixel i * stride or between."""

    window: Window
    preprocess: Preprocess = CAFFE

    @nn.compact
    def __call__(self, images, *, train):
        blob = Blob(self.preprocess(images, "float32"))
        features = {"data": blob}
        for stage in range(1, 6):
            name = f"pool{stage}"
            blob = features[name] = Conv(4, self.window, name=f"conv{stage}")(blob, train=train)
        return features


def _small(window, **options):
    return FCN(**{"num_classes": 3, "backbone": Pyramid(window), "fc": (), **options})


def _tiny(name, **options):
    options = {"num_classes": 3, "width": 1 / 32, "fc_channels": 8, **options}
    return get_model(name, **options)


def _draw_images(rng, height, width):
    return jnp.asarray(rng.integers(0, 256, (1, height, width, 3)), jnp.float32)


def _logits_sizes(model, sizes):
    """Gives (height, width) of the logits for images of these sizes; nothing is computed."""

    def run(height, width, call, *variables):
        images = jax.ShapeDtypeStruct((1, height, width, 3), "float32")
        return jax.eval_shape(lambda *args: call(*args, train=False), *variables, images)

    variables = run(32, 32, lambda images, **kw: model.init(jax.random.key(0), images, **kw))
    return [run(*size, model.apply, variables).shape[1:3] for size in sizes]


# --- numbers ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "stride", "options"),
    [
        ("vgg16_fcn32s", 32, {}),
        ("vgg16_fcn16s", 16, {}),
        ("vgg16_fcn8s", 8, {}),
        ("vgg16_fcn8s", 8, {"upsampling": "learned"}),
        ("vgg16_fcn8s_atonce", 8, {}),
        ("vgg16_fcn4s", 4, {}),
        ("vgg16_fcn2s", 2, {}),
    ],
)
def test_fcn_matches_numpy_layer_by_layer(rng, draw_variables, run_blobs, name, stride, options):
    model = _tiny(name, **options)
    variables = draw_variables(model)
    images = _draw_images(rng, 97, 143)
    blobs, _ = run_blobs(model, variables, images)
    skips = SKIPS[: (32 // stride).bit_length() - 1]
    expected = oracles.fcn(
        variables["params"],
        images,
        backbone=oracles.vgg16,
        crops={skip: SKIP_CROPS[skip] for skip in skips} | {"score": IMAGE_CROPS[stride]},
        taps=2 * stride,
        scales=(1e-2, 1e-4) if "atonce" in name else (),
    )
    assert list(blobs) == list(expected)
    for blob, values in expected.items():
        assert blobs[blob].shape == values.shape, blob
        error = np.abs(blobs[blob] - values).max() / np.abs(values).max()
        assert error < 1e-5, f"{blob}: {error}"  # float32 sums of up to 784 products, 20 layers


def test_skip_scales_multiply_what_the_skips_score(rng, draw_variables):
    scales = {"score_pool4": 0.01, "score_pool3": 0.0001}
    model = _small(BETWEEN, skips=SKIPS[:2])
    variables = draw_variables(model)
    scaled = _small(BETWEEN, skips=SKIPS[:2], skip_scales=tuple(scales.values()))
    images = _draw_images(rng, *SIZES[BETWEEN])
    actual = jax.jit(lambda: scaled.apply(variables, images, train=False))()
    params = dict(variables["params"])
    for name, scale in scales.items():
        params[name] = {**params[name], "kernel": params[name]["kernel"] * np.float32(scale)}
    expected = jax.jit(lambda: model.apply({"params": params}, images, train=False))()
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("window", [ONTO, BETWEEN], ids=["onto", "between"])
def test_learned_upsampling_starts_as_the_fixed_one(rng, draw_variables, init, window):
    images = _draw_images(rng, *SIZES[window])
    fixed, learned = (
        _small(window, skips=SKIPS[:2], upsampling=upsampling)
        for upsampling in ("bilinear", "learned")
    )
    variables = draw_variables(fixed)
    _, start = init(learned, images)
    upscores = {name: start["params"][name] for name in start["params"] if "upscore" in name}
    assert list(upscores) == ["upscore2", "upscore8", "upscore_pool4"]
    params = {**variables["params"], **upscores}
    actual = jax.jit(lambda: learned.apply({"params": params}, images, train=False))()
    expected = jax.jit(lambda: fixed.apply(variables, images, train=False))()
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-4)  # logits of about 1e2


@pytest.mark.parametrize("window", [ONTO, BETWEEN], ids=["onto", "between"])
def test_concatenated_features_score_as_the_sum_of_scores(rng, draw_variables, window):
    """For linear layers scoring and upsampling commute.

    Not so the biases of the coarse scores: upsampled they fade out at the border of the map.
    """
    by_sum, by_concat = (_small(window, skips=SKIPS[:2], fusion=how) for how in ("sum", "concat"))
    images = _draw_images(rng, *SIZES[window])
    variables = draw_variables(by_sum)
    params = variables["params"]
    scores = [params[name] for name in ("score_fr", "score_pool4", "score_pool3")]
    for score in scores[:-1]:
        score["bias"] = jnp.zeros_like(score["bias"])
    stacked = {
        "backbone": params["backbone"],
        "score_fr": {
            "kernel": jnp.concatenate([score["kernel"] for score in scores], axis=2),
            "bias": scores[-1]["bias"],
        },
    }
    expected = jax.jit(lambda: by_sum.apply(variables, images, train=False))()
    actual = jax.jit(lambda: by_concat.apply({"params": stacked}, images, train=False))()
    assert np.std(expected) > 1
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


def test_untrained_logits_are_zero_and_the_loss_is_log_of_the_number_of_classes(rng, init):
    model = _small(ONTO, num_classes=21, fc=((Window(1), 8),), skips=SKIPS[:2])
    images = _draw_images(rng, 40, 23)
    labels = jnp.asarray(rng.integers(0, 21, (1, 40, 23)), jnp.int32)
    logits, variables = init(model, images)
    assert np.std(variables["params"]["fc6"]["kernel"]) > 0
    np.testing.assert_array_equal(logits, np.zeros((1, 40, 23, 21)))
    loss_sum, count = softmax_cross_entropy(logits, labels, ignore_label=255)
    np.testing.assert_allclose(loss_sum / count, np.log(21), rtol=1e-6)


# --- sizes and positions ----------------------------------------------------------------------


def test_logits_have_the_size_of_the_image_at_every_size():
    model = _tiny("vgg16_fcn8s", padding="same")
    sizes = [(size, size + 35) for size in range(1, 36)]
    assert _logits_sizes(model, sizes) == sizes


@pytest.mark.parametrize("padding", ["caffe", "same"])
@pytest.mark.parametrize("skips", [SKIPS[:count] for count in range(5)] + [("pool3",)], ids=str)
def test_logits_have_the_size_of_the_image_whatever_the_skips(padding, skips):
    model = _tiny("vgg16_fcn8s", skips=skips, padding=padding)
    sizes = [(1, 1), (33, 64), (70, 1)]
    assert _logits_sizes(model, sizes) == sizes


@pytest.mark.parametrize(
    ("kernel", "skips", "cut"),
    [
        (3, SKIPS[:2], ["upscore_pool4c"]),
        (2, SKIPS[:1], ["upscore2c"]),
        (4, SKIPS, ["upscore_pool3c", "upscore_pool2c"]),
    ],
    ids=str,
)
def test_a_smaller_fc6_leaves_units_that_no_skip_has_and_they_are_cut(kernel, skips, cut):
    model = _tiny("vgg16_fcn8s", skips=skips, fc6_kernel=kernel)
    for height, width in [(1, 7), (360, 480)]:
        rows = layer_table(model, height=height, width=width)
        assert (rows[-1].height, rows[-1].width) == (height, width)
        assert (rows[-1].stride, rows[-1].start) == (1, 0)
        crops = [row.name for row in rows if row.kind == "Crop" and row.name.startswith("up")]
        assert crops == cut


@pytest.mark.parametrize("fusion", ["sum", "concat"])
@pytest.mark.parametrize("skips", [SKIPS[:count] for count in range(5)] + [("pool3",)], ids=str)
def test_units_on_pixels_leave_no_pixel_without_logits(skips, fusion):
    model = _small(ONTO, skips=skips, fusion=fusion)
    sizes = [(1, 2), (31, 64), (33, 65), (97, 143)]
    assert _logits_sizes(model, sizes) == sizes


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
    assert crops == offsets


@pytest.mark.parametrize(("window", "taps"), [(ONTO, [3, 3, 15]), (BETWEEN, [4, 4, 16])])
@pytest.mark.parametrize("fusion", ["sum", "concat"])
def test_taps_follow_from_where_the_units_lie(window, taps, fusion):
    rows = layer_table(_small(window, skips=SKIPS[:2], fusion=fusion), height=64, width=64)
    assert [row.layer.kernel for row in rows if row.kind == "BilinearUpscore"] == taps
    assert (rows[-1].stride, rows[-1].start) == (1, 0)


def test_a_pixel_under_a_unit_has_the_scores_of_that_unit(rng, draw_variables, run_blobs):
    model = _small(ONTO)
    blobs, _ = run_blobs(model, draw_variables(model), _draw_images(rng, 97, 143))
    np.testing.assert_allclose(blobs["score"][:, ::32, ::32], blobs["score_fr"], rtol=1e-6)


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


# --- the network of Dive into Deep Learning ---------------------------------------------------


def test_upscore_pad_is_one_transposed_convolution_cut_at_the_top_left(
    rng, draw_variables, run_blobs
):
    model = _small(ONTO, upsampling="learned", upscore_pad=16)
    variables = draw_variables(model)
    assert variables["params"]["upscore"]["kernel"].shape == (64, 64, 3, 3)
    blobs, _ = run_blobs(model, variables, _draw_images(rng, 97, 143))
    kernel = variables["params"]["upscore"]["kernel"]
    full = oracles.conv_transpose(blobs["score_fr"], kernel, stride=32, pad=16)
    assert full.shape[1:3] == (128, 160)  # the next multiples of 32
    error = np.abs(blobs["score"] - full[:, :97, :143]).max() / np.abs(full).max()
    assert error < 1e-5


def test_upscore_pad_displaces_the_logits_by_half_the_stride_less_half_a_pixel():
    rows = layer_table(_small(ONTO, upsampling="learned", upscore_pad=16), height=320, width=480)
    assert (rows[-1].height, rows[-1].width) == (320, 480)
    # What logit 0 was computed from lies above and left of the image.
    assert (rows[-1].stride, rows[-1].start) == (1, -15.5)


# --- the door ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"upsampling": "nearest"}, "unknown model.upsampling 'nearest'; known: bilinear, learned"),
        ({"fusion": "mean"}, "unknown model.fusion 'mean'; known: sum, concat"),
        ({"skips": ("pool9",)}, r"unknown model.skips \['pool9'\]; the backbone has data, pool1, "),
        ({"skips": ("pool3", "pool4")}, "model.skips=.* must go from coarse to fine, each of them"),
        ({"skips": ("pool4", "pool4")}, "model.skips=.* must go from coarse to fine, each of them"),
        (
            {"skips": ("pool4",), "skip_scales": (1.0, 2.0)},
            "model.skip_scales=.* must be one for each of",
        ),
    ],
)
def test_fcn_rejects_options_that_cannot_be(options, message):
    with pytest.raises(ValueError, match=message):
        _logits_sizes(_small(BETWEEN, **options), [])


@pytest.mark.parametrize(("name", "released"), [("vgg16_fcn8s", 7), ("alexnet_fcn32s", 6)])
def test_caffe_padding_rejects_a_larger_fc6_than_the_released_one(name, released):
    message = f"fc6_kernel={released + 1} .*: model.padding=caffe takes at most {released}, model"
    with pytest.raises(ValueError, match=message):
        _logits_sizes(_tiny(name, fc6_kernel=released + 1), [])


def test_fcn_rejects_a_skip_that_is_coarser_than_the_deepest_features():
    class Atrous(Pyramid):
        @nn.compact
        def __call__(self, images, *, train):
            features = Pyramid(self.window)(images, train=train)
            features["pool6"] = features["pool3"]
            return features

    with pytest.raises(ValueError, match="must go from coarse to fine"):
        _logits_sizes(_small(ONTO, backbone=Atrous(ONTO), skips=("pool4",)), [])
