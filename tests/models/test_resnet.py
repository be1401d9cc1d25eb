"""ResNets: their layers in numpy, their sizes, the hole algorithm, and an article's network."""

from functools import reduce

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fcn_jax.models.layer_table import layer_table
from fcn_jax.models.layers import NormSpec
from fcn_jax.models.preprocess import TORCHVISION
from fcn_jax.models.resnet import ResNet
from fcn_jax.models.zoo import get_model
from fcn_jax.ops.geometry import Upscore, output_size
from tests import oracles

pytestmark = pytest.mark.usefixtures("plain_conv")

WIDTH = 1 / 16
MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


def _blobs(model, height, width):
    """Gives the features for an image of this size, as abstract arrays."""
    blobs = {}

    def run(images):
        blobs.update(model.init_with_output(jax.random.key(0), images, train=False)[0])

    jax.eval_shape(run, jax.ShapeDtypeStruct((2, height, width, 3), "float32"))
    return blobs


def _features(model, variables, images):
    run = jax.jit(
        lambda variables, images: {
            name: blob.maps for name, blob in model.apply(variables, images, train=False).items()
        }
    )
    return run(variables, images)


# --- numbers ----------------------------------------------------------------------------------


def _resnet_by_hand(variables, images, *, blocks, bottleneck, stride_in_1x1):
    """Runs torchvision's ResNet, or Caffe's, in numpy, up to layer4."""
    blobs = {}

    def conv(blob, path, activation=True, **options):
        layer, stats = variables["params"], variables["batch_stats"]
        for key in path.split("/"):
            layer, stats = layer[key], stats[key]
        blob = oracles.conv(blob, layer["kernel"], **options)
        blob = (blob - stats["norm"]["mean"]) / np.sqrt(stats["norm"]["var"] + 1e-5)
        blob = blob * layer["norm"]["scale"] + layer["norm"]["bias"]
        blobs[path] = np.maximum(blob, 0) if activation else blob
        return blobs[path]

    blob = conv((images / 255 - MEAN) / STD, "conv1", stride=2, pad=3)
    blob = oracles.dilated_max_pool(blob, kernel=3, stride=2, pad=1, rate=1)
    blobs["maxpool"] = blob
    for stage, repeats in enumerate(blocks, start=1):
        for index in range(repeats):
            stride = 2 if stage > 1 and index == 0 else 1
            path, branch = f"layer{stage}_{index}", blob
            if bottleneck:
                first, second = (stride, 1) if stride_in_1x1 else (1, stride)
                branch = conv(branch, f"{path}/conv1", stride=first)
                branch = conv(branch, f"{path}/conv2", stride=second, pad=1)
                branch = conv(branch, f"{path}/conv3", activation=False)
            else:
                branch = conv(branch, f"{path}/conv1", stride=stride, pad=1)
                branch = conv(branch, f"{path}/conv2", activation=False, pad=1)
            if index == 0 and (stage > 1 or bottleneck):
                blob = conv(blob, f"{path}/downsample", activation=False, stride=stride)
            blob = blobs[f"{path}/fuse"] = branch + blob
            blob = blobs[path] = np.maximum(blob, 0)
    return blobs


@pytest.mark.parametrize(
    ("depth", "width", "blocks", "stride_in_1x1"),
    [
        (18, 1.0, (2, 2, 2, 2), False),
        (50, 1 / 16, (3, 4, 6, 3), False),
        (50, 1 / 16, (3, 4, 6, 3), True),
    ],
)
def test_resnet_matches_numpy_layer_by_layer(
    rng, draw_variables, run_blobs, depth, width, blocks, stride_in_1x1
):
    model = ResNet(depth=depth, width=width, stride_in_1x1=stride_in_1x1)
    variables = draw_variables(model)
    images = rng.integers(0, 256, (1, 97, 143, 3)).astype(np.float32)
    actual, _ = run_blobs(model, variables, images)
    variables = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), variables)
    expected = _resnet_by_hand(
        variables, images, blocks=blocks, bottleneck=depth == 50, stride_in_1x1=stride_in_1x1
    )
    assert list(actual) == list(expected)
    for name, values in expected.items():
        assert actual[name].shape == values.shape, name
        error = np.abs(actual[name] - values).max() / np.abs(values).max()
        assert error < 1e-5, f"{name}: {error}"  # float32 sums of up to 4608 products, 50 layers


def test_preprocessing_scales_to_one_and_normalises(rng):
    images = rng.integers(0, 256, (1, 2, 3, 3)).astype(np.uint8)
    actual = TORCHVISION(jnp.asarray(images), "float32")
    np.testing.assert_allclose(actual, (images / 255.0 - MEAN) / STD, rtol=1e-5, atol=1e-6)


def test_norm_has_the_momentum_and_epsilon_of_torchvision():
    assert NormSpec() == NormSpec(frozen=False, axis_name=None, momentum=0.9, epsilon=1e-5)


# --- sizes and positions ----------------------------------------------------------------------


def test_features_are_the_image_and_the_layers_coarse_last():
    blobs = _blobs(ResNet(width=WIDTH), 64, 97)
    assert [(name, blob.stride, blob.start, blob.maps.shape) for name, blob in blobs.items()] == [
        ("data", 1, 0, (2, 64, 97, 3)),
        ("layer1", 4, 0, (2, 16, 25, 4)),
        ("layer2", 8, 0, (2, 8, 13, 8)),
        ("layer3", 16, 0, (2, 4, 7, 16)),
        ("layer4", 32, 0, (2, 2, 4, 32)),
    ]


# Parameters and multiply-adds at 224x224 of torchvision's networks without their fc layer, which
# has 512 or 2048 * 1000 weights and 1000 biases; fields from the recurrence over its layers.
@pytest.mark.parametrize(
    ("depth", "params", "multiply_adds", "field"),
    [
        (18, 11689512 - 513000, 1814073344 - 512000, 435),
        (34, 21797672 - 513000, 3663761408 - 512000, 899),
        (50, 25557032 - 2049000, 4089184256 - 2048000, 427),
        (101, 44549160 - 2049000, 7801405440 - 2048000, 971),
    ],
)
def test_totals_are_those_of_torchvision(depth, params, multiply_adds, field):
    rows = layer_table(ResNet(depth=depth), height=224, width=224)
    assert sum(row.params for row in rows) == params
    assert sum(row.multiply_adds for row in rows) == multiply_adds
    assert (rows[-1].height, rows[-1].width, rows[-1].field) == (7, 7, field)


def test_rows_of_a_block_are_its_layers():
    rows = [row for row in layer_table(ResNet(), height=64, width=64) if "layer2_0" in row.name]
    assert [(row.name, row.kind, row.field, row.params) for row in rows] == [
        ("layer2_0/conv1", "Conv", 51, 9 * 64 * 128 + 256),
        ("layer2_0/conv2", "Conv", 67, 9 * 128 * 128 + 256),
        ("layer2_0/downsample", "Conv", 43, 64 * 128 + 256),
        ("layer2_0/fuse", "Fuse", 67, 0),
    ]


def test_ceil_and_floor_are_the_same_at_32_k_plus_1(rng, draw_variables):
    images = jnp.asarray(rng.integers(0, 256, (1, 65, 97, 3)), jnp.float32)
    variables = draw_variables(ResNet(width=WIDTH))
    floor, ceil = (
        _features(ResNet(width=WIDTH, ceil=ceil), variables, images) for ceil in (False, True)
    )
    for name, values in floor.items():
        np.testing.assert_array_equal(ceil[name], values)


@pytest.mark.parametrize("output_stride", [32, 8])
def test_rounding_up_the_last_unit_lies_on_or_beyond_the_last_pixel(output_stride):
    model = ResNet(width=WIDTH, output_stride=output_stride, ceil=True)
    for blob in _blobs(model, 50, 33).values():
        (path,) = blob.paths
        sizes = {
            size: reduce(lambda size, layer: output_size(layer, size), path, size)
            for size in range(1, 200)
        }
        assert blob.maps.shape[1:3] == (sizes[50], sizes[33])
        for size, units in sizes.items():
            assert size - 1 <= (units - 1) * blob.stride < size - 1 + 2 * blob.stride


# --- the hole algorithm -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("depth", "output_stride", "stride_in_1x1"),
    [(18, 8, False), (18, 4, False), (50, 16, False), (50, 16, True)],
)
def test_atrous_net_sampled_at_the_old_stride_equals_the_strided_net(
    rng, draw_variables, depth, output_stride, stride_in_1x1
):
    options = {"depth": depth, "width": WIDTH, "stride_in_1x1": stride_in_1x1}
    images = jnp.asarray(rng.integers(0, 256, (1, 61, 90, 3)), jnp.float32)
    _assert_atrous_equals_strided(options, images, output_stride, rng, draw_variables)


def test_atrous_net_that_rounds_up_equals_the_strided_net_at_32_k_plus_1(rng, draw_variables):
    options = {"width": WIDTH, "ceil": True}
    images = jnp.asarray(rng.integers(0, 256, (1, 65, 97, 3)), jnp.float32)
    _assert_atrous_equals_strided(options, images, 8, rng, draw_variables)


def _assert_atrous_equals_strided(options, images, output_stride, rng, draw_variables):
    variables = draw_variables(ResNet(**options))
    coarse = _features(ResNet(**options), variables, images)
    fine = _features(ResNet(output_stride=output_stride, **options), variables, images)
    strides = {"layer1": 4, "layer2": 8, "layer3": 16, "layer4": 32}
    for name, stride in strides.items():
        step = max(1, stride // output_stride)
        actual, expected = fine[name][:, ::step, ::step], coarse[name]
        # The same products, in another order.
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5 * np.max(expected))


def test_resnet_rejects_an_unknown_output_stride():
    expected = "unknown model.output_stride=2; known: 32, 16, 8, 4"
    with pytest.raises(ValueError, match=expected):
        _blobs(ResNet(width=WIDTH, output_stride=2), 64, 64)


def test_only_bottlenecks_have_a_1x1_for_the_stride():
    expected = "model.stride_in_1x1 is of bottlenecks, and a ResNet-18 has none; leave it out"
    with pytest.raises(ValueError, match=expected):
        _blobs(ResNet(width=WIDTH, stride_in_1x1=True), 64, 64)


# --- the network of Zhang et al., Dive into Deep Learning, Sec. 14.11 -------------------------


def test_resnet18_fcn32s_is_the_network_of_dive_into_deep_learning():
    model = get_model("resnet18_fcn32s", num_classes=21)
    rows = {row.name: row for row in layer_table(model, height=320, width=480)}
    layer4, score, upscore = rows["layer4_1/fuse"], rows["score_fr"], rows["upscore"]
    assert (layer4.height, layer4.width, layer4.channels) == (10, 15, 512)
    assert (score.height, score.width, score.params) == (10, 15, 512 * 21 + 21)
    assert (upscore.kind, upscore.layer) == (
        "LearnedUpscore",
        Upscore(kernel=64, stride=32, pad=16),
    )
    assert (upscore.height, upscore.width, upscore.params) == (320, 480, 64 * 64 * 21 * 21)
    assert list(rows)[-4:] == ["layer4_1/fuse", "score_fr", "upscore", "score"]


def test_resnet18_fcn32s_with_a_fixed_kernel_has_its_units_on_their_pixels():
    model = get_model("resnet18_fcn32s", num_classes=21, upsampling="bilinear")
    rows = {row.name: row for row in layer_table(model, height=320, width=480)}
    assert rows["upscore"].layer == Upscore(kernel=63, stride=32)
    assert (rows["score"].start, rows["score"].height, rows["score"].width) == (0, 320, 480)


def test_resnet18_fcn32s_starts_as_bilinear_upsampling(rng, draw_variables, run_blobs):
    model = get_model("resnet18_fcn32s", num_classes=3, width=WIDTH)
    images = jnp.asarray(rng.integers(0, 256, (1, 45, 70, 3)), jnp.float32)
    init = jax.jit(lambda key: model.init(key, images, train=False)["params"]["upscore"])
    variables = draw_variables(model)
    params = {**variables["params"], "upscore": init(jax.random.key(0))}
    blobs, _ = run_blobs(model, {**variables, "params": params}, images)
    kernel = oracles.bilinear_kernel(64)
    expected = oracles.conv_transpose(blobs["score_fr"], kernel, stride=32, pad=16)
    error = np.abs(blobs["score"] - expected[:, :45, :70]).max() / np.abs(expected).max()
    assert error < 1e-6
