"""Depthwise convolution, a kernel for each channel, as shifted and weighted slices of the maps.

Values are added up in float32 at least.
"""

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from fcn_jax.ops.geometry import Window, output_size


def convolve(
    maps: Float[Array, "b h w c"], kernel: Float[Array, "k k 1 c"], layer: Window
) -> Float[Array, "b H W c"]:
    """Sums, over the taps of the kernel, the pixels that a tap meets times its weight."""
    wide = jnp.promote_types(maps.dtype, jnp.float32)
    padded, weights = _pad(maps, layer).astype(wide), kernel[:, :, 0].astype(wide)
    starts = range(0, layer.extent, layer.rate)
    rows, columns = (
        [slice(start, start + (count - 1) * layer.stride + 1, layer.stride) for start in starts]
        for count in (output_size(layer, size) for size in maps.shape[1:3])
    )
    taps = np.ndindex(layer.kernel, layer.kernel)
    return sum(padded[:, rows[i], columns[j]] * weights[i, j] for i, j in taps).astype(maps.dtype)


def kernel_grad(
    maps: Float[Array, "b h w c"], grad: Float[Array, "b H W c"], layer: Window
) -> Float[Array, "k k 1 c"]:
    """Sums, for every tap, the pixels that it meets times the gradients there.

    Row by row: what XLA makes of a sum over all pixels walks through memory once for each channel,
    and takes seven to ten times longer.
    """
    batch, height, width, channels = grad.shape
    wide = jnp.promote_types(maps.dtype, jnp.float32)
    padded = _pad(maps, layer)
    starts = range(0, layer.extent, layer.rate)
    span = (width - 1) * layer.stride + 1

    def add_row(index, sums):
        image, row = index // height, index % height
        grads = grad[image, row].astype(wide)
        met_rows = [padded[image, row * layer.stride + start].astype(wide) for start in starts]
        met = [
            pixels[start : start + span : layer.stride] for pixels in met_rows for start in starts
        ]
        return [total + pixels * grads for total, pixels in zip(sums, met, strict=True)]

    zeros = [jnp.zeros((width, channels), wide)] * layer.kernel**2
    sums = lax.fori_loop(0, batch * height, add_row, zeros)
    sums = jnp.stack([total.sum(0) for total in sums]).astype(maps.dtype)
    return sums.reshape(layer.kernel, layer.kernel, 1, channels)


def _pad(maps: Array, layer: Window) -> Array:
    return jnp.pad(maps, [(0, 0), layer.padding, layer.padding, (0, 0)])
