"""Upsampling by whole factors: transposed convolution, fixed and learned, as matrix products.

A transposed convolution whose filters are fixed, separable and never mix channels is the matrix
product of its input with the same small matrix along width and then along height. XLA runs that
thousands of times faster than the equivalent grouped transposed convolution. A learned one is one
matrix product; on a CPU, XLA takes ten times longer for it as a convolution with a dilated input,
and for its gradient.

Two bilinear kernels matter. `2 * factor` taps are the FCN release's (surgery.py: 4, 16, 32, 64;
FCN-AlexNet takes 63). `2 * factor - 1` taps with `factor - 1` cut off on both sides maps n pixels
to (n - 1) * factor + 1 and is align-corners resizing (DeepLab's Interp layer).

`resize_half_pixel` is no transposed convolution: its factor is whatever the sizes say.
"""

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from fcn_jax.ops.geometry import Size, Upscore, is_symbolic, output_size


def bilinear_kernel(size: int) -> Float[np.ndarray, " {size}"]:
    """Makes the taps of the FCN release's bilinear kernel along one axis; float64."""
    factor = (size + 1) // 2
    center = factor - 1 if size % 2 else factor - 0.5
    return 1 - np.abs(np.arange(size) - center) / factor


def upscore_matrix(size: Size, layer: Upscore) -> Float[Array | np.ndarray, "out units"]:
    """Makes the matrix of a transposed convolution with the bilinear kernel along one axis.

    Tap t of unit u meets pixel u * stride + t - pad. The matrix is a constant in float64, or, where
    the size is symbolic, made by the program in float32.
    """
    xp = jnp if is_symbolic(size) else np
    pixels, units = xp.arange(output_size(layer, size)), xp.arange(size)
    taps = pixels[:, None] + layer.pad - units * layer.stride
    # Zeros stand for the taps before the first and behind the last.
    weights = xp.asarray(np.pad(bilinear_kernel(layer.kernel), 1))
    return weights[xp.clip(taps + 1, 0, layer.kernel + 1)]


def align_corners(factor: int) -> Upscore:
    """Returns the layer that resizes n pixels to (n - 1) * factor + 1, corners onto corners."""
    return Upscore(kernel=2 * factor - 1, stride=factor, pad=factor - 1)


def bilinear_upscore(maps: Float[Array, "b h w c"], layer: Upscore) -> Float[Array, "b H W c"]:
    """Upsamples every channel by itself with the fixed bilinear kernel of `layer`."""
    batch, height, width, channels = maps.shape
    columns = jnp.asarray(upscore_matrix(width, layer), maps.dtype)
    rows = jnp.asarray(upscore_matrix(height, layer), maps.dtype)
    # On TPU too the products are those of float32: the weights, multiples of 1 / stride or (of an
    # even kernel) of half of it, are exact wherever the stride is a power of two.
    maps = jnp.einsum("ow,bhwc->bhoc", columns, maps, precision="highest")
    # A product for each image, of rows as they lie. XLA would make one of all images, which has to
    # turn over the maps and takes twice as long; so it must not see that the matrix is the same.
    rows = lax.optimization_barrier(jnp.broadcast_to(rows, (batch, *rows.shape)))
    maps = jnp.matmul(rows, maps.reshape(batch, height, -1), precision="highest")
    return maps.reshape(batch, rows.shape[1], columns.shape[0], channels)


def resize_half_pixel(
    maps: Float[Array, "b h w c"],
    size: tuple[Size, Size],
    *,
    units: Int[Array, "b 2"] | None = None,
    pixels: Int[Array, "b 2"] | None = None,
) -> Float[Array, "b H W c"]:
    """Stretches maps to `size` bilinearly, whatever the factor: PyTorch's `align_corners=False`.

    Units and pixels are taken for areas, and the edges of the map come to lie on the edges of the
    image; beyond the centre of the last unit its value stays.

    Args:
        units, pixels: Height and width of each map without padding, and of what it is stretched to;
            None for all of it.
    """
    for axis, length in enumerate(size, start=1):
        count = maps.shape[axis]
        have = count if units is None else units[:, axis - 1, None, None]
        want = length if pixels is None else pixels[:, axis - 1, None, None]
        centres = (jnp.arange(length)[:, None] + 0.5) * (have / want) - 0.5
        distance = jnp.abs(jnp.clip(centres, 0, have - 1) - jnp.arange(count))
        matrix = jnp.maximum(1 - distance, 0).astype(maps.dtype)
        matrix = jnp.broadcast_to(matrix, (maps.shape[0], length, count))
        equation = "boh,bhwc->bowc" if axis == 1 else "bow,bhwc->bhoc"
        maps = jnp.einsum(equation, matrix, maps, precision="highest")
    return maps


def conv_transpose(
    maps: Float[Array, "b h w i"], kernel: Float[Array, "k k i o"], layer: Upscore
) -> Float[Array, "b H W o"]:
    """Adds, for every unit, its channels times the kernel to the pixels of its window.

    The kernel is not flipped: its first tap meets the first pixel, as in Caffe and PyTorch.
    """
    stride = layer.stride
    batch, height, width, _ = maps.shape
    # In cells of stride x stride pixels, the window of unit y begins with cell y and reaches over
    # `reach` cells. So a cell is one matrix product of the reach x reach units that reach it.
    reach = -(-layer.kernel // stride)
    taps = jnp.pad(kernel, [(0, reach * stride - layer.kernel)] * 2 + [(0, 0)] * 2)
    taps = taps.reshape(reach, stride, reach, stride, *kernel.shape[2:])

    maps = jnp.pad(maps, [(0, 0), (reach - 1,) * 2, (reach - 1,) * 2, (0, 0)])
    rows, columns = (
        [slice(start, start + size + reach - 1) for start in reversed(range(reach))]
        for size in (height, width)
    )
    units = jnp.stack([jnp.stack([maps[:, row, column] for column in columns]) for row in rows])
    cells = jnp.einsum("mnbyxi,mrnsio->byrxso", units, taps)

    height, width = (output_size(layer, size) for size in (height, width))
    pixels = cells.reshape(
        batch, cells.shape[1] * stride, cells.shape[3] * stride, kernel.shape[-1]
    )
    return pixels[:, layer.pad : layer.pad + height, layer.pad : layer.pad + width]
