"""Images and maps at another scale: bilinear, by any factor, from the first pixel on.

Pixel i of a map at scale s is what lies at pixel i / s of the map. So where a pixel lands does not
depend on the size, and padding behind an image moves none of its pixels. Where (size - 1) * s is
whole, which it is at the sizes of the releases (321 and 513 at 0.75 and 0.5), this is the
align-corners resizing of Caffe's Interp layer.
"""

from fractions import Fraction

import jax.numpy as jnp
from jaxtyping import Array, Float

from fcn_jax.ops.geometry import Size


def scaled_size(size: Size, scale: Fraction) -> Size:
    """Computes how many pixels of a scaled map lie within `size` pixels along an axis."""
    return (size - 1) * scale.numerator // scale.denominator + 1


def rescale(maps: Float[Array, "b h w c"], scale: Fraction) -> Float[Array, "b H W c"]:
    """Scales maps by a factor."""
    height, width = (scaled_size(size, scale) for size in maps.shape[1:3])
    return rescale_onto(maps, scale, (height, width))


def rescale_onto(
    maps: Float[Array, "b h w c"], scale: Fraction, size: tuple[Size, Size]
) -> Float[Array, "b H W c"]:
    """Scales maps by a factor onto a size; beyond their last unit its value stays."""
    # Positions are multiples of 1 / numerator: exact in integers, whatever the size.
    numerator, denominator = scale.numerator, scale.denominator
    for axis, length in enumerate(size, start=1):
        count = maps.shape[axis]
        positions = jnp.minimum(jnp.arange(length) * denominator, (count - 1) * numerator)
        distances = jnp.abs(positions[:, None] - jnp.arange(count) * numerator)
        matrix = (jnp.maximum(numerator - distances, 0) / numerator).astype(maps.dtype)
        equation = "oh,bhwc->bowc" if axis == 1 else "ow,bhwc->bhoc"
        maps = jnp.einsum(equation, matrix, maps, precision="highest")
    return maps
