"""DeepLab against the releases, layer by layer and pixel by pixel."""

from functools import partial
from itertools import pairwise
from math import ceil
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fcn_jax.models.layer_table import layer_table
from fcn_jax.models.layers import Conv
from fcn_jax.models.zoo import MODELS, get_model
from fcn_jax.ops.geometry import receptive_field
from tests import oracles
from tests.conftest import shapes_of

pytestmark = pytest.mark.usefixtures("plain_conv")

# --- the releases by hand ---------------------------------------------------------------------

# (convolutions, rate, kernel and stride and padding of the pool) of conv1 to conv5.
POOL3 = [(2, 1, 3, 2, 1), (2, 1, 3, 2, 1), (3, 1, 3, 2, 1), (3, 1, 3, 1, 1), (3, 2, 3, 1, 1)]
ATROUS45 = [(2, 1, 3, 2, 1), (2, 1, 3, 2, 1), (3, 1, 3, 1, 1), (3, 2, 3, 1, 1), (3, 4, 3, 1, 1)]
NOUP = [(2, 1, 2, 2, 1), (2, 1, 2, 2, 1), (3, 1, 2, 2, 1), (3, 1, 2, 1, 1), (3, 2, 3, 1, 1)]
NOUP_TRAIN = [*NOUP[:3], (3, 1, 2, 1, 0), NOUP[4]]
SIDES = {"data": 1, "pool1": 2, "pool2": 4, "pool3": 8, "pool4": 8}  # name: stride


class Net(NamedTuple):
    """A released network, or one of the paper.

    Attributes:
        fc6: (rate, padding) of every branch.
        trim: pixels that the release cuts off at the beginning of its upsampled scores.
        label: the first pixel whose label it trains on; every 8th follows.
    """

    backbone: list
    fc6: list[tuple[int, int]]
    pool5a: bool = False
    sides: bool = False
    stride: int = 8
    trim: int = 0
    train_backbone: list = POOL3
    label: int = 0


NETS = {
    "vgg16_deeplab": Net(NOUP, [(4, 6)], trim=7, train_backbone=NOUP_TRAIN, label=1),
    "vgg16_deeplab_4x4": Net(NOUP, [(8, 12)], trim=7, train_backbone=NOUP_TRAIN, label=1),
    "vgg16_deeplab_7x7": Net(NOUP, [(4, 12)], trim=7, train_backbone=NOUP_TRAIN, label=1),
    "vgg16_deeplab_largefov": Net(POOL3, [(12, 12)], pool5a=True),
    "vgg16_deeplab_msc": Net(POOL3, [(4, 6)], sides=True),
    "vgg16_deeplab_msc_largefov": Net(POOL3, [(12, 12)], pool5a=True, sides=True),
    "vgg16_deeplab_atrous45": Net(ATROUS45, [(24, 24)], pool5a=True, stride=4),
    "vgg16_deeplab_aspp": Net(POOL3, [(6, 6), (12, 12), (18, 18), (24, 24)]),
}


def _by_hand(net, params, images, *, train):
    """Runs a network in numpy; training, as far as the scores at the units, without dropout."""
    blobs = {}

    def conv(name, blob, *, layers=params, relu=True, **options):
        blob = oracles.conv(blob, layers[name]["kernel"], layers[name]["bias"], **options)
        blobs[name] = np.maximum(blob, 0) if relu else blob
        return blobs[name]

    blob = (images - np.array([122.67892, 116.66877, 104.00699]))[..., ::-1]
    taps = {"data": blob}
    backbone = net.train_backbone if train else net.backbone
    for stage, (convs, rate, kernel, stride, pad) in enumerate(backbone, start=1):
        for index in range(1, convs + 1):
            name = f"conv{stage}_{index}"
            blob = conv(name, blob, layers=params["backbone"], pad=rate, rate=rate)
        blob = oracles.caffe_pool(blob, "max", kernel=kernel, stride=stride, pad=pad)
        blobs[f"pool{stage}"] = taps[f"pool{stage}"] = blob
    if net.pool5a:
        blob = blobs["pool5a"] = oracles.caffe_pool(blob, "ave", kernel=3, pad=1)
    score = 0
    for number, (rate, pad) in enumerate(net.fc6, start=1):
        end = f"_{number}" if len(net.fc6) > 1 else ""
        fc7 = conv(f"fc7{end}", conv(f"fc6{end}", blob, rate=rate, pad=pad))
        score = score + conv(f"fc8{end}", fc7, relu=False)
    blobs["fc8"] = score
    scores = {"fc8": (score, net.stride)}
    if net.sides:
        sides = {}
        for name, stride in SIDES.items():
            fc = conv(
                f"{name}_fc",
                conv(f"{name}_conv", taps[name], pad=1, stride=8 // stride if train else 1),
            )
            sides[name] = conv(f"{name}_ms", fc, relu=False), stride
        scores = sides | scores

    total = 0
    height, width = images.shape[1:3]
    for name, (score, stride) in scores.items():
        if train:
            rows, columns = len(range(net.label, height, 8)), len(range(net.label, width, 8))
            placed = score[:, :rows, :columns]
        else:
            sizes = [(size - 1) * stride + 1 for size in score.shape[1:3]]
            if stride > 1:
                score = blobs[f"{name}_interp"] = oracles.align_corners_resize(score, *sizes)
            placed = score[:, net.trim : net.trim + height, net.trim : net.trim + width]
        blobs[f"{name}_crop"] = placed
        total = total + placed
    if net.sides:
        blobs["fc_fusion"] = total
    return blobs


def _tiny(name, **options):
    options = {"num_classes": 3, "width": 1 / 32, "fc_channels": 8, **options}
    if "msc" in name:
        options = {"side_channels": 4, **options}
    return get_model(name, **options)


def _images(rng, height, width):
    return rng.integers(0, 256, (1, height, width, 3)).astype(np.float32)


def _assert_same_blobs(actual, expected):
    assert set(actual) == set(expected)
    for name, values in expected.items():
        assert actual[name].shape == values.shape, name
        error = np.abs(actual[name] - values).max() / np.abs(values).max()
        assert error < 1e-5, f"{name}: {error}"  # float32 sums of up to 784 products, 20 layers


def test_every_deeplab_is_known_by_hand():
    assert set(NETS) == {name for name in MODELS if name.startswith("vgg16_deeplab")}


@pytest.mark.parametrize("name", NETS)
def test_network_matches_numpy_layer_by_layer(rng, draw_variables, run_blobs, name):
    model = _tiny(name)
    variables = draw_variables(model)
    images = _images(rng, 97, 143)
    blobs, _ = run_blobs(model, variables, images)
    expected = _by_hand(NETS[name], variables["params"], images.astype(np.float64), train=False)
    _assert_same_blobs(blobs, expected)


@pytest.mark.parametrize("name", ["vgg16_deeplab", "vgg16_deeplab_msc_largefov"])
@pytest.mark.parametrize(("height", "width"), [(97, 143), (104, 90)])
def test_network_in_training_matches_numpy_layer_by_layer(
    rng, draw_variables, run_blobs, name, height, width
):
    model = _tiny(name, label_shrink=True, dropout=0.0)
    variables = draw_variables(model)  # of the form that is tested: the weights are shared
    images = _images(rng, height, width)
    blobs, _ = run_blobs(model, variables, images, train=True)
    expected = _by_hand(NETS[name], variables["params"], images.astype(np.float64), train=True)
    _assert_same_blobs(blobs, expected)


# --- training and test ------------------------------------------------------------------------


def _logits(model, variables, images, *, train):
    run = jax.jit(lambda images: model.apply(variables, images, train=train))
    return np.asarray(run(jnp.asarray(images)))


@pytest.mark.parametrize("name", NETS)
def test_both_forms_have_the_same_variables(name):
    model = _tiny(name, label_shrink=True)
    images = jax.ShapeDtypeStruct((1, 64, 64, 3), "float32")
    keys = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
    train, test = (
        jax.eval_shape(lambda images, form=form: model.init(keys, images, train=form), images)
        for form in (True, False)
    )
    assert train == test


@pytest.mark.parametrize(
    ("name", "height", "width"),
    [
        ("vgg16_deeplab_largefov", 41, 72),
        ("vgg16_deeplab_atrous45", 50, 47),
        ("vgg16_deeplab_msc", 41, 72),
        ("vgg16_deeplab_msc", 50, 47),
    ],
)
def test_shrunk_logits_are_those_of_the_image_at_the_units(
    rng, draw_variables, name, height, width
):
    """Strided side branches too score what their dense form scores there, at any size."""
    model = _tiny(name, label_shrink=True, dropout=0.0, fc6_rate=2)
    variables, images = draw_variables(model), _images(rng, height, width)
    shrunk = _logits(model, variables, images, train=True)
    stride = NETS[name].stride
    dense = _logits(model, variables, images, train=False)[:, ::stride, ::stride]
    assert shrunk.shape == dense.shape
    np.testing.assert_allclose(shrunk, dense, rtol=1e-5, atol=1e-5 * np.abs(dense).max())


def test_both_forms_of_the_first_deeplab_agree_away_from_the_border(rng, draw_variables):
    """At test pool4 is padded, which adds units outside; the trimmed half pixel undoes none else.

    Logits that lie half a pixel early meet the units, at 8 i + 0.5, on the trained pixels 8 i + 1.
    """
    options = {"width": 1 / 64, "fc_channels": 2, "fc6_rate": 2, "dropout": 0.0}
    model = _tiny("vgg16_deeplab", label_shrink=True, **options)
    variables, images = draw_variables(model), _images(rng, 203, 194)
    shrunk = _logits(model, variables, images, train=True)
    dense = _logits(model, variables, images, train=False)[:, 1::8, 1::8]
    assert shrunk.shape == dense.shape
    # conv5 sees 6 units to each side, pool5 one, fc6 three.
    inside = np.s_[:, 10:-10, 10:-10]
    assert shrunk[inside].size
    np.testing.assert_allclose(
        shrunk[inside], dense[inside], rtol=1e-5, atol=1e-5 * np.abs(dense).max()
    )
    assert np.abs(shrunk - dense).max() > 0.01 * np.abs(dense).max()


@pytest.mark.parametrize("name", NETS)
def test_logits_have_the_size_of_the_image(name):
    model = _tiny(name)
    variables = shapes_of(model)
    for height, width in [(1, 1), (2, 70), (8, 9), (33, 36), (64, 7), (321, 253)]:
        images = jax.ShapeDtypeStruct((2, height, width, 3), "float32")
        run = partial(model.apply, train=False)
        assert jax.eval_shape(run, variables, images).shape == (2, height, width, 3)


@pytest.mark.parametrize(
    ("name", "options", "grid"),
    [
        ("vgg16_deeplab", {}, (1, 8)),
        ("vgg16_deeplab", {"output_stride": 4}, (3, 4)),
        ("vgg16_deeplab_msc", {}, (0, 8)),
    ],
)
def test_shrunk_logits_are_as_many_as_their_labels_at_every_size(name, options, grid):
    model = _tiny(name, label_shrink=True, **options)
    for height in range(30, 38):  # every remainder of the stride, and in width the others
        width = 75 - height
        scored = layer_table(model, height=height, width=width, train=True)[-1]
        first, stride = ceil(scored.start), int(scored.stride)
        assert (first, stride) == grid
        labels = np.zeros((height, width))[first::stride, first::stride]
        assert (scored.height, scored.width) == labels.shape, (height, width)


@pytest.mark.parametrize("name", NETS)
def test_logits_lie_on_the_image_or_half_a_pixel_early(name):
    for height, width in [(40, 57), (51, 46)]:
        *_, last = layer_table(_tiny(name), height=height, width=width)
        assert (last.stride, last.start) == (1, -0.5 if NETS[name].trim else 0)


@pytest.mark.parametrize(
    ("name", "options", "axis"),
    [
        ("vgg16_deeplab", {}, "height"),
        ("vgg16_deeplab_largefov", {}, "height"),
        ("vgg16_deeplab_largefov", {}, "width"),
        ("vgg16_deeplab_msc_largefov", {"side_channels": 1}, "width"),
        ("vgg16_deeplab_atrous45", {}, "height"),
        ("vgg16_deeplab_atrous45", {}, "width"),
        ("vgg16_deeplab_aspp", {"fc6_rate": (3, 6, 9)}, "height"),
    ],
)
def test_output_depends_on_exactly_its_receptive_field(see_pixels, name, options, axis):
    model = _tiny(name, num_classes=1, width=1 / 64, fc_channels=1, **options)
    size = 521
    bright = np.arange(0, size, 23)  # prime: every phase of every stride occurs
    # Across, the four taps of fc6 leave out the bright pixel's own unit, but not each of the three.
    if axis == "height":
        support, paths = see_pixels(model, size, 3, [(i, 1) for i in bright])
        support = support.any(2)
    else:
        support, paths = see_pixels(model, 3, size, [(1, i) for i in bright])
        support = support.any(1)
    fields = [[receptive_field(path, index) for path in paths] for index in range(size)]
    assert any(all(first > 0 and last < size - 1 for first, last in field) for field in fields)
    expected = [
        [any(first <= pixel <= last for first, last in field) for field in fields]
        for pixel in bright
    ]
    np.testing.assert_array_equal(support, expected)


# --- dropout and norm -------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["vgg16_deeplab", "vgg16_deeplab_msc", "vgg16_deeplab_aspp"])
def test_dropout_follows_every_hidden_layer_of_the_head(name):
    model, calls = _tiny(name), []

    def record(call, args, kwargs, context):
        if isinstance(context.module, Conv | nn.Dropout) and context.method_name == "__call__":
            calls.append(context.module.name)
        return call(*args, **kwargs)

    def run(images):
        with nn.intercept_methods(record):
            keys = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
            return model.init(keys, images, train=True)

    jax.eval_shape(run, jax.ShapeDtypeStruct((1, 32, 32, 3), "float32"))
    head = [call for call in calls if not (call[:4] == "conv" or call.startswith("Dropout"))]
    hidden = {call for call in head if not (call.startswith("fc8") or call.endswith("_ms"))}
    assert (
        len(hidden) == {"vgg16_deeplab": 2, "vgg16_deeplab_msc": 12, "vgg16_deeplab_aspp": 8}[name]
    )
    dropped = {one for one, two in pairwise(calls) if two.startswith("Dropout")}
    assert dropped == hidden


def test_side_branches_are_normalised_as_the_rest():
    model = _tiny("vgg16_deeplab_msc", norm="batch")
    images = jax.ShapeDtypeStruct((1, 32, 32, 3), "float32")
    params = jax.eval_shape(
        lambda images: model.init(jax.random.key(0), images, train=False), images
    )["params"]
    for name in SIDES:
        layers = [set(params[f"{name}_{kind}"]) for kind in ("conv", "fc", "ms")]
        assert layers == [{"kernel", "norm"}, {"kernel", "norm"}, {"kernel", "bias"}]


# --- initial weights --------------------------------------------------------------------------


def _init(model, names):
    """Draws the initial weights of these layers, and compiles no more than that."""

    @jax.jit
    def init(key):
        params = model.init(key, jnp.zeros((1, 8, 8, 3)), train=False)["params"]
        return {name: params[name] for name in names}

    return init(jax.random.key(0, impl="unsafe_rbg"))


def test_score_layer_starts_small_and_the_others_as_wide_as_their_input():
    model = _tiny("vgg16_deeplab_largefov", num_classes=21, fc_channels=512)
    params = _init(model, ["fc7", "fc8"])
    # 10752 draws: the deviation is known to within 0.7 percent.
    np.testing.assert_allclose(np.std(params["fc8"]["kernel"]), 0.01, rtol=0.04)
    np.testing.assert_allclose(np.std(params["fc7"]["kernel"]), np.sqrt(2 / 512), rtol=0.02)


def test_side_branches_start_as_released():
    model = _tiny("vgg16_deeplab_msc", num_classes=21, width=0.25, side_channels=64)
    params = _init(model, [f"{name}_{kind}" for name in SIDES for kind in ("conv", "fc", "ms")])
    for name in SIDES:
        expected = {"conv": 0.001, "fc": 0.005 if name == "pool4" else 0.001, "ms": 0.01}
        expected["ms"] *= name != "pool3"
        for kind, std in expected.items():
            layer = params[f"{name}_{kind}"]
            # 1344 draws or more: the deviation is known to within 2 percent.
            np.testing.assert_allclose(np.std(layer["kernel"]), std, rtol=0.1)
            assert not np.any(layer["bias"])


# --- rates and output strides -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("rates", "strides", "conv_rates"),
    [
        ("largefov", (2, 2, 2, 1, 1), (1, 1, 1, 1, 2)),
        ("atrous45", (2, 2, 1, 1, 1), (1, 1, 1, 2, 4)),
    ],
)
def test_named_rates_are_those_of_the_paper(rates, strides, conv_rates):
    backbone = _tiny("vgg16_deeplab_largefov", rates=rates).backbone
    assert tuple(pool.stride for pool in backbone.pools) == strides
    assert backbone.rates == conv_rates
    assert {pool.rate for pool in backbone.pools} == {1}


def test_rates_and_output_stride_may_be_given_as_numbers():
    named = _tiny("vgg16_deeplab_atrous45")
    assert named == _tiny("vgg16_deeplab_largefov", output_stride=4, fc6_rate=24)
    assert named == _tiny("vgg16_deeplab_atrous45", rates=(1, 1, 1, 2, 4), output_stride=4)
    other = _tiny("vgg16_deeplab_largefov", rates=(1, 1, 2, 3, 5), output_stride=16).backbone
    assert other.rates == (1, 1, 2, 3, 5)
    assert [pool.stride for pool in other.pools] == [2, 2, 2, 2, 1]


@pytest.mark.parametrize("output_stride", [16, 8, 4])
def test_scores_at_a_finer_output_stride_hold_those_of_the_strided_net(
    rng, draw_variables, run_blobs, output_stride
):
    """The hole algorithm, with fc6 and the pools; the released nets do not dilate their pools."""

    def make(stride):
        options = {"pool5a": False, "atrous_pools": True, "fc6_kernel": 4, "fc6_rate": 64 // stride}
        return _tiny("vgg16_deeplab_largefov", output_stride=stride, **options)

    variables, images = draw_variables(make(32)), _images(rng, 65, 97)
    coarse, _ = run_blobs(make(32), variables, images)
    fine, _ = run_blobs(make(output_stride), variables, images)
    step = 32 // output_stride
    expected, actual = coarse["fc8"], fine["fc8"][:, ::step, ::step]
    # The same products, in another order.
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("pools", "output_stride"),
    [("pool3", 32), ("pool3", 16), ("pool3", 8), ("pool3", 4), ("noup", 8), ("noup", 4)],
)
def test_every_output_stride_fits_every_size(pools, output_stride):
    model = _tiny("vgg16_deeplab_7x7", pools=pools, output_stride=output_stride)
    for height, width in [(1, 34), (61, 40), (35, 63)]:
        for train in (False, True):  # trained at every pixel
            rows = layer_table(model, height=height, width=width, train=train)
            blobs = {row.name: row for row in rows}
            assert blobs["fc8"].stride == output_stride
            assert (rows[-1].height, rows[-1].width, rows[-1].stride) == (height, width, 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rates": "atrous5"}, "unknown model.rates 'atrous5'; known: largefov, atrous45"),
        ({"rates": (1, 2), "output_stride": 8}, "must be one for each of conv1 to conv5"),
        ({"rates": (1, 1, 1, 2, 2)}, "needs a model.output_stride: 32, 16, 8 or 4"),
        ({"rates": (1, 1, 1, 1, 0), "output_stride": 8}, "model.rates=.* must be positive rates"),
        ({"fc6_rate": 0}, "model.fc6_rate=.* must be positive rates"),
        ({"fc6_rate": (6, 0)}, "model.fc6_rate=.* must be positive rates"),
        ({"fc6_rate": ()}, "model.fc6_rate=.* must be positive rates, at least one"),
        ({"output_stride": 6}, "unknown model.output_stride=6; known: 32, 16, 8, 4"),
        ({"pools": "2x2"}, "unknown model.pools '2x2'; known: pool3, noup"),
        ({"pools": "noup", "sides": ("pool3",)}, "noup is for output strides 8 and 4, without"),
        ({"pools": "noup", "atrous_pools": True}, "noup is for output strides 8 and 4, without"),
        ({"pools": "noup", "output_stride": 16}, "noup is for output strides 8 and 4, without"),
    ],
)
def test_deeplab_rejects_options_that_cannot_be(options, message):
    with pytest.raises(ValueError, match=message):
        _tiny("vgg16_deeplab_largefov", **options)


@pytest.mark.parametrize(
    ("sides", "message"),
    [
        (("pool3", "pool6"), r"unknown model.sides \['pool6'\]; the backbone has data, pool1, "),
        (("pool3", "pool3"), "model.sides=.* must name each of them once"),
    ],
)
def test_deeplab_rejects_sides_that_cannot_be(sides, message):
    with pytest.raises(ValueError, match=message):
        layer_table(_tiny("vgg16_deeplab_msc", sides=sides), height=32, width=32)
