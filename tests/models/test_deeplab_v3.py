"""DeepLab v3 and v3+: the head in numpy, published sizes, torchvision's modules, and padding."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fcn_jax.errors import UserError
from fcn_jax.models.deeplab_v3 import DeepLabV3
from fcn_jax.models.head import AUXILIARY
from fcn_jax.models.layer_table import layer_table
from fcn_jax.models.networks import Network, deeplab_v3
from fcn_jax.models.zoo import (
    DEEPLAB_V3PLUS,
    MOBILENETV2_DEEPLAB,
    MOBILENETV2_V3,
    RESNET18,
    build,
    get_model,
)
from tests import oracles
from tests.conftest import shapes_of

pytestmark = pytest.mark.usefixtures("plain_conv")

LITE = {"width": 1 / 8, "head_channels": 8, "num_classes": 5}


def _relu(maps):
    return np.maximum(maps, 0)


def _conv(params, name, maps, *, activation=_relu, **options):
    layer = params[name]
    return activation(oracles.conv(maps, layer["kernel"], layer["bias"], **options))


def _conv3(params, name, maps, *, rate):
    if name in params:
        return _conv(params, name, maps, pad=rate, rate=rate)
    groups = maps.shape[-1]
    maps = _conv(params, f"{name}_depthwise", maps, pad=rate, rate=rate, groups=groups)
    return _conv(params, f"{name}_pointwise", maps)


def _head_by_hand(params, features, *, rates, low="", decoder_convs=0):
    """Runs the head of a network at output stride 16 in numpy, on features by name."""
    top = list(features.values())[-1]
    mean = _conv(params, "image_pooling", top.mean(axis=(1, 2), keepdims=True))
    seen = [np.broadcast_to(mean, (*top.shape[:3], mean.shape[-1])), _conv(params, "aspp0", top)]
    seen += [_conv3(params, f"aspp{n}", top, rate=rate) for n, rate in enumerate(rates, start=1)]
    maps = _conv(params, "concat_projection", np.concatenate(seen, axis=-1))
    stride = 16
    if low:
        fine = _conv(params, "feature_projection0", features[low])
        height, width = ((size - 1) * 4 + 1 for size in maps.shape[1:3])
        maps = oracles.align_corners_resize(maps, height, width)
        maps = np.concatenate([maps[:, : fine.shape[1], : fine.shape[2]], fine], axis=-1)
        stride = 4
    for number in range(decoder_convs):
        maps = _conv3(params, f"decoder_conv{number}", maps, rate=1)
    score = _conv(params, "logits", maps, activation=lambda maps: maps)
    height, width = ((size - 1) * stride + 1 for size in score.shape[1:3])
    return oracles.align_corners_resize(score, height, width)


@pytest.mark.parametrize(
    ("name", "options", "by_hand"),
    [
        ("efficientnetlite0_deeplabv3", {}, {"rates": (6, 12, 18)}),
        ("mobilenetv2_deeplabv3", {"output_stride": 16}, {"rates": ()}),
        (
            "efficientnetlite0_deeplabv3plus",
            {"separable": True, "aspp_rates": (2, 4), "low_level_channels": 6},
            {"rates": (2, 4), "low": "bottleneck3", "decoder_convs": 2},
        ),
    ],
)
def test_the_head_in_numpy(rng, draw_variables, run_blobs, name, options, by_hand):
    model = get_model(name, **LITE, **options)
    variables = draw_variables(model)
    images = rng.integers(0, 256, (2, 50, 67, 3)).astype(np.uint8)
    maps, _ = run_blobs(model, variables, images)
    names = [key for key in maps if key.startswith("bottleneck") and "/" not in key]
    expected = _head_by_hand(variables["params"], {key: maps[key] for key in names}, **by_hand)[
        :, :50, :67
    ]
    logits = jax.jit(lambda v, x: model.apply(v, x, train=False))(variables, images)
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


# Source: param counts of kazuto1011/deeplab-pytorch for v2, v3 and v3+; of torchvision.models for
# its own, with their auxiliary classifiers.
@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("resnet101_deeplab_aspp", {"fc_channels": 0, "pool5a": False}, 44_048_532),
        ("resnet101_deeplabv3", {}, 58_040_661),
        ("resnet101_deeplabv3plus", {}, 59_344_309),
        ("resnet50_fcn_torchvision", {}, 35_322_218),
        ("resnet101_fcn_torchvision", {}, 54_314_346),
        ("resnet50_deeplabv3_torchvision", {}, 42_004_074),
        ("resnet101_deeplabv3_torchvision", {}, 60_996_202),
    ],
)
def test_published_numbers_of_parameters(name, options, expected):
    model = get_model(name, num_classes=21, norm="batch", **options)
    params = shapes_of(model)["params"]
    assert sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params)) == expected


def test_rates_see_the_same_pixels_at_every_output_stride():
    taps = set()
    for stride in (32, 16, 8, 4):
        model = get_model("efficientnetlite0_deeplabv3", output_stride=stride, **LITE)
        taps.add(tuple(rate * stride for rate in model.rates))
    assert taps == {(6 * 16, 12 * 16, 18 * 16)}


def test_multi_grid_multiplies_the_rates_of_layer4():
    def rates(**options):
        model = get_model("resnet50_deeplabv3", num_classes=3, width=1 / 16, **options)
        rows = layer_table(model, height=65, width=65)
        return [row.layer.rate for row in rows if row.name.startswith("layer4") and row.layer]

    # At output stride 16 the first 3x3 stands before the removed stride.
    assert [rate for rate in rates() if rate > 1] == [4, 8]
    assert [rate for rate in rates(multi_grid=()) if rate > 1] == [2, 2]
    with pytest.raises(UserError, match="3 rates"):
        rates(multi_grid=(1, 2))


# --- the whole image --------------------------------------------------------------------------


def test_every_unit_sees_the_whole_image():
    model = get_model("mobilenetv2_deeplabv3", **LITE)
    *_, last = layer_table(model, height=65, width=65)
    assert last.field == math.inf
    bare = get_model("mobilenetv2_deeplabv3", **LITE, image_pooling=False)
    assert layer_table(bare, height=65, width=65)[-1].field < math.inf


# A small backbone, whose programs compile sooner than those of any network of the table.
TINY_V3PLUS = Network(RESNET18, DEEPLAB_V3PLUS, deeplab_v3)
TINY_TORCHVISION = Network(RESNET18, DeepLabV3, partial(deeplab_v3, upsampling="half_pixel"))
TF_MOBILENETV2 = partial(MOBILENETV2_DEEPLAB, tf_padding=True)
TINY_TENSORFLOW = Network(TF_MOBILENETV2, DEEPLAB_V3PLUS, MOBILENETV2_V3)


@pytest.mark.parametrize(
    "network",
    [TINY_V3PLUS, TINY_TORCHVISION, TINY_TENSORFLOW],
    ids=["v3plus", "torchvision", "tensorflow"],
)
def test_padding_that_is_told_apart_changes_nothing(rng, draw_variables, network):
    model = build(network, num_classes=5, width=1 / 16, head_channels=8)
    variables = draw_variables(model)
    apply = jax.jit(lambda images, sizes: model.apply(variables, images, train=False, sizes=sizes))
    images = rng.integers(0, 256, (2, 45, 60, 3)).astype(np.uint8)
    sizes = np.array([(45, 60), (36, 33)], np.int32)
    alone = [apply(image[None, :h, :w], None) for image, (h, w) in zip(images, sizes, strict=True)]
    spread = float(jnp.ptp(alone[0]))
    for more in ((7, 3), (40, 67)):
        padded = np.pad(images, [(0, 0), (0, more[0]), (0, more[1]), (0, 0)], constant_values=200)
        logits = apply(padded, sizes)
        # Each image of a batch has its own padding.
        for ours, expected, (height, width) in zip(logits, alone, sizes, strict=True):
            ours = ours[:height, :width]
            np.testing.assert_allclose(ours, expected[0], atol=1e-5 * spread, rtol=0)
    # And it would change something if it were not told apart.
    told = apply(padded, np.array([padded.shape[1:3]] * 2, np.int32))[0, :45, :60]
    assert np.abs(told - alone[0][0]).max() > 1e-3 * spread


# --- what training scores aside ---------------------------------------------------------------


def test_auxiliary_scores_are_of_training_alone(rng, draw_variables):
    options = {"num_classes": 3, "width": 1 / 16, "norm": "frozen", "fc_channels": 4}
    model = get_model("resnet18_deeplab_largefov", aux="layer3", **options)
    variables = draw_variables(model)
    images = jnp.asarray(rng.integers(0, 256, (1, 33, 40, 3)), jnp.uint8)

    @partial(jax.jit, static_argnames=("model", "train"))
    def run(model, variables, *, train):
        rngs = {"dropout": jax.random.key(0)}
        logits, extra = model.apply(
            variables, images, train=train, mutable=[AUXILIARY, "batch_stats"], rngs=rngs
        )
        return logits, extra.get(AUXILIARY, {})

    _, aside = run(model, variables, train=True)
    [[scores]] = aside.values()
    assert list(aside) == ["layer3"]
    assert scores.logits.shape == (1, 33, 40, 3) and scores.weight == 0.5
    logits, none = run(model, variables, train=False)
    assert not none
    params = {k: v for k, v in variables["params"].items() if not k.startswith("aux")}
    bare = get_model("resnet18_deeplab_largefov", **options)
    same, none = run(bare, {**variables, "params": params}, train=False)
    assert not none
    np.testing.assert_array_equal(logits, same)
    with pytest.raises(UserError, match=r"model\.aux 'layer9'"):
        shapes_of(get_model("resnet18_deeplab_largefov", aux="layer9", **options))


# --- torchvision ------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(65, 65), (53, 86)])
def test_half_pixel_stretching_is_torchs(rng, size):
    torch = pytest.importorskip("torch")
    from fcn_jax.ops.upsample import resize_half_pixel

    maps = rng.normal(size=(2, 9, 11, 3)).astype(np.float32)
    ours = jax.jit(lambda maps: resize_half_pixel(maps, size))(maps)
    theirs = torch.nn.functional.interpolate(
        torch.tensor(maps.transpose(0, 3, 1, 2)), size=size, mode="bilinear", align_corners=False
    )
    np.testing.assert_allclose(ours, theirs.numpy().transpose(0, 2, 3, 1), atol=2e-6)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"aspp_rates": (6, 0)}, "aspp_rates"),
        ({"head_channels": 0}, "head_channels"),
        ({"head_activation": "gelu"}, "relu, relu6"),
        ({"low_level_stride": 3}, "low_level_stride"),
        ({"low_level_channels": 0}, "low_level_channels"),
        ({"decoder_convs": -1}, "decoder_convs"),
        ({"upsampling": "nearest"}, "align_corners, half_pixel"),
        ({"upsampling": "half_pixel"}, "decoder"),
        ({"output_stride": 12}, "output_stride"),
    ],
)
def test_options_that_cannot_be_are_refused(options, words):
    with pytest.raises(UserError, match=words):
        shapes_of(get_model("efficientnetlite0_deeplabv3plus", **LITE | options))
