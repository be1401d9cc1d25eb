"""What JAX makes of a network: forward derivatives, and programs for other machines and sizes.

Every head of the zoo is here on every backbone, narrow, because what may fail is in how they are
joined.
"""

import importlib.util
import inspect
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

from fcn_jax.models.zoo import MODELS, find_takers, get_model
from fcn_jax.ops.conv.conv import use_conv
from fcn_jax.ops.losses import make_loss
from tests.conftest import shapes_of

NARROW = {"width": 1 / 64, "fc_channels": 4, "head_channels": 4, "side_channels": 2, "norm": "none"}
PLATFORMS = ("cpu", "cuda", "tpu")


def _make(name, **options):
    known = {key for taker in find_takers(name) for key in inspect.signature(taker).parameters}
    given = {key: value for key, value in NARROW.items() if key in known}
    return get_model(name, num_classes=3, **given, **options)


def _apply(model):
    return lambda variables, images: model.apply(variables, images, train=False)


def _images(rng, *shape):
    return jnp.asarray(rng.integers(0, 256, (*shape, 3)), jnp.uint8)


# One of each kind: compiling two sizes of every network, twice, would take two minutes.
COMPARED = (
    "vgg16_fcn8s_atonce",
    "alexnet_fcn32s",
    "vgg16_deeplab",
    "vgg16_deeplab_msc_largefov",
    "mobilenetv2_fcn8s",
    "resnet18_fcn32s",
    "resnet18_deeplab_largefov",
)


# The first network of every backbone and head.
JOINTS = {
    (partial(network.backbone).func, partial(network.head).func): name
    for name, network in reversed(MODELS.items())
}
JOINED = sorted({*JOINTS.values(), *COMPARED})


@pytest.mark.parametrize("name", JOINED)
def test_an_exported_program_takes_any_batch_height_and_width(rng, draw_variables, name):
    """No constraint on the three sizes is needed, and the setting is the default."""
    model = _make(name)
    network, variables = _apply(model), draw_variables(model)
    batch, height, width = export.symbolic_shape("b, h, w")
    images = jax.ShapeDtypeStruct((batch, height, width, 3), "uint8")
    program = export.export(jax.jit(network), platforms=PLATFORMS)(variables, images)
    if importlib.util.find_spec("flatbuffers"):
        program = export.deserialize(program.serialize())
    assert program.platforms == PLATFORMS
    # A program that is read back has names of its own for the sizes.
    assert program.out_avals[0].shape == (*program.in_avals[-1].shape[:3], 3)
    if name not in COMPARED:
        return
    sizes = [_images(rng, 2, 35, 50), _images(rng, 1, 48, 33)]
    with use_conv("plain"):
        expected = jax.jit(lambda variables, *sizes: [network(variables, of) for of in sizes])(
            variables, *sizes
        )
    actual = jax.jit(lambda variables, *sizes: [program.call(variables, of) for of in sizes])(
        variables, *sizes
    )
    for ours, theirs in zip(actual, expected, strict=True):
        # As far as sums in another order go.
        scale = np.abs(theirs).max()
        assert scale > 0
        np.testing.assert_allclose(ours, theirs, atol=1e-5 * scale)


def _make_numbers(rng, model):
    """Makes f(variables): a weighted sum of the logits of an image, and a loss of all terms."""
    images = _images(rng, 1, 33, 40)
    labels = jnp.asarray(rng.choice([0, 1, 2, 255], (1, 33, 40)), jnp.int32)
    weights = jnp.asarray(rng.normal(size=(1, 33, 40, 3)), jnp.float32)
    loss = make_loss(num_classes=3, ignore_label=255, ohem_fraction=0.5, dice_weight=1.0)

    def numbers(variables):
        logits = model.apply(variables, images, train=False)
        return jnp.sum(logits * weights), loss.total(*loss.sums(logits, labels))

    return numbers


@pytest.mark.parametrize("name", JOINED)
def test_logits_and_loss_can_be_differentiated_forward(rng, name):
    model = _make(name)
    numbers, variables = _make_numbers(rng, model), shapes_of(model)
    with use_conv("plain"):
        program, (values, slopes) = jax.make_jaxpr(
            lambda at, along: jax.jvp(numbers, (at,), (along,)), return_shape=True
        )(variables, variables)
    assert values == slopes
    # JAX traces what it cannot do, as an operation `custom_lin`, and says so when it lowers it.
    assert "custom_lin" not in str(program)


def test_forward_derivatives_are_those_of_the_gradient(rng, draw_variables):
    """Along a direction d, a number changes by the product of its gradient and d."""
    model = _make("alexnet_fcn32s", upsampling="learned")
    numbers, variables = _make_numbers(rng, model), draw_variables(model)
    directions = jax.tree.map(
        lambda leaf: jnp.asarray(rng.normal(size=leaf.shape), jnp.float32), variables
    )

    @jax.jit
    def run(variables, directions):
        _, slopes = jax.jvp(numbers, (variables,), (directions,))
        _, pull_back = jax.vjp(numbers, variables)
        grads = [pull_back(of)[0] for of in ((1.0, 0.0), (0.0, 1.0))]
        products = [jax.tree.map(jnp.vdot, grad, directions) for grad in grads]
        return slopes, [jnp.stack(jax.tree.leaves(product)) for product in products]

    with use_conv("plain"):
        slopes, products = run(variables, directions)
    for slope, product in zip(slopes, products, strict=True):
        scale = np.abs(product).sum()
        assert scale > 0
        np.testing.assert_allclose(slope, product.sum(), atol=1e-5 * scale)
