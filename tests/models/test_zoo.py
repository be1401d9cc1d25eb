"""Every network by its name: it initialises, normalises and computes as it is told to."""

import inspect
import json
import re
from functools import cache, partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.fcn_jax_networks import make_model
from fcn_jax.models.alexnet import AlexNet
from fcn_jax.models.deeplab import DeepLab
from fcn_jax.models.deeplab_v3 import DeepLabV3
from fcn_jax.models.efficientnet import EfficientNetLite
from fcn_jax.models.fcn import FCN
from fcn_jax.models.layer_table import layer_table
from fcn_jax.models.layers import NormSpec
from fcn_jax.models.mobilenet import MobileNetV2
from fcn_jax.models.networks import Network, atrous_deeplab, deeplab_v3, plain_fcn, vgg16_deeplab
from fcn_jax.models.preprocess import CAFFE, TORCHVISION
from fcn_jax.models.resnet import ResNet
from fcn_jax.models.vgg import VGG16
from fcn_jax.models.zoo import (
    ALEXNET_FCN,
    ASPP,
    DEEPLAB_V3PLUS,
    FCN8S,
    MODELS,
    VGG16_FCN,
    build,
    find_takers,
    get_model,
    get_weight_options,
)
from fcn_jax.ops.geometry import receptive_field

pytestmark = pytest.mark.usefixtures("plain_conv")

ROOT = Path(__file__).parents[2]

TINY = {"width": 1 / 32, "fc_channels": 8, "side_channels": 4}
SMALL = {**TINY, "padding": "same", "dropout": 0.0}
IMAGES = jax.ShapeDtypeStruct((2, 33, 40, 3), "uint8")

# Networks that differ in what they are made of, not only in how much of it.
FAMILIES = [
    "vgg16_fcn16s",
    "alexnet_fcn32s",
    "vgg16_deeplab_largefov",
    "mobilenetv2_fcn8s",
    "resnet18_fcn32s",
    "resnet50_deeplab_largefov",
]


def _defaults(name):
    """All options of a network."""
    return {
        key: option.default
        for taker in find_takers(name)
        for key, option in inspect.signature(taker).parameters.items()
    }


def _make(name, given, **options):
    """Makes a network with those of the given options that it knows."""
    known = _defaults(name)
    given = {key: value for key, value in given.items() if key in known}
    return get_model(name, num_classes=3, **{**given, **options})


def _tiny(name, **options):
    return _make(name, TINY, **options)


def _small(name, **options):
    """A network whose features are several pixels large for an image of 33x40."""
    return _make(name, SMALL, **options)


@cache  # A module is its attributes.
@cache
def _init(model, images=IMAGES):
    """Gives the shapes of (logits, variables)."""
    return jax.eval_shape(
        lambda images: model.init_with_output(jax.random.key(0), images, train=False), images
    )


def _images(rng, *, number=2):
    return jnp.asarray(rng.integers(0, 256, (number, *IMAGES.shape[1:])), jnp.uint8)


def _of_one_depth():
    """The first network of those that differ in the depth of their backbone alone."""
    first = {}
    for name, network in MODELS.items():
        parts = [partial(part) for part in network]
        key = parts[0].func, *((part.func, repr(part.keywords)) for part in parts[1:])
        first.setdefault(key, name)
    return list(first.values())


@pytest.mark.parametrize(
    ("name", "norm"),
    [*((name, "batch") for name in _of_one_depth()), *((name, "none") for name in FAMILIES)],
)
def test_every_kind_of_network_initialises(name, norm):
    logits, variables = _init(_tiny(name, norm=norm))
    assert (logits.shape, logits.dtype) == ((2, 33, 40, 3), jnp.float32)
    assert set(variables) == ({"params"} if norm == "none" else {"params", "batch_stats"})
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}


@pytest.mark.parametrize("name", FAMILIES)
def test_batch_and_frozen_norm_have_the_same_variables(name):
    assert _init(_tiny(name, norm="batch"))[1] == _init(_tiny(name, norm="frozen"))[1]


@pytest.mark.parametrize("name", FAMILIES)
def test_no_parameter_depends_on_the_size_of_the_image(name):
    large = jax.ShapeDtypeStruct((1, 90, 64, 3), "float32")
    model = _tiny(name, norm="batch")
    assert _init(model, large)[1] == _init(model)[1]


@pytest.mark.parametrize("name", FAMILIES)
def test_logits_have_the_size_of_the_image_at_any_size(name):
    for height, width in [(1, 70), (32, 33), (101, 31)]:
        logits, _ = _init(_small(name), jax.ShapeDtypeStruct((1, height, width, 3), "float32"))
        assert logits.shape == (1, height, width, 3)


# --- backbones, heads and their options -------------------------------------------------------


SKIPPING = partial(FCN, skips=(16, 8, 4))


@pytest.mark.parametrize(
    "network",
    [
        Network(VGG16, SKIPPING, VGG16_FCN),
        Network(VGG16, SKIPPING, plain_fcn),
        Network(VGG16, DeepLab, vgg16_deeplab),
        Network(AlexNet, FCN8S, ALEXNET_FCN),
        Network(AlexNet, FCN8S, plain_fcn),
        *(
            Network(backbone, head, join)
            for backbone in (
                EfficientNetLite,
                MobileNetV2,
                partial(ResNet, depth=18),
                partial(ResNet, depth=50),
            )
            for head, join in (
                (SKIPPING, plain_fcn),
                (DeepLab, atrous_deeplab),
                (DeepLab, ASPP),
                (DeepLabV3, deeplab_v3),
                (DEEPLAB_V3PLUS, deeplab_v3),
            )
        ),
        *(
            Network(
                partial(AlexNet, pad=5, pool_pad=1), DeepLab, partial(join, output_stride=stride)
            )
            for join, stride in ((atrous_deeplab, 4), (atrous_deeplab, 8), (ASPP, 16))
        ),
    ],
)
def test_every_head_stands_on_every_backbone(network):
    model = build(network, num_classes=3, width=1 / 32)
    images = jax.ShapeDtypeStruct((1, 65, 58, 3), "uint8")
    assert _init(model, images)[0].shape == (1, 65, 58, 3)


def test_alexnet_computes_the_same_at_every_output_stride(rng, draw_variables):
    """The finer map, sampled at the old stride, is the old map."""
    images = jnp.asarray(rng.integers(0, 256, (1, 97, 129, 3)), jnp.uint8)
    options = {"width": 1 / 8, "pad": 5, "pool_pad": 1}
    variables = draw_variables(AlexNet(**options))

    def run(stride):
        model = AlexNet(output_stride=stride, **options)
        apply = jax.jit(lambda *inputs: model.apply(*inputs, train=False)["pool5"].maps)
        return apply(variables, images)

    coarse, fine = run(32), run(4)
    np.testing.assert_allclose(fine[:, ::8, ::8], coarse, rtol=1e-4, atol=1e-4 * coarse.max())


@pytest.mark.parametrize("name", MODELS)
def test_every_option_has_one_taker_that_explains_it(name):
    seen = []
    for taker in find_takers(name):
        options = inspect.signature(taker).parameters
        assert all(option.kind is option.KEYWORD_ONLY for option in options.values())
        seen += options
        explained = []
        for documented in getattr(taker.func, "__mro__", [taker.func]):  # what it inherits too
            text = inspect.cleandoc(documented.__doc__ or "").replace("Attributes:", "Args:")
            entries = text.partition("\nArgs:\n")[2]
            explained += re.findall(r"^    (\w+): [A-Z`]", entries, re.MULTILINE)
        assert set(options) <= set(explained)
    assert len(seen) == len(set(seen)) and {"width", "norm", "preprocess", "dtype"} <= set(seen)
    assert not {"name", "parent", "num_classes", "axis_name"} & set(seen)


@pytest.mark.parametrize("name", MODELS)
def test_saying_the_defaults_changes_nothing(name):
    said = get_model(name, num_classes=3, **_defaults(name))
    assert said == get_model(name, num_classes=3)


@pytest.mark.parametrize("path", sorted(ROOT.glob("docs/results/*/config.json")), ids=str)
def test_networks_of_filed_runs_can_still_be_made(path):
    section = json.loads(path.read_text())["model"]
    section = {key: tuple(v) if isinstance(v, list) else v for key, v in section.items()}
    assert set(section) - {"name"} <= set(_defaults(section["name"]))
    get_model(num_classes=3, **section)


def test_skips_are_names_or_strides():
    named = _tiny("vgg16_fcn8s", skips=("pool4", "pool3"))
    assert _init(named) == _init(_tiny("vgg16_fcn8s"))
    assert "score_pool3" in _init(named)[1]["params"]


@pytest.mark.parametrize(
    ("name", "given", "options"),
    [
        ("mobilenetv2_fcn8s", {"first_expand": True, "strides": (1, 2, 2, 1, 2, 2, 1)}, None),
        ("mobilenetv2_deeplab_largefov", {"activation": "relu"}, None),
        (
            "resnet50_fcn8s",
            {"stride_in_1x1": True, "multi_grid": (1, 2, 4)},
            {"stride_in_1x1": True},
        ),
        ("vgg16_fcn8s", {}, {}),
    ],
)
def test_options_that_weights_depend_on_are_known(name, given, options):
    found = get_weight_options(get_model(name, num_classes=2, **given))
    defaults = {key: _defaults(name)[key] for key in found}
    assert found == (defaults | given if options is None else options)


# --- where the logits look --------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["resnet18_fcn32s", "resnet18_fcn8s", "mobilenetv2_fcn4s", "mobilenetv2_deeplab_largefov"],
)
def test_output_depends_on_exactly_its_receptive_field(see_pixels, name):
    """Along the height; VGG16's tests see that no width is taken for a height."""
    size = 840
    bright = np.arange(0, size, 23)  # prime: every phase of every stride occurs
    model = _make(name, {"fc_channels": 1}, width=1 / 64, norm="none")
    support, paths = see_pixels(model, size, 3, [(i, 1) for i in bright])
    fields = [[receptive_field(path, index) for path in paths] for index in range(size)]
    expected = [
        [any(first <= pixel <= last for first, last in field) for field in fields]
        for pixel in bright
    ]
    assert any(first > 0 and last < size - 1 for field in fields for first, last in field[:1])
    np.testing.assert_array_equal(support[:, :, 1], expected)


@pytest.mark.parametrize("name", ["mobilenetv2_deeplab_largefov", "resnet18_deeplab_largefov"])
def test_fc6_sees_as_far_at_every_output_stride(name):
    for stride in (32, 16, 8, 4):
        rows = layer_table(_tiny(name, output_stride=stride), height=65, width=65)
        (fc6,) = (row for row in rows if row.name == "fc6")
        assert (fc6.stride, fc6.layer.rate * fc6.stride) == (stride, 96)


# --- normalisation ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["vgg16_fcn16s", "resnet18_deeplab_largefov"])
def test_only_batch_norm_in_training_changes_the_statistics(rng, draw_variables, name):
    images = _images(rng)
    variables = draw_variables(_small(name, norm="batch"))

    def run(norm, *, train):
        model = _small(name, norm=norm)
        apply = jax.jit(
            lambda images: model.apply(variables, images, train=train, mutable=["batch_stats"])
        )
        logits, updates = apply(images)
        same = jax.tree.map(np.array_equal, updates["batch_stats"], variables["batch_stats"])
        return np.asarray(logits), jax.tree.leaves(same)

    frozen, frozen_same = run("frozen", train=True)
    stored, stored_same = run("batch", train=False)
    batch, batch_same = run("batch", train=True)
    assert all(frozen_same) and all(stored_same) and not any(batch_same)
    np.testing.assert_array_equal(frozen, stored)
    assert not np.allclose(batch, stored)


@pytest.mark.parametrize("name", MODELS)
def test_benchmarks_freeze_the_norm_where_a_network_comes_with_one(name):
    norm = make_model(name, num_classes=2, dtype="float32").backbone.norm
    # As released: VGG16 and AlexNet are older than batch norm.
    expected = None if name.startswith(("vgg16", "alexnet")) else NormSpec(frozen=True)
    assert norm == expected


def test_two_devices_normalise_as_one_does_the_whole_batch(rng, draw_variables):
    name, images = "resnet18_fcn8s", _images(rng, number=4)
    variables = draw_variables(_small(name, norm="batch"))

    def run(axis_name):
        model = _small(name, norm="batch", axis_name=axis_name)
        return lambda images: model.apply(variables, images, train=True, mutable=["batch_stats"])

    logits, updates = jax.jit(run(None))(images)
    halves = images.reshape(2, 2, *images.shape[1:])
    two = jax.jit(jax.vmap(run("devices"), axis_name="devices"))(halves)
    # The same sums in another order, and 20 random layers that make the difference larger.
    scale = np.abs(logits).max()
    np.testing.assert_allclose(two[0].reshape(logits.shape), logits, atol=1e-4 * scale, rtol=0)
    for one, both in zip(*map(jax.tree.leaves, (updates, two[1])), strict=True):
        np.testing.assert_array_equal(both[0], both[1])
        np.testing.assert_allclose(both[0], one, rtol=1e-4, atol=1e-4 * np.abs(one).max())


@pytest.mark.parametrize(
    "name", ["mobilenetv2_fcn8s", "mobilenetv2_deeplab_largefov", "resnet18_deeplab_largefov"]
)
def test_heads_on_backbones_without_a_classifier_have_no_norm(name):
    _, variables = _init(_tiny(name, norm="batch"))
    assert set(variables["batch_stats"]) == {"backbone"}
    head = {key: set(layer) for key, layer in variables["params"].items() if key != "backbone"}
    assert head and all(leaves == {"kernel", "bias"} for leaves in head.values())


@pytest.mark.parametrize(
    ("name", "norm", "head_norm", "expected"),
    [
        ("resnet18_deeplab_largefov", "frozen", "batch", NormSpec(axis_name="d")),
        ("resnet18_deeplab_largefov", "frozen", "same", NormSpec(frozen=True, axis_name="d")),
        ("vgg16_deeplab_largefov", "batch", "none", None),
        ("vgg16_fcn8s", "none", "batch", NormSpec(axis_name="d")),
        ("vgg16_fcn8s", "batch", "same", NormSpec(axis_name="d")),
    ],
)
def test_a_head_has_a_norm_of_its_own(name, norm, head_norm, expected):
    model = _tiny(name, norm=norm, head_norm=head_norm, axis_name="d")
    assert model.norm == expected
    _, variables = _init(model)
    assert ("norm" in variables["params"]["fc6"]) == (expected is not None)
    assert ("backbone" in variables.get("batch_stats", {})) == (norm != "none")


def test_dropout_acts_in_training_alone(rng, draw_variables):
    images = _images(rng)
    model = _small("vgg16_deeplab_largefov", dropout=0.5)
    variables = draw_variables(model)
    run = jax.jit(
        lambda key, train: model.apply(variables, images, train=train, rngs={"dropout": key}),
        static_argnums=1,
    )
    first, second = (jax.random.key(seed) for seed in (0, 1))
    np.testing.assert_array_equal(run(first, False), run(second, False))
    assert not np.array_equal(run(first, True), run(second, True))


# --- precision --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["vgg16_fcn8s", "vgg16_deeplab_largefov", "resnet18_fcn8s"])
def test_bfloat16_computes_in_bfloat16_and_gives_float32_logits(rng, draw_variables, name):
    images = _images(rng)
    variables = draw_variables(_small(name))
    logits = {}
    for dtype in ("float32", "bfloat16"):
        model = _small(name, dtype=dtype)
        assert _init(model)[1] == _init(_small(name))[1]  # the parameters stay float32
        logits[dtype] = jax.jit(lambda model=model: model.apply(variables, images, train=False))()
        assert logits[dtype].dtype == jnp.float32
    difference = np.abs(logits["bfloat16"] - logits["float32"]).max()
    # Eight bits of mantissa: visibly rounded, but no other network.
    assert 1e-4 < difference / np.abs(logits["float32"]).max() < 0.1


@pytest.mark.parametrize("name", FAMILIES)
def test_batch_norm_trains_in_bfloat16_on_float32_statistics(name):
    model = _small(name, norm="batch", dtype="bfloat16")
    images, variables = IMAGES, _init(model)[1]
    assert variables == _init(_small(name, norm="batch"))[1]
    _, updates = jax.eval_shape(
        lambda images, variables: model.apply(
            variables, images, train=True, mutable=["batch_stats"]
        ),
        images,
        variables,
    )
    assert {leaf.dtype for leaf in jax.tree.leaves(updates)} == {jnp.dtype("float32")}


# --- mistakes ---------------------------------------------------------------------------------


def test_get_model_rejects_an_unknown_name():
    with pytest.raises(ValueError, match="unknown model.name 'fcn8'; known: vgg16_fcn32s, "):
        get_model("fcn8", num_classes=2)


@pytest.mark.parametrize("name", MODELS)
def test_get_model_rejects_an_unknown_norm(name):
    expected = "unknown model.norm 'group'; known: none, batch, frozen"
    with pytest.raises(ValueError, match=expected):
        get_model(name, num_classes=2, norm="group")


@pytest.mark.parametrize(
    "name", ["vgg16_fcn8s", "vgg16_deeplab_largefov", "mobilenetv2_deeplab_largefov"]
)
def test_get_model_rejects_an_unknown_norm_of_the_head(name):
    expected = "unknown model.head_norm 'group'; known: same, none, batch, frozen"
    with pytest.raises(ValueError, match=expected):
        get_model(name, num_classes=2, head_norm="group")


def test_get_model_rejects_float16():
    with pytest.raises(ValueError, match="unknown model.dtype 'float16'; known: float32, bfloat16"):
        get_model("vgg16_fcn8s", num_classes=2, dtype="float16")


@pytest.mark.parametrize("dropout", [-0.5, 1.0, 1.5, float("nan")])
def test_get_model_rejects_a_dropout_that_is_no_fraction(dropout):
    with pytest.raises(ValueError, match=rf"model.dropout={dropout} must lie in \[0, 1\)"):
        get_model("vgg16_fcn8s", num_classes=2, dropout=dropout)


@pytest.mark.parametrize("size", ["fc6_kernel", "fc_channels", "side_channels"])
def test_get_model_rejects_layers_without_a_size(size):
    with pytest.raises(ValueError, match=f"model.{size}=0 must be at least 1"):
        get_model("vgg16_deeplab_msc", num_classes=2, **{size: 0})


@pytest.mark.parametrize("name", ["resnet18_fcn8s", "resnet18_deeplab_largefov"])
def test_resnets_reject_an_unknown_depth(name):
    with pytest.raises(ValueError, match="unknown depth=152 of a ResNet; known: 18, 34, 50, 101"):
        _init(_tiny(name, depth=152))


def test_get_model_rejects_an_unknown_padding():
    expected = "unknown model.padding 'valid'; known: caffe, same"
    with pytest.raises(ValueError, match=expected):
        get_model("vgg16_fcn8s", num_classes=2, padding="valid")


@pytest.mark.parametrize("name", ["mobilenetv2_deeplab_largefov", "resnet18_deeplab_largefov"])
def test_get_model_rejects_an_unknown_output_stride(name):
    expected = "unknown model.output_stride=0; known: 32, 16, 8, 4"
    with pytest.raises(ValueError, match=expected):
        get_model(name, num_classes=2, output_stride=0)


def test_get_model_rejects_an_unknown_option():
    with pytest.raises(TypeError, match="unexpected keyword argument 'widht'"):
        get_model("vgg16_fcn8s", num_classes=2, widht=0.25)


@pytest.mark.parametrize("name", MODELS)
def test_images_are_prepared_as_the_weights_expect(name):
    for preprocess, expected in (("caffe", CAFFE), ("torchvision", TORCHVISION)):
        model = get_model(name, num_classes=2, preprocess=preprocess)
        assert model.backbone.preprocess == expected
    with pytest.raises(ValueError, match="unknown model.preprocess 'keras'; known: caffe, torch"):
        get_model(name, num_classes=2, preprocess="keras")


# --- less memory ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "stages"),
    [
        ("vgg16_fcn16s", 5),
        ("alexnet_fcn32s", 3),
        ("mobilenetv2_fcn8s", 17),
        ("resnet18_fcn32s", 8),
    ],
)
def test_every_stage_can_be_computed_again(name, stages):
    def trace(model):
        variables = _init(model)[1]
        run = jax.make_jaxpr(lambda v, images: model.apply(v, images, train=False))
        return run(variables, IMAGES)

    def count(jaxpr):
        return sum(step.primitive.name in ("remat2", "checkpoint") for step in jaxpr.eqns)

    again, kept = _small(name, remat=True), _small(name)
    assert (count(trace(again)), count(trace(kept))) == (stages, 0)
    assert _init(again) == _init(kept)
    sizes = {"height": 65, "width": 97, "train": True}
    assert layer_table(again, **sizes) == layer_table(kept, **sizes)


@pytest.fixture(scope="module")
def steps():
    """Compiled gradients of a network that keeps its maps, and of one that computes them again.

    Gives {remat: gradients(params, batch_stats, images, signs)}, and a network to draw for.
    """
    images = jax.ShapeDtypeStruct((2, 129, 129, 3), "uint8")
    signs = jax.ShapeDtypeStruct(images.shape, "float32")  # of as many classes as colours

    def compile_step(model):
        def objective(params, batch_stats, images, signs):
            variables = {"params": params, "batch_stats": batch_stats}
            logits, updates = model.apply(variables, images, train=True, mutable=["batch_stats"])
            return (logits * signs).sum(), updates

        variables = _init(model)[1]
        step = jax.jit(jax.grad(objective, has_aux=True))
        return step.lower(variables["params"], variables["batch_stats"], images, signs).compile()

    models = {
        remat: _small("vgg16_fcn32s", width=1 / 8, norm="batch", remat=remat)
        for remat in (False, True)
    }
    return {remat: compile_step(model) for remat, model in models.items()}, models[False]


@pytest.mark.slow
def test_stages_that_are_computed_again_give_the_same_gradients(rng, draw_variables, steps):
    compiled, model = steps
    variables = draw_variables(model)
    images = rng.integers(0, 256, (2, 129, 129, 3), np.uint8)
    signs = rng.choice(np.array([-1, 1], np.float32), images.shape)
    expected, actual = (
        compiled[remat](variables["params"], variables["batch_stats"], images, signs)
        for remat in (False, True)
    )
    for ours, theirs in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        # Batch norm over few pixels makes more of float32's rounding.
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4 * np.abs(theirs).max())


@pytest.mark.slow
@pytest.mark.skipif(
    jax.__version_info__ < (0, 12) and jax.default_backend() == "cpu",
    reason="the XLA of jax 0.10 finds out on a CPU that maps are computed twice, and keeps them",
)
def test_stages_that_are_computed_again_take_less_memory(steps):
    memory = {remat: step.memory_analysis().temp_size_in_bytes for remat, step in steps[0].items()}
    assert memory[True] < 0.75 * memory[False]
