"""Every network by its name: it initialises, normalises and computes as it is told to."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fcn_jax.models.zoo import MODELS, get_model

TINY = {"num_classes": 3, "width": 1 / 32, "fc_channels": 8}
IMAGES = jax.ShapeDtypeStruct((2, 33, 40, 3), "uint8")


def _init(model, images=IMAGES):
    """Gives the shapes of (logits, variables)."""
    return jax.eval_shape(
        lambda images: model.init_with_output(jax.random.key(0), images, train=False), images
    )


def _small(name, **options):
    """A network whose features are several pixels large for an image of 33x40."""
    padding = {"padding": "same"} if "fcn" in name else {}
    return get_model(name, **TINY, **padding, **options)


@pytest.mark.parametrize("norm", ["none", "batch", "frozen"])
@pytest.mark.parametrize("name", MODELS)
def test_every_model_initialises(name, norm):
    logits, variables = _init(get_model(name, **TINY, norm=norm))
    assert (logits.shape, logits.dtype) == ((2, 33, 40, 3), jnp.float32)
    assert set(variables) == ({"params"} if norm == "none" else {"params", "batch_stats"})
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}


@pytest.mark.parametrize("name", MODELS)
def test_no_parameter_depends_on_the_size_of_the_image(name):
    model = _small(name)
    _, small = _init(model)
    _, large = _init(model, jax.ShapeDtypeStruct((1, 90, 64, 3), "float32"))
    assert small == large


@pytest.mark.parametrize("name", MODELS)
def test_batch_and_frozen_norm_have_the_same_variables(name):
    assert _init(_small(name, norm="batch"))[1] == _init(_small(name, norm="frozen"))[1]


def test_only_batch_norm_in_training_changes_the_statistics(rng, draw_variables):
    name = "vgg16_fcn16s"
    images = jnp.asarray(rng.integers(0, 256, IMAGES.shape), jnp.uint8)
    variables = draw_variables(_small(name, norm="batch"))

    def run(norm, *, train):
        model = _small(name, norm=norm, dropout=0.0)
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


def test_dropout_acts_in_training_alone(rng, draw_variables):
    images = jnp.asarray(rng.integers(0, 256, IMAGES.shape), jnp.uint8)
    model = _small("vgg16_deeplab_largefov", dropout=0.5)
    variables = draw_variables(model)
    run = jax.jit(
        lambda key, train: model.apply(variables, images, train=train, rngs={"dropout": key}),
        static_argnums=1,
    )
    first, second = (jax.random.key(seed) for seed in (0, 1))
    np.testing.assert_array_equal(run(first, False), run(second, False))
    assert not np.array_equal(run(first, True), run(second, True))


@pytest.mark.parametrize("name", ["vgg16_fcn8s", "vgg16_deeplab_largefov"])
def test_bfloat16_computes_in_bfloat16_and_gives_float32_logits(rng, draw_variables, name):
    images = jnp.asarray(rng.integers(0, 256, IMAGES.shape), jnp.uint8)
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


def test_batch_norm_trains_in_bfloat16_on_float32_statistics(rng, draw_variables):
    model = _small("vgg16_fcn32s", norm="batch", dtype="bfloat16", dropout=0.0)
    assert _init(model)[1] == _init(_small("vgg16_fcn32s", norm="batch"))[1]
    variables = draw_variables(model)
    images = jnp.asarray(rng.integers(0, 256, IMAGES.shape), jnp.uint8)
    _, updates = jax.eval_shape(
        lambda images: model.apply(variables, images, train=True, mutable=["batch_stats"]), images
    )
    assert {leaf.dtype for leaf in jax.tree.leaves(updates)} == {jnp.dtype("float32")}


def test_get_model_rejects_an_unknown_name():
    with pytest.raises(ValueError, match="unknown model.name 'fcn8'; known: vgg16_fcn32s, "):
        get_model("fcn8", num_classes=2)


@pytest.mark.parametrize("name", MODELS)
def test_get_model_rejects_an_unknown_norm(name):
    expected = "unknown model.norm 'group'; known: none, batch, frozen"
    with pytest.raises(ValueError, match=expected):
        get_model(name, num_classes=2, norm="group")


def test_get_model_rejects_an_unknown_padding():
    expected = "unknown model.padding 'valid'; known: caffe, same"
    with pytest.raises(ValueError, match=expected):
        get_model("vgg16_fcn8s", num_classes=2, padding="valid")


def test_get_model_rejects_an_unknown_option():
    with pytest.raises(TypeError, match="unexpected keyword argument 'widht'"):
        get_model("vgg16_fcn8s", num_classes=2, widht=0.25)
