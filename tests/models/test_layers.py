"""Layers against their definitions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fcn_jax.models.blob import Blob
from fcn_jax.models.layers import Conv, NormSpec
from fcn_jax.ops.conv.conv import conv
from fcn_jax.ops.geometry import Window


def test_a_layer_without_channels_is_refused():
    blob = Blob(jnp.zeros((1, 4, 4, 3)))
    with pytest.raises(ValueError, match="layer score has 0 channels: .*model.width"):
        Conv(0, Window(1), name="score").init(jax.random.key(0), blob, train=False)


@pytest.mark.parametrize(("frozen", "train"), [(True, True), (True, False), (False, False)])
def test_stored_statistics_normalise_by_their_formula_and_so_do_the_gradients(rng, frozen, train):
    layer, norm = Window(3, pad=1), NormSpec(frozen=frozen, epsilon=0.1)
    module = Conv(4, layer, norm=norm, activation=None)
    images = jnp.asarray(rng.normal(size=(2, 6, 5, 3)), jnp.float32)

    def draw(*shape):
        return jnp.asarray(rng.uniform(0.5, 1.5, shape), jnp.float32)

    params = {"kernel": draw(3, 3, 3, 4), "norm": {"scale": draw(4), "bias": draw(4)}}
    stats = {"norm": {"mean": draw(4), "var": draw(4)}}

    def ours(params, images):
        variables = {"params": params, "batch_stats": stats}
        return module.apply(variables, Blob(images), train=train).maps

    def by_formula(params, images):
        maps, stored = conv(images, params["kernel"], layer), stats["norm"]
        maps = (maps - stored["mean"]) / jnp.sqrt(stored["var"] + 0.1)
        return maps * params["norm"]["scale"] + params["norm"]["bias"]

    grad = jnp.asarray(rng.normal(size=(2, 6, 5, 4)), jnp.float32)
    results = []
    for form in (ours, by_formula):
        maps, pull_back = jax.vjp(form, params, images)
        results.append((maps, pull_back(grad)))
    for actual, expected in zip(*map(jax.tree.leaves, results), strict=True):
        np.testing.assert_allclose(actual, expected, atol=1e-4)  # sums of up to 240 products


def test_gradient_of_a_bias_in_bfloat16_is_the_sum_over_all_pixels():
    module = Conv(1, Window(1), activation=None)
    blob = Blob(jnp.ones((2, 64, 64, 1), jnp.bfloat16))

    @jax.jit
    @jax.grad
    def bias_grad(bias):
        params = {"kernel": jnp.ones((1, 1, 1, 1)), "bias": bias}
        maps = module.apply({"params": params}, blob, train=True).maps
        assert maps.dtype == jnp.bfloat16
        return maps.astype(jnp.float32).sum()

    # Each pixel adds one; in bfloat16, 256 + 1 is 256.
    np.testing.assert_array_equal(bias_grad(jnp.zeros(1)), [2 * 64 * 64])
