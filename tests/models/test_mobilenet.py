"""MobileNetV2: its layers in numpy, its sizes, and the hole algorithm."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fcn_jax.models.layer_table import layer_table
from fcn_jax.models.mobilenet import MobileNetV2
from fcn_jax.models.zoo import get_model
from fcn_jax.ops.papers import scale_channels
from tests import oracles
from tests.conftest import shapes_of

pytestmark = pytest.mark.usefixtures("plain_conv")

WIDTH = 1 / 4
STRIDES = {"bottleneck1": 2, "bottleneck3": 4, "bottleneck6": 8, "bottleneck13": 16}
MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])

# Of torchvision's features.1 to features.17, as printed: the stride of the depthwise convolution,
# the channels that come out, and whether the input is added.
BOTTLENECKS = [
    (1, 16, False),
    *[(2, 24, False), (1, 24, True)],
    *[(2, 32, False), (1, 32, True), (1, 32, True)],
    *[(2, 64, False), (1, 64, True), (1, 64, True), (1, 64, True)],
    *[(1, 96, False), (1, 96, True), (1, 96, True)],
    *[(2, 160, False), (1, 160, True), (1, 160, True)],
    (1, 320, False),
]


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


def _mobilenet_by_hand(variables, images, actual, *, tf_padding=False):
    """Runs torchvision's MobileNetV2 in numpy, with or without an expansion in bottleneck1.

    With `tf_padding`, TensorFlow's, at sizes that are multiples of 32.

    Every layer gets what the network itself made of the layers before: random layers double a
    rounding error every third time, which after 53 of them would hide a small mistake.
    """
    expected = {}

    def put(path, blob):
        expected[path] = blob
        return np.asarray(actual[path], np.float64)

    def conv(blob, path, activation=True, **options):
        layer, stats = variables["params"], variables["batch_stats"]
        for key in path.split("/"):
            layer, stats = layer[key], stats[key]
        if tf_padding and options.get("stride") == 2:
            # "SAME" of an even size: of 3 - 2 zeros the smaller half, none, stands before.
            blob = np.pad(blob, ((0, 0), (0, 1), (0, 1), (0, 0)))
            options["pad"] = 0
        blob = oracles.conv(blob, layer["kernel"], **options)
        blob = (blob - stats["norm"]["mean"]) / np.sqrt(stats["norm"]["var"] + 1e-5)
        blob = blob * layer["norm"]["scale"] + layer["norm"]["bias"]
        return put(path, np.clip(blob, 0, 6) if activation else blob)

    blob = conv((images / 255 - MEAN) / STD, "conv0", stride=2, pad=1)
    for number, (stride, _, residual) in enumerate(BOTTLENECKS, start=1):
        path, branch = f"bottleneck{number}", blob
        if "expand" in variables["params"][path]:
            branch = conv(branch, f"{path}/expand")
        groups = branch.shape[-1]
        branch = conv(branch, f"{path}/depthwise", stride=stride, pad=1, groups=groups)
        branch = conv(branch, f"{path}/project", activation=False)
        if residual:
            branch = put(f"{path}/fuse", branch + blob)
        blob = put(path, branch)
    conv(blob, "conv_last")
    return expected


@pytest.mark.parametrize(
    ("first_expand", "tf_padding", "size"),
    [(False, False, (97, 143)), (True, False, (97, 143)), (False, True, (96, 160))],
)
def test_mobilenetv2_matches_numpy_layer_by_layer(
    rng, draw_variables, run_blobs, first_expand, tf_padding, size
):
    model = MobileNetV2(width=0.35, first_expand=first_expand, tf_padding=tf_padding)
    variables = draw_variables(model)
    assert ("expand" in variables["params"]["bottleneck1"]) == first_expand
    images = rng.integers(0, 256, (1, *size, 3)).astype(np.float32)
    actual, _ = run_blobs(model, variables, images)
    actual.pop("fill", None)
    variables = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), variables)
    expected = _mobilenet_by_hand(variables, images, actual, tf_padding=tf_padding)
    assert list(actual) == list(expected)
    for name, values in expected.items():
        assert actual[name].shape == values.shape, name
        error = np.abs(actual[name] - values).max() / np.abs(values).max()
        assert error < 2e-6, f"{name}: {error}"  # float32 sums of up to 336 products
    for number in range(2, 18):  # both ends of ReLU6 are met
        values = expected[f"bottleneck{number}/expand"]
        assert 0.001 < np.mean(values == 6) < 0.5 and np.mean(values == 0) > 0.1


# --- sizes and positions ----------------------------------------------------------------------


def test_features_are_the_image_and_the_last_bottlenecks_at_each_stride():
    blobs = _blobs(MobileNetV2(), 64, 97)
    assert [(name, blob.stride, blob.start, blob.maps.shape) for name, blob in blobs.items()] == [
        ("data", 1, 0, (2, 64, 97, 3)),
        ("bottleneck1", 2, 0, (2, 32, 49, 16)),
        ("bottleneck3", 4, 0, (2, 16, 25, 24)),
        ("bottleneck6", 8, 0, (2, 8, 13, 32)),
        ("bottleneck13", 16, 0, (2, 4, 7, 96)),
        ("conv_last", 32, 0, (2, 2, 4, 1280)),
    ]


@pytest.mark.parametrize("output_stride", [32, 8])
def test_with_tensorflows_padding_units_lie_on_the_last_pixels_of_their_cells(output_stride):
    model = MobileNetV2(width=WIDTH, output_stride=output_stride, tf_padding=True)
    for name, blob in _blobs(model, 50, 97).items():
        if name != "data":
            stride = min(STRIDES.get(name, 32), output_stride)
            assert (blob.stride, blob.start) == (stride, stride - 1)
            filled = [-(-size // output_stride) * output_stride for size in (50, 97)]
            assert blob.maps.shape[1:3] == tuple(size // stride for size in filled)


def test_with_tensorflows_padding_a_symbolic_size_is_refused_with_what_to_do():
    model = MobileNetV2(width=WIDTH, tf_padding=True)
    height, width = jax.export.symbolic_shape("h, w")
    with pytest.raises(ValueError, match="multiple of 32 .* cannot be symbolic; give height and"):
        jax.eval_shape(
            lambda images: model.init(jax.random.key(0), images, train=False),
            jax.ShapeDtypeStruct((1, height, width, 3), "float32"),
        )


@pytest.mark.parametrize("size", [(64, 96), (50, 71)])
@pytest.mark.parametrize("head", ["deeplab_largefov", "deeplabv3", "deeplabv3plus"])
def test_with_tensorflows_padding_scores_reach_over_the_whole_image(head, size):
    """A score that is the same at every unit is the same at every pixel, the first ones too."""
    options = {"fc_channels": 4} if head == "deeplab_largefov" else {"head_channels": 4}
    model = get_model(f"mobilenetv2_{head}", num_classes=2, width=0.1, tf_padding=True, **options)
    variables = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), shapes_of(model))
    layer = "fc8" if head == "deeplab_largefov" else "logits"
    variables["params"][layer]["bias"] = jnp.array([3.0, -5.0])
    logits = jax.jit(partial(model.apply, train=False))(variables, jnp.ones((1, *size, 3)))
    np.testing.assert_allclose(logits, np.broadcast_to([3.0, -5.0], (1, *size, 2)), rtol=1e-6)


def test_without_its_last_convolution_the_network_ends_at_bottleneck17():
    whole, cut = _blobs(MobileNetV2(), 64, 64), _blobs(MobileNetV2(conv_last=False), 64, 64)
    assert list(cut) == [*list(whole)[:-1], "bottleneck17"]
    assert cut["bottleneck17"].maps.shape == (2, 2, 2, 320)


def test_rows_are_those_of_torchvision():
    rows = {row.name: row for row in layer_table(MobileNetV2(), height=64, width=64)}
    product = 2
    for number, (stride, channels, residual) in enumerate(BOTTLENECKS, start=1):
        product *= stride
        depthwise, project = (
            rows[f"bottleneck{number}/{name}"] for name in ("depthwise", "project")
        )
        assert (depthwise.layer.stride, project.stride) == (stride, product)
        assert project.channels == channels
        assert (f"bottleneck{number}/fuse" in rows) == residual


# torchvision: 3504872 parameters and 300774272 multiply-adds at 224x224, of which the classifier
# has 1280 * 1000 weights and 1000 biases. An expansion of 32 to 32 channels has 1024 weights, and
# scale and bias, at 112x112 units.
@pytest.mark.parametrize(
    ("first_expand", "params", "multiply_adds"),
    [(False, 0, 0), (True, 32 * 32 + 2 * 32, 112 * 112 * 32 * 32)],
)
def test_totals_are_those_of_torchvision(first_expand, params, multiply_adds):
    rows = layer_table(MobileNetV2(first_expand=first_expand), height=224, width=224)
    assert sum(row.params for row in rows) == 3504872 - 1281000 + params
    assert sum(row.multiply_adds for row in rows) == 300774272 - 1280000 + multiply_adds
    assert (rows[-1].height, rows[-1].width, rows[-1].field) == (7, 7, 491)


def test_a_depthwise_layer_multiplies_nine_times_for_each_of_its_values():
    (row,) = (
        row
        for row in layer_table(MobileNetV2(), height=64, width=96)
        if row.name == "bottleneck2/depthwise"
    )
    assert (row.height, row.width, row.channels, row.params) == (16, 24, 96, 9 * 96 + 2 * 96)
    assert row.multiply_adds == 16 * 24 * 96 * 9


# Of 24, 32, 96, 160, 320 in the networks that torchvision and Keras offer at these widths.
@pytest.mark.parametrize(
    ("width", "channels"),
    [
        (0.35, [8, 16, 32, 56, 112]),
        (0.5, [16, 16, 48, 80, 160]),
        (0.75, [24, 24, 72, 120, 240]),
        (1.0, [24, 32, 96, 160, 320]),
        (1.3, [32, 40, 128, 208, 416]),
        (1.4, [32, 48, 136, 224, 448]),
    ],
)
def test_channels_are_scaled_to_multiples_of_eight(width, channels):
    assert [scale_channels(number, width) for number in (24, 32, 96, 160, 320)] == channels


def test_no_width_takes_away_more_than_a_tenth():
    for channels in range(1, 400):
        for width in (0.1, 0.35, 0.77, 1.0, 1.3):
            scaled = scale_channels(channels, width)
            assert scaled % 8 == 0 and scaled >= 0.9 * channels * width


@pytest.mark.parametrize(("width", "channels"), [(0.5, 1280), (1.0, 1280), (1.4, 1792)])
def test_a_width_below_one_leaves_the_last_convolution_as_it_is(width, channels):
    assert _blobs(MobileNetV2(width=width), 32, 32)["conv_last"].maps.shape[-1] == channels


def test_every_feature_is_computed_in_the_type_that_is_asked_for():
    blobs = _blobs(MobileNetV2(dtype="bfloat16"), 33, 40)
    assert {blob.maps.dtype for blob in blobs.values()} == {jnp.dtype("bfloat16")}


# --- the hole algorithm -----------------------------------------------------------------------


LATE_STRIDE = {"strides": (1, 2, 2, 1, 2, 2, 1), "activation": "relu"}
LATE_TAPS = {"bottleneck1": 2, "bottleneck3": 4, "bottleneck10": 8, "bottleneck13": 16}


@pytest.mark.parametrize(
    ("options", "taps", "size", "output_strides"),
    [
        ({}, STRIDES, (61, 90), (8, 4)),
        ({"ceil": True}, STRIDES, (65, 97), (8,)),
        (LATE_STRIDE, LATE_TAPS, (61, 90), (16, 8)),
    ],
)
def test_atrous_net_sampled_at_the_old_stride_equals_the_strided_net(
    rng, draw_variables, options, taps, size, output_strides
):
    strided = MobileNetV2(width=WIDTH, **options)
    variables = draw_variables(strided)
    images = jnp.asarray(rng.integers(0, 256, (1, *size, 3)), jnp.float32)
    coarse = _features(strided, variables, images)
    for output_stride in output_strides:
        atrous = MobileNetV2(width=WIDTH, output_stride=output_stride, **options)
        fine = _features(atrous, variables, images)
        for name, stride in {**taps, "conv_last": 32}.items():
            step = max(1, stride // output_stride)
            actual, expected = fine[name][:, ::step, ::step], coarse[name]
            # The same products, in another order.
            np.testing.assert_allclose(
                actual, expected, rtol=1e-5, atol=1e-5 * np.max(np.abs(expected))
            )


def test_ceil_and_floor_are_the_same_at_32_k_plus_1(rng, draw_variables):
    images = jnp.asarray(rng.integers(0, 256, (1, 65, 97, 3)), jnp.float32)
    floor, ceil = (MobileNetV2(width=WIDTH, ceil=ceil) for ceil in (False, True))
    variables = draw_variables(floor)
    expected = _features(floor, variables, images)
    for name, values in _features(ceil, variables, images).items():
        np.testing.assert_array_equal(values, expected[name])


def test_the_map_under_a_deeplab_head_reaches_over_the_whole_image():
    rows = {
        row.name: row
        for row in layer_table(
            get_model("mobilenetv2_deeplab_largefov", num_classes=21), height=360, width=480
        )
    }
    deepest = rows["bottleneck17/project"]
    assert (deepest.stride, deepest.height, deepest.width) == (8, 46, 61)
    floor = _blobs(MobileNetV2(output_stride=8), 360, 480)["conv_last"]
    assert floor.maps.shape[1:3] == (45, 60)


def test_a_wider_fc6_would_take_more_multiply_adds_than_the_backbone():
    """What the default of 256 channels rests on."""

    def split(**options):
        model = get_model("mobilenetv2_deeplab_largefov", num_classes=21, **options)
        rows = layer_table(model, height=321, width=321)
        (fc6,) = (row.multiply_adds for row in rows if row.name == "fc6")
        first = [row.name for row in rows].index("fc6")
        return fc6, sum(row.multiply_adds for row in rows[:first])

    fc6, backbone = split(fc_channels=1024)
    assert fc6 > backbone
    fc6, backbone = split()
    assert fc6 < backbone
