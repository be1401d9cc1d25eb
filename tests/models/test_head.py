"""A head that looks at an image in several sizes: its scores, variables, losses and geometry."""

from fractions import Fraction
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

from fcn_jax.errors import UserError
from fcn_jax.models.head import AUXILIARY
from fcn_jax.models.layer_table import layer_table, output_stride
from fcn_jax.models.padded import apply_padded
from fcn_jax.models.zoo import build, get_model
from tests import oracles
from tests.conftest import shapes_of
from tests.tiny_network import TINY, TINY_V3, TINY_WITH_AUX

SCALES = (0.75, 0.5)


def make(network=TINY, **options):
    return build(network, num_classes=3, axis_name=None, norm="none", **options)


def test_a_pixel_has_the_largest_scores_of_all_sizes(rng, draw_variables):
    once, model = make(), make(input_scales=SCALES)
    variables = draw_variables(once)
    images = jnp.asarray(rng.integers(0, 256, (2, 33, 49, 3)), "float32")
    look = jax.jit(lambda images: once.apply(variables, images, train=False))
    seen = [look(images)]
    for height, width in ((25, 37), (17, 25)):
        small = jnp.asarray(oracles.align_corners_resize(images, height, width), "float32")
        seen.append(oracles.align_corners_resize(look(small), 33, 49))
    assert {np.argmax(each) for each in np.moveaxis(seen, 0, -1).reshape(-1, 3)} == {0, 1, 2}
    actual = jax.jit(lambda images: model.apply(variables, images, train=False))(images)
    np.testing.assert_allclose(actual, np.max(seen, axis=0), atol=1e-4)


def test_its_variables_are_those_of_the_network_that_looks_once():
    assert shapes_of(make(input_scales=SCALES)) == shapes_of(make())
    images = jnp.zeros((1, 33, 33, 3))
    ours, theirs = (
        jax.jit(partial(model.init, train=False))(jax.random.key(0), images)
        for model in (make(input_scales=SCALES), make())
    )
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


def test_training_scores_each_size_beside_the_largest(rng, draw_variables):
    model = make(input_scales=SCALES, dropout=0.0)
    variables = draw_variables(model)
    images = jnp.asarray(rng.integers(0, 256, (1, 33, 33, 3)), "uint8")
    run = jax.jit(lambda images: model.apply(variables, images, train=True, mutable=[AUXILIARY]))
    logits, extra = run(images)
    asides = {name: aside for name, [aside] in extra[AUXILIARY].items()}
    assert set(asides) == {"scale_0.75", "scale_0.5", "scale_1"}
    assert all(aside.weight == 1 for aside in asides.values())
    np.testing.assert_array_equal(
        logits, np.max([aside.logits for aside in asides.values()], axis=0)
    )
    looks_once = make(dropout=0.0)
    once = jax.jit(lambda images: looks_once.apply(variables, images, train=True))(images)
    np.testing.assert_allclose(asides["scale_1"].logits, once, rtol=1e-6)


def test_padding_does_not_reach_the_mean_of_any_size(rng, draw_variables):
    model = make(TINY_V3, input_scales=(0.5,))
    variables = draw_variables(model)
    image = rng.integers(0, 256, (1, 21, 29, 3)).astype(np.uint8)
    padded = np.pad(image, [(0, 0), (0, 11), (0, 5), (0, 0)], constant_values=255)
    run = jax.jit(lambda images, sizes: apply_padded(model, variables, images, sizes))
    expected, actual = (run(images, np.array([[21, 29]])) for images in (image, padded))
    # Both sides are odd: the half has its last pixels on the last of the image.
    np.testing.assert_allclose(actual[:, :21, :29], expected, atol=1e-5 * np.abs(expected).max())


def test_the_table_has_the_layers_of_every_size_and_the_parameters_once():
    once, rows = (
        layer_table(model, height=33, width=49) for model in (make(), make(input_scales=SCALES))
    )
    assert rows[-len(once) :] == once
    names = {row.name for row in once}
    small = {row.name: row for row in rows[: -len(once)]}
    assert set(small) == {f"{name} x{scale}" for name in names for scale in SCALES}
    assert sum(row.params for row in rows) == sum(row.params for row in once)
    conv2 = small["conv2 x0.75"]
    assert (conv2.height, conv2.width) == (7, 10)  # of 25 x 37 pixels at a stride of 4
    assert conv2.stride == Fraction(16, 3) and conv2.params == 0
    assert output_stride(rows) == 8


def test_any_size_of_image_in_one_program(rng, draw_variables):
    model = make(input_scales=SCALES)
    variables = draw_variables(model)
    batch, height, width = export.symbolic_shape("b, h, w")
    shape = jax.ShapeDtypeStruct((batch, height, width, 3), "uint8")
    run = jax.jit(lambda images: model.apply(variables, images, train=False))
    program = export.export(run)(shape)
    for size in ((20, 31), (33, 33)):
        images = jnp.asarray(rng.integers(0, 256, (1, *size, 3)), "uint8")
        np.testing.assert_allclose(program.call(images), run(images), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("scales", [(0.0,), (-1.0,), (1.0,), (0.5, 0.5), (8.0,)])
def test_scales_that_cannot_be(scales):
    with pytest.raises(UserError, match="must be different scales above 0"):
        shapes_of(make(input_scales=scales))


@pytest.mark.parametrize(
    ("option", "make_other"),
    [
        ("aux", lambda: make(TINY_WITH_AUX, input_scales=SCALES)),
        (
            "label_shrink",
            lambda: get_model(
                "vgg16_deeplab_7x7",
                num_classes=3,
                width=1 / 64,
                label_shrink=True,
                input_scales=SCALES,
            ),
        ),
    ],
)
def test_several_sizes_exclude_options_that_score_other_pixels(option, make_other):
    with pytest.raises(UserError, match=f"cannot be together with model.{option}"):
        shapes_of(make_other())
