"""Which form a convolution takes where.

What most of these tests pin is speed: the forms give the same numbers, and the counts of operations
in the lowered text say which was taken. docs/benchmarks.md has the times that the choice rests on.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export, lax

from fcn_jax.ops.conv.conv import conv, use_conv
from fcn_jax.ops.geometry import Window, output_size


def _integers(rng, *shape):
    """Sums of their products are exact in any order."""
    return jnp.asarray(rng.integers(-4, 5, shape), jnp.float32)


def test_conv_without_groups_or_much_padding_is_one_operation():
    run = jax.jit(lambda maps, taps: conv(maps, taps, Window(3, 2, pad=1, rate=2)))
    text = run.lower(jnp.zeros((1, 49, 48, 3)), jnp.zeros((3, 3, 3, 4))).as_text()
    assert text.count("stablehlo.convolution") == 1
    assert "stablehlo.case" not in text


# Shapes that are matrix products on a CPU, and on a CPU alone.
PRODUCTS = [
    # layer, size, channels, features; products of the convolution itself and of both gradients
    pytest.param(Window(3, pad=1), (20, 21), 128, 256, 3, 5, id="winograd"),
    pytest.param(Window(3, pad=2, rate=2), (20, 21), 128, 256, 3, 5, id="winograd-atrous"),
    pytest.param(Window(3, pad=1), (20, 21), 64, 64, 0, 2, id="winograd-kernel-grad"),
    pytest.param(Window(3), (6, 7), 64, 80, 1, 2, id="patches"),
    pytest.param(Window(3, pad=5, rate=5), (6, 7), 3, 5, 9, 18, id="taps"),
    pytest.param(Window(3, stride=2, pad=1), (201, 241), 2, 128, 0, 9, id="taps-kernel-grad"),
]


@pytest.mark.parametrize(("layer", "size", "channels", "features", "forward", "both"), PRODUCTS)
def test_matrix_products_give_what_the_operation_gives(
    rng, layer, size, channels, features, forward, both
):
    maps, taps = _integers(rng, 2, *size, channels), _integers(rng, 3, 3, channels, features)
    grad = _integers(rng, 2, *(output_size(layer, side) for side in size), features)

    def ours(maps, taps):
        return conv(maps, taps, layer)

    def by_xla(maps, taps):
        return lax.conv_general_dilated(
            maps, taps, (layer.stride,) * 2, [(layer.pad,) * 2] * 2,
            rhs_dilation=(layer.rate,) * 2, dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )  # fmt: skip

    def pull_back(maps, taps, grad, form=ours):
        return jax.vjp(form, maps, taps)[1](grad)

    traced = jax.jit(ours).trace(maps, taps), jax.jit(pull_back).trace(maps, taps, grad)
    for platform, products in (("cpu", (forward, both)), ("cuda", (0, 0)), ("tpu", (0, 0))):
        counts = [
            of.lower(lowering_platforms=(platform,)).as_text().count("stablehlo.dot_general")
            for of in traced
        ]
        assert tuple(counts) == products, platform
    actual = jax.jit(ours)(maps, taps), *jax.jit(pull_back)(maps, taps, grad)
    expected = by_xla(maps, taps), *pull_back(maps, taps, grad, by_xla)
    for ours, theirs in zip(actual, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(("groups", "features"), [(8, 8), (2, 6)])
def test_accelerators_keep_the_operation_that_they_have_kernels_for(groups, features):
    maps, taps = jnp.zeros((1, 9, 9, 8)), jnp.zeros((3, 3, 8 // groups, features))
    traced = jax.jit(lambda maps, taps: conv(maps, taps, Window(3), groups=groups)).trace(
        maps, taps
    )
    said = f"feature_group_count = {groups}"
    for platform in ("cuda", "tpu"):
        assert said in traced.lower(lowering_platforms=(platform,)).as_text(), platform
    assert said not in traced.lower(lowering_platforms=("cpu",)).as_text()


@pytest.mark.parametrize(("stride", "pad", "products"), [(1, 0, 1), (2, 0, 0), (1, 1, 0)])
def test_a_1x1_convolution_of_every_pixel_is_one_matrix_product_everywhere(stride, pad, products):
    layer = Window(1, stride, pad)
    traced = jax.jit(lambda maps, kernel: conv(maps, kernel, layer)).trace(
        jnp.zeros((1, 9, 9, 8)), jnp.zeros((1, 1, 8, 4))
    )
    for platform in ("cpu", "cuda", "tpu"):
        text = traced.lower(lowering_platforms=(platform,)).as_text()
        assert text.count("stablehlo.dot_general") == products, platform
        assert text.count("stablehlo.convolution") == 1 - products, platform


# --- how it is chosen ------------------------------------------------------------------------


def test_the_environment_turns_all_of_it_off(monkeypatch):
    maps = jnp.zeros((1, 20, 20, 128))
    layers = [
        (Window(1), jnp.zeros((1, 1, 128, 4)), 1),
        (Window(3, pad=1), jnp.zeros((3, 3, 128, 256)), 1),
        (Window(3, pad=1), jnp.zeros((3, 3, 1, 128)), 128),
    ]
    for choice, convolutions in (("plain", 3), ("fast", 0)):
        monkeypatch.setenv("FCN_JAX_CONV", choice)
        traced = jax.jit(
            lambda maps: [conv(maps, taps, layer, groups=groups) for layer, taps, groups in layers]
        ).trace(maps)
        text = traced.lower(lowering_platforms=("cpu",)).as_text()
        assert text.count("stablehlo.convolution") == convolutions
    monkeypatch.setenv("FCN_JAX_CONV", "quick")
    with pytest.raises(ValueError, match="FCN_JAX_CONV=quick; known: fast, plain"):
        conv(maps, *layers[1][1::-1])


def test_use_conv_goes_before_the_environment_and_ends_with_its_block(monkeypatch):
    maps, kernel = jnp.zeros((1, 9, 9, 4)), jnp.zeros((1, 1, 4, 2))

    def products():  # a new function each time: jit keeps what it has traced
        run = jax.jit(lambda maps: conv(maps, kernel, Window(1)))
        return run.lower(maps).as_text().count("stablehlo.dot_general")

    monkeypatch.setenv("FCN_JAX_CONV", "fast")
    with use_conv("plain"):
        assert products() == 0
        with use_conv("fast"):
            assert products() == 1
        assert products() == 0
    assert products() == 1
    with pytest.raises(ValueError, match="way=quick of convolution; known"), use_conv("quick"):
        pass


LAYERS = [(Window(3, pad=1), 1), (Window(3, stride=2, pad=1), 8), (Window(3, pad=9, rate=9), 2)]


@pytest.mark.parametrize(("layer", "groups"), LAYERS, ids=str)
def test_only_on_a_cpu_are_the_gradients_written_out(monkeypatch, layer, groups):
    """Elsewhere nothing stands in the way of forward mode, whatever the setting."""
    maps, kernel = jnp.ones((1, 9, 9, 8)), jnp.ones((3, 3, 8 // groups, 8))

    def slope():
        def run(maps):
            return conv(maps, kernel, layer, groups=groups)

        # JAX says so when it lowers, not when it traces.
        jax.jit(lambda maps: jax.jvp(run, (maps,), (maps,))).lower(maps)

    with pytest.raises(TypeError, match="custom_vjp"):
        slope()
    with use_conv("plain"):
        slope()
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    slope()


@pytest.mark.parametrize(("layer", "groups"), [*LAYERS, (Window(1), 1)], ids=str)
def test_symbolic_sizes_take_the_plain_operation_or_a_matrix_product(layer, groups):
    sizes = export.symbolic_shape("b, h, w")
    maps = jax.ShapeDtypeStruct((*sizes, 8), "float32")
    kernel = jnp.ones((layer.kernel, layer.kernel, 8 // groups, 8))
    program = jax.make_jaxpr(lambda maps: conv(maps, kernel, layer, groups=groups))(maps)
    names = [operation.primitive.name for operation in program.jaxpr.eqns]
    assert names[-1:] == ["dot_general" if layer == Window(1) else "conv_general_dilated"]
    assert not any("custom_vjp" in name for name in names)
