"""Pooling as Caffe does it: the number of windows rounds up, and padding never wins.

Written as shifted slices, one axis after the other, because the gradient that XLA derives for
`reduce_window` takes tens of times longer than the pooling on a CPU. Where several pixels of a
window hold the maximum, the first of them in reading order gets the gradient, as in Caffe.
"""

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from fcn_jax.ops.geometry import Window, is_symbolic, output_size


def _taps(maps: Array, layer: Window, axis: int, fill: float) -> list[Array]:
    """Cuts, for every tap of the window along `axis`, the pixels it meets, one for each unit."""
    size = maps.shape[axis]
    count = output_size(layer, size)
    span = (count - 1) * layer.stride + layer.extent
    config = [(0, 0, 0)] * maps.ndim
    config[axis] = (layer.pad, span - size - layer.pad, 0)
    maps = lax.pad(maps, jnp.asarray(fill, maps.dtype), config)
    last = (count - 1) * layer.stride + 1
    starts = range(0, layer.extent, layer.rate)
    return [lax.slice_in_dim(maps, i, i + last, layer.stride, axis) for i in starts]


def max_pool(maps: Float[Array, "b h w c"], layer: Window) -> Float[Array, "b H W c"]:
    """Takes the maximum of every window; what lies outside of the image never wins."""
    for axis in (2, 1):
        first, *rest = _taps(maps, layer, axis, fill=-jnp.inf)
        for tap in rest:
            first = jnp.where(tap > first, tap, first)
        maps = first
    return maps


def avg_pool(maps: Float[Array, "b h w c"], layer: Window) -> Float[Array, "b H W c"]:
    """Takes the mean of every window's taps; padding counts as zeros, what lies beyond does not."""
    for axis in (2, 1):
        size = maps.shape[axis]
        xp = (
            jnp if is_symbolic(size) else np
        )  # the numbers of taps, made by the program or constant
        starts = xp.arange(output_size(layer, size)) * layer.stride
        reach = xp.minimum(starts + layer.extent, size + 2 * layer.pad) - starts
        taps = -(-reach // layer.rate)
        shape = [-1 if i == axis else 1 for i in range(maps.ndim)]
        maps = sum(_taps(maps, layer, axis, fill=0)) / taps.reshape(shape).astype(maps.dtype)
    return maps
