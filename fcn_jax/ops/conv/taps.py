"""Convolution tap by tap: a matrix product over the channels of the pixels that a tap meets.

Pixels of the padding are left out. The products of all taps are added up in float32 at least, and
so are the gradients that a pixel gets from them.
"""

import itertools
import math
from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from fcn_jax.ops.geometry import Window, output_size


def padding_share(maps: Float[Array, "b h w i"], layer: Window) -> float:
    """Computes which part of all products of pixels and taps has its pixel in the padding."""
    met = sum(rows.count * columns.count for rows, columns in _taps(layer, maps))
    outputs = math.prod(output_size(layer, size) for size in maps.shape[1:3])
    return 1 - met / (outputs * layer.kernel**2)


def convolve(
    maps: Float[Array, "b h w i"], kernel: Float[Array, "k k i o"], layer: Window
) -> Float[Array, "b H W o"]:
    """Cross-correlates `maps` with `kernel`."""
    wide = jnp.promote_types(maps.dtype, jnp.float32)
    height, width = (output_size(layer, size) for size in maps.shape[1:3])
    output = jnp.zeros((maps.shape[0], height, width, kernel.shape[-1]), wide)
    wide_maps = maps.astype(wide)
    for weights, (rows, columns) in zip(
        kernel.reshape(-1, *kernel.shape[2:]), _taps(layer, maps), strict=True
    ):
        if rows.count and columns.count:
            pixels = wide_maps[:, rows.pixels(layer), columns.pixels(layer)].astype(maps.dtype)
            flat = pixels.reshape(-1, pixels.shape[-1])
            product = jnp.matmul(flat, weights, preferred_element_type=wide)
            beyond = [rows.beyond(height), columns.beyond(width)]
            output += jnp.pad(product.reshape(*pixels.shape[:3], -1), [(0, 0), *beyond, (0, 0)])
    return output.astype(maps.dtype)


def kernel_grad(
    maps: Float[Array, "b h w i"], grad: Float[Array, "b H W o"], layer: Window
) -> Float[Array, "k k i o"]:
    """Multiplies, for every tap, the pixels that it meets in the map with the gradients there."""
    wide = jnp.promote_types(maps.dtype, jnp.float32)

    def tap_grad(rows: _Meeting, columns: _Meeting) -> Array:
        pixels = maps[:, rows.pixels(layer), columns.pixels(layer)].reshape(-1, maps.shape[-1])
        grads = grad[:, rows.outputs, columns.outputs].reshape(-1, grad.shape[-1])
        # Both with the pixels first: XLA would otherwise turn one of them over in memory.
        over_pixels = (((0,), (0,)), ((), ()))
        return lax.dot_general(pixels, grads, over_pixels, preferred_element_type=wide)

    grads = jnp.stack([tap_grad(*tap) for tap in _taps(layer, maps)]).astype(maps.dtype)
    return grads.reshape(layer.kernel, layer.kernel, *grads.shape[1:])


class _Meeting(NamedTuple):
    """Pixels of an axis that a tap meets, from `start` on, and the outputs where it meets them."""

    start: int
    first_output: int
    count: int

    def pixels(self, layer: Window) -> slice:
        return slice(self.start, self.start + self.count * layer.stride, layer.stride)

    @property
    def outputs(self) -> slice:
        return slice(self.first_output, self.first_output + self.count)

    def beyond(self, outputs: int) -> tuple[int, int]:
        return self.first_output, outputs - self.first_output - self.count


def _taps(layer: Window, maps: Array) -> list[tuple[_Meeting, _Meeting]]:
    """Returns what each tap meets along both axes, row by row of the kernel."""

    def meet(tap: int, size: int) -> _Meeting:
        offset = tap * layer.rate - layer.pad
        first = max(0, -(offset // layer.stride))
        end = min(output_size(layer, size), (size - 1 - offset) // layer.stride + 1)
        return _Meeting(first * layer.stride + offset, first, max(0, end - first))

    axes = ([meet(tap, size) for tap in range(layer.kernel)] for size in maps.shape[1:3])
    return list(itertools.product(*axes))
