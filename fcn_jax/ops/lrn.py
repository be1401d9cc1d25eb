"""Local response normalisation across channels, as in AlexNet.

Source: Krizhevsky et al. 2012, Sec. 3.3; BVLC/caffe lrn_layer (alpha is divided by the size).
"""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from fcn_jax.errors import UserError


def local_response_norm(
    maps: Float[Array, "b h w c"],
    *,
    size: int = 5,
    alpha: float = 1e-4,
    beta: float = 0.75,
    k: float = 1.0,
) -> Float[Array, "b h w c"]:
    """Divides by (k + alpha / size * the sum of squares of the `size` channels around) ** beta.

    Args:
        size: odd, so that as many channels count on either side; beyond the ends they are zeros.
    """
    if size % 2 == 0:
        raise UserError(f"size={size} must be odd, to be centred on a channel")
    wide = maps.astype(jnp.promote_types(maps.dtype, jnp.float32))
    # Two choices that a CPU needs: the gradient of a reduction over windows is five times faster
    # than that of shifted slices, and exp of log three times faster than a power.
    reach = size // 2
    squares = lax.reduce_window(
        jnp.square(wide), 0.0, lax.add, (1, 1, 1, size), (1, 1, 1, 1), [(0, 0)] * 3 + [(reach,) * 2]
    )
    return (wide * jnp.exp(-beta * jnp.log(k + alpha / size * squares))).astype(maps.dtype)
