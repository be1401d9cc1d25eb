"""AlexNet and its FCN, and what making a classifier convolutional does and does not change."""

from functools import partial

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import pytest

from fcn_jax.models.alexnet import AlexNet
from fcn_jax.models.blob import Blob
from fcn_jax.models.layer_table import layer_table
from fcn_jax.models.layers import Conv, MaxPool, fc_layers
from fcn_jax.models.preprocess import CAFFE
from fcn_jax.models.zoo import get_model
from fcn_jax.ops.geometry import Window, receptive_field
from fcn_jax.weights.axes import fc_to_conv, oihw_to_hwio
from tests import oracles


def _tiny(**options):
    options = {"num_classes": 3, "width": 1 / 16, "fc_channels": 8, **options}
    return get_model("alexnet_fcn32s", **options)


def _draw_images(rng, height, width):
    return jnp.asarray(rng.integers(0, 256, (1, height, width, 3)), jnp.float32)


@pytest.mark.parametrize(
    ("upsampling", "one_tower"), [("bilinear", False), ("learned", False), ("bilinear", True)]
)
def test_fcn_alexnet_matches_numpy_layer_by_layer(
    rng, draw_variables, run_blobs, upsampling, one_tower
):
    model = _tiny(upsampling=upsampling, one_tower=one_tower)
    variables = draw_variables(model)
    images = _draw_images(rng, 97, 143)
    blobs, _ = run_blobs(model, variables, images)
    expected = oracles.fcn(
        variables["params"],
        images,
        backbone=partial(oracles.alexnet, one_tower=one_tower),
        crops={"score": 18},
        taps=63,
    )
    assert list(blobs) == list(expected)
    for name, values in expected.items():
        assert blobs[name].shape == values.shape, name
        error = np.abs(blobs[name] - values).max() / np.abs(values).max()
        assert error < 1e-5, f"{name}: {error}"  # float32 sums of up to 576 products, 10 layers


@pytest.mark.parametrize("padding", ["caffe", "same"])
def test_output_depends_on_exactly_its_receptive_field(see_pixels, padding):
    model = _tiny(num_classes=1, width=1 / 64, fc_channels=1, padding=padding)
    size = 470
    bright = np.arange(0, size, 23)  # prime: every phase of every stride occurs
    support, (path,) = see_pixels(model, 3, size, [(1, i) for i in bright])
    fields = np.array([receptive_field(path, index) for index in range(size)])
    assert ((fields[:, 0] > 0) & (fields[:, 1] < size - 1)).any()
    expected = (fields[:, 0] <= bright[:, None]) & (bright[:, None] <= fields[:, 1])
    np.testing.assert_array_equal(support[:, 1], expected)


@pytest.mark.parametrize("padding", ["caffe", "same"])
@pytest.mark.parametrize("fc6_kernel", [5, 6])
def test_logits_have_the_size_of_the_image_and_lie_on_it(padding, fc6_kernel):
    model = _tiny(padding=padding, fc6_kernel=fc6_kernel)
    for height in range(1, 66, 4):
        row = layer_table(model, height=height, width=height + 2)[-1]
        assert (row.height, row.width, row.stride, row.start) == (height, height + 2, 1, 0)


def test_same_padding_puts_every_unit_on_a_pixel():
    rows = {row.name: row for row in layer_table(_tiny(padding="same"), height=161, width=163)}
    for number in range(1, 6):
        assert rows[f"conv{number}"].start == 0
    assert (rows["pool5"].stride, rows["pool5"].start) == (32, 0)


def test_channels_stay_even_for_the_groups():
    for width in (1 / 64, 1 / 32, 0.3, 1.0):
        rows = layer_table(_tiny(width=width), height=9, width=9)
        assert all(row.channels % 2 == 0 for row in rows if row.name.startswith("conv"))


# --- convolutionalised classifiers ------------------------------------------------------------


class Scores(nn.Module):
    """A convolutionalised classifier: what an FCN has before its upsampling."""

    backbone: nn.Module
    fc6_kernel: int

    @nn.compact
    def __call__(self, images, *, train):
        blob = list(self.backbone(images, train=train).values())[-1]
        fc = ((Window(self.fc6_kernel), 8), (Window(1), 8))
        blob = fc_layers(blob, fc, norm=None, dropout=0.5, train=train)
        return Conv(5, Window(1), activation=None, name="score_fr")(blob, train=train)


class Unpadded(nn.Module):
    """Two convolutions and pools that pad nothing: unit i sees 10 pixels from 4 * i on."""

    @nn.compact
    def __call__(self, images, *, train):
        blob = Blob(CAFFE(images, "float32"))
        for number in (1, 2):
            blob = Conv(4, Window(3), name=f"conv{number}")(blob, train=train)
            blob = MaxPool(Window(2, stride=2), name=f"pool{number}")(blob)
        return {"pool2": blob}


def _draw_classifier(rng, channels, kernel):
    """Gives fully connected layers (matrix, bias), and the same as parameters of convolutions."""
    layers = {"fc6": (8, channels * kernel**2, kernel), "fc7": (8, 8, 1), "score_fr": (5, 8, 1)}
    matrices, convs = {}, {}
    for name, (outs, ins, size) in layers.items():
        matrix, bias = rng.normal(size=(outs, ins)) / np.sqrt(ins), rng.normal(size=outs)
        matrices[name] = matrix, bias
        kernel = oihw_to_hwio(fc_to_conv(matrix.astype(np.float32), kernel=size))
        convs[name] = {"kernel": jnp.asarray(kernel), "bias": jnp.asarray(bias, jnp.float32)}
    return matrices, convs


def _classify(features, matrices):
    """Runs the fully connected layers over one whole map, flat in Caffe's order."""
    units = np.asarray(features, np.float64)[0].transpose(2, 0, 1).ravel()
    for name, (matrix, bias) in matrices.items():
        units = matrix @ units + bias
        units = np.maximum(units, 0) if name != "score_fr" else units
    return units


def test_convolutionalised_alexnet_is_its_classifier_at_the_size_of_the_classifier(
    rng, draw_variables, run_blobs
):
    padded, model = (Scores(AlexNet(width=1 / 16, pad=pad), fc6_kernel=6) for pad in (100, 0))
    matrices, convs = _draw_classifier(rng, channels=16, kernel=6)
    params = {**draw_variables(padded)["params"], **convs}  # drawn at a size that is too small
    blobs, _ = run_blobs(model, {"params": params}, _draw_images(rng, 227, 227))
    assert blobs["score_fr"].shape == (1, 1, 1, 5)
    expected = _classify(blobs["pool5"], matrices)
    np.testing.assert_allclose(blobs["score_fr"].ravel(), expected, rtol=1e-4, atol=1e-4)


def test_unpadded_classifier_slides_over_a_larger_image(rng, draw_variables, run_blobs):
    """Every score is that of the classifier on the crop below it; padding would end that."""
    model = Scores(Unpadded(), fc6_kernel=3)
    matrices, convs = _draw_classifier(rng, channels=4, kernel=3)
    params = {**draw_variables(model)["params"], **convs}
    images = _draw_images(rng, 30, 26)
    blobs, paths = run_blobs(model, {"params": params}, images)
    (path,) = paths["score_fr"]
    assert blobs["score_fr"].shape[1:3] == (4, 3)
    for y, x in np.ndindex(4, 3):
        (top, bottom), (left, right) = receptive_field(path, y), receptive_field(path, x)
        crop = images[:, top : bottom + 1, left : right + 1]
        assert crop.shape[1:3] == (18, 18)
        features = run_blobs(model, {"params": params}, crop)[0]["pool2"]
        expected = _classify(features, matrices)
        np.testing.assert_allclose(blobs["score_fr"][0, y, x], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("size", "units"), [(227, 1), (500, 10)])
def test_alexnet_without_the_frame_of_100_pixels_maps_500_to_10(size, units):
    table = layer_table(Scores(AlexNet(pad=0), fc6_kernel=6), height=size, width=size)
    row = table[-1]
    assert (row.name, row.height, row.width, row.stride) == ("score_fr", units, units, 32)
    # Not the scores of 10x10 crops of 227: inside, conv2 to conv5 pad crops but see on in an image.
    assert row.field == 355
