"""3x3 convolutions in 4/9 of the multiplications: Winograd's minimal filtering F(2x2, 3x3).

A tile of 2x2 outputs is made of a tile of 4x4 pixels; these overlap by two. Pixels, outputs and
kernel are brought into bases in which they multiply number by number: 16 matrix products over the
channels, each for one pixel in four, instead of 9 for all of them. The sums that lead there and
back round a little more than the plain definition (5e-6 where outputs are around 1); of small
integers they are exact.

Source: Lavin and Gray 2016, Fast Algorithms for Convolutional Neural Networks, Sec. 4.1.
"""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from fcn_jax.ops.geometry import Window, output_size

# B^T, G and A^T of the source, along one axis. A row of the first two makes one number of a tile
# out of its pixels or of the taps; a row of the third makes one output out of the numbers.
PIXEL_BASIS = np.array([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]], np.float32)
KERNEL_BASIS = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]], np.float32)
OUTPUT_BASIS = np.array([[1, 1, 1, 0], [0, 1, -1, -1]], np.float32)
NUMBERS = 4 * 4  # of a tile in its basis

# Largest size of the products, four times that of the outputs, at which all images are computed at
# once; beyond, they are computed image by image.
PRODUCTS_BYTES = 2**28


def suits(layer: Window) -> bool:
    """Tells whether such a layer can be computed here."""
    whole = layer.pad % layer.rate == 0 and layer.pad <= 2 * layer.rate
    return layer.kernel == 3 and layer.stride == 1 and whole


def convolve(
    maps: Float[Array, "b h w i"], kernel: Float[Array, "3 3 i o"], layer: Window
) -> Float[Array, "b H W o"]:
    """Cross-correlates `maps` with `kernel`."""
    if layer.rate > 1:
        phases = convolve(_split_phases(maps, layer.rate), kernel, _without_rate(layer))
        return _crop(_join_phases(phases, layer.rate), maps, layer)
    size = _count_tiles(maps, layer)
    weights = _change_both_axes(KERNEL_BASIS, kernel.reshape(9, -1))
    weights = weights.reshape(NUMBERS, *kernel.shape[2:])

    def convolve_images(maps):
        pixels = _in_basis(PIXEL_BASIS, _cut(maps, layer.pad, size, overlap=2), size)
        products = lax.map(lambda index: pixels(index) @ weights[index], jnp.arange(NUMBERS))
        outputs = _change_both_axes(OUTPUT_BASIS, products.reshape(NUMBERS, -1))
        outputs = outputs.reshape(2, 2, len(maps), *size, -1).transpose(2, 3, 0, 4, 1, 5)
        return outputs.reshape(len(maps), 2 * size[0], 2 * size[1], -1)

    products_bytes = NUMBERS * len(maps) * size[0] * size[1] * kernel.shape[-1] * 4
    if products_bytes <= PRODUCTS_BYTES:
        outputs = convolve_images(maps)
    else:
        outputs = lax.map(lambda image: convolve_images(image[None])[0], maps)
    return _crop(outputs, maps, layer)


def maps_grad(
    kernel: Float[Array, "3 3 i o"], grad: Float[Array, "b H W o"], layer: Window
) -> Float[Array, "b h w i"]:
    """Computes the gradient of the maps: `grad` convolved with the kernel turned around."""
    turned = kernel[::-1, ::-1].swapaxes(2, 3)
    return convolve(grad, turned, layer._replace(pad=2 * layer.rate - layer.pad))


def kernel_grad(
    maps: Float[Array, "b h w i"], grad: Float[Array, "b H W o"], layer: Window
) -> Float[Array, "3 3 i o"]:
    """Computes the gradient of the kernel."""
    if layer.rate > 1:
        maps, grad = (_split_phases(of, layer.rate) for of in (maps, grad))
        return kernel_grad(maps, grad, _without_rate(layer))
    size = _count_tiles(maps, layer)
    pixels = _in_basis(PIXEL_BASIS, _cut(maps, layer.pad, size, overlap=2), size)
    grads = _in_basis(OUTPUT_BASIS.T, _cut(grad, 0, size, overlap=0), size)
    sums = lax.map(
        lambda index: jnp.einsum("ti,to->io", pixels(index), grads(index)), jnp.arange(NUMBERS)
    )
    taps = _change_both_axes(KERNEL_BASIS.T, sums.reshape(NUMBERS, -1))
    return taps.reshape(3, 3, *sums.shape[1:])


def _count_tiles(maps: Array, layer: Window) -> tuple[int, int]:
    return tuple(-(-output_size(layer, side) // 2) for side in maps.shape[1:3])


def _crop(outputs: Array, maps: Array, layer: Window) -> Array:
    height, width = (output_size(layer, side) for side in maps.shape[1:3])
    return outputs[:, :height, :width]


def _change_both_axes(basis: np.ndarray, numbers: Float[Array, "n m"]) -> Float[Array, "N m"]:
    """Changes the basis of tiles along both axes; column m of `numbers` is tile m, row by row."""
    return jnp.asarray(np.kron(basis, basis)) @ numbers


def _in_basis(
    basis: np.ndarray, tiles: Float[Array, "b n 2 m 2 c"], size: tuple[int, int]
) -> Callable[[Array], Float[Array, "t c"]]:
    """Returns f(index): the number at `index` (0 to 15, row by row) of every tile in `basis`.

    The index may be traced, so that a loop computes all 16 numbers; 16 programs would take seconds
    to compile.
    """
    # A number has at most two terms along an axis.
    places = np.array([np.flatnonzero(row)[[0, -1]] for row in basis])
    factors = np.take_along_axis(basis, places, axis=1)
    factors[places[:, 0] == places[:, 1], 1] = 0
    places, factors = jnp.asarray(places), jnp.asarray(factors)
    images, channels = len(tiles), tiles.shape[-1]

    def term(row: Array, column: Array) -> Array:
        start = (0, row // 2, row % 2, column // 2, column % 2, 0)
        shape = (images, size[0], 1, size[1], 1, channels)
        return lax.dynamic_slice(tiles, start, shape).reshape(-1, channels)

    def number(index: Array) -> Array:
        row, column = index // 4, index % 4
        return sum(
            factors[row, i] * factors[column, j] * term(places[row, i], places[column, j])
            for i, j in np.ndindex(2, 2)
        )

    return number


def _cut(
    maps: Float[Array, "b h w c"], before: int, size: tuple[int, int], *, overlap: int
) -> Float[Array, "b n 2 m 2 c"]:
    """Pads maps to whole tiles and cuts them at every second pixel, where tiles begin."""
    sides = [2 * count + overlap for count in size]
    beyond = [
        (before, side - before - had) for side, had in zip(sides, maps.shape[1:3], strict=True)
    ]
    padded = jnp.pad(maps, [(0, 0), *beyond, (0, 0)])
    return padded.reshape(len(maps), sides[0] // 2, 2, sides[1] // 2, 2, -1)


# --- atrous: every rate-th pixel of every rate-th row is a map of its own ----------------------


def _without_rate(layer: Window) -> Window:
    return Window(layer.kernel, pad=layer.pad // layer.rate)


def _split_phases(maps: Array, rate: int) -> Array:
    batch, height, width, channels = maps.shape
    maps = jnp.pad(maps, [(0, 0), (0, -height % rate), (0, -width % rate), (0, 0)])
    maps = maps.reshape(batch, -(-height // rate), rate, -(-width // rate), rate, channels)
    maps = maps.transpose(2, 4, 0, 1, 3, 5)
    return maps.reshape(-1, *maps.shape[3:])


def _join_phases(maps: Array, rate: int) -> Array:
    _, height, width, channels = maps.shape
    maps = maps.reshape(rate, rate, -1, height, width, channels)
    return maps.transpose(2, 3, 0, 4, 1, 5).reshape(-1, height * rate, width * rate, channels)
