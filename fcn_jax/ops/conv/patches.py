"""Convolution as one matrix product: all patches, written out, times the kernel as a matrix.

The gradients that a pixel gets from the taps that met it are added up in float32 at least.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fcn_jax.ops.geometry import Window, output_size


def convolve(
    maps: Float[Array, "b h w i"], kernel: Float[Array, "k k i o"], layer: Window
) -> Float[Array, "b H W o"]:
    """Cross-correlates `maps` with `kernel`."""
    wide = jnp.promote_types(maps.dtype, jnp.float32)
    padded = jnp.pad(maps, [(0, 0), layer.padding, layer.padding, (0, 0)]).astype(wide)
    size = [output_size(layer, side) for side in maps.shape[1:3]]

    def met(tap, count):
        start = tap * layer.rate
        return slice(start, start + (count - 1) * layer.stride + 1, layer.stride)

    patches = [
        padded[:, met(row, size[0]), met(column, size[1])].astype(maps.dtype)
        for row, column in np.ndindex(layer.kernel, layer.kernel)
    ]
    patches = jnp.stack(patches, axis=3).reshape(len(maps) * size[0] * size[1], -1)
    return (patches @ kernel.reshape(-1, kernel.shape[-1])).reshape(len(maps), *size, -1)
