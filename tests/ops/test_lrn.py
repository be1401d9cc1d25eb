"""Local response normalisation against its definition, channel by channel."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fcn_jax.ops.lrn import local_response_norm
from tests import oracles

pytestmark = pytest.mark.usefixtures("compile_well")

# Strong enough that neighbours matter: AlexNet's own alpha would hide a mistake in float32.
STRONG = {"alpha": 0.5, "beta": 0.75, "k": 1.0}


def test_local_response_norm_is_unchanged():
    golden = oracles.load_golden("lrn")
    maps = jnp.asarray(golden["x_channels"], jnp.float32).reshape(1, 1, 1, -1)
    options = {"size": golden["local_size"]} | {
        name: golden[name] for name in ("alpha", "beta", "k")
    }
    actual = local_response_norm(maps, **options)
    np.testing.assert_allclose(actual.ravel(), golden["y"], rtol=1e-6)
    np.testing.assert_array_equal(actual, local_response_norm(maps))  # AlexNet's are the defaults


@pytest.mark.parametrize("size", [1, 3, 5, 9])
@pytest.mark.parametrize("channels", [1, 2, 7])
def test_local_response_norm_matches_channel_loop(rng, size, channels):
    maps = rng.normal(size=(2, 3, 4, channels), scale=3)
    actual = local_response_norm(jnp.asarray(maps, jnp.float32), size=size, **STRONG)
    expected = oracles.local_response_norm(maps, size=size, **STRONG)
    np.testing.assert_allclose(actual, expected, rtol=2e-6)


def test_gradient_of_local_response_norm_matches_differences(rng):
    maps, weights = rng.normal(size=(2, 1, 2, 3, 7), scale=2)
    step = 1e-5
    expected = np.zeros(maps.shape)
    for place in np.ndindex(maps.shape):
        moved = np.zeros(maps.shape)
        moved[place] = step
        up, down = (oracles.local_response_norm(maps + by, **STRONG) for by in (moved, -moved))
        expected[place] = ((up - down) * weights).sum() / (2 * step)
    _, pull_back = jax.vjp(
        lambda maps: local_response_norm(maps, **STRONG), jnp.asarray(maps, jnp.float32)
    )
    gradient = pull_back(jnp.asarray(weights, jnp.float32))[0]
    # Float32 against float64, whose differences are good to 1e-9.
    np.testing.assert_allclose(gradient, expected, atol=1e-5)


def test_local_response_norm_of_bfloat16_is_computed_in_float32(rng):
    maps = jnp.asarray(rng.normal(size=(1, 4, 4, 16), scale=200), jnp.bfloat16)
    actual = local_response_norm(maps)
    assert actual.dtype == jnp.bfloat16
    wide = local_response_norm(maps.astype(jnp.float32))
    np.testing.assert_array_equal(actual, wide.astype(jnp.bfloat16))


def test_local_response_norm_rejects_an_even_size():
    with pytest.raises(ValueError, match="size=4 must be odd"):
        local_response_norm(jnp.ones((1, 1, 1, 8)), size=4)
