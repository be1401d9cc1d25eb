"""Convolution over NHWC maps, with HWIO kernels and the same padding on both sides.

A 1x1 convolution is a matrix product and written as one. On a CPU, other things are written as
what is fast there, because XLA takes up to tens of times longer than their arithmetic needs: a
depthwise convolution as shifted and weighted slices, any other in groups as one convolution for
each group, and tap by tap, as matrix products, one whose taps meet much padding and the gradient of
a large map's kernel. Accelerators have kernels for all of these, and keep the one operation that
these stand behind.
"""

import itertools
import math
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from fcn_jax.ops.geometry import Window, output_size


def conv(
    maps: Float[Array, "b h w i"],
    kernel: Float[Array, "k k ig o"],
    layer: Window,
    *,
    groups: int = 1,
) -> Float[Array, "b H W o"]:
    """Cross-correlates `maps` with `kernel`; `layer` says stride, padding and atrous rate.

    Where a layer rounds up, its last window meets as many further zeros as it hangs over the end.
    """
    if groups == layer.kernel == layer.stride == 1 and not layer.pad:
        pixels = maps.reshape(-1, maps.shape[-1]) @ kernel[0, 0]
        return pixels.reshape(*maps.shape[:3], -1)
    return _conv(maps, kernel, layer, groups)


def _plain(maps: Array, kernel: Array, layer: Window, groups: int) -> Array:
    output = lax.conv_general_dilated(
        maps,
        kernel,
        window_strides=(layer.stride, layer.stride),
        padding=[_padding(layer)] * 2,
        rhs_dilation=(layer.rate, layer.rate),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )
    if layer.ceil:  # a last window that begins in the far padding is dropped
        for axis in (1, 2):
            output = lax.slice_in_dim(output, 0, output_size(layer, maps.shape[axis]), axis=axis)
    return output


def _padding(layer: Window) -> tuple[int, int]:
    return layer.pad, layer.pad + (layer.stride - 1 if layer.ceil else 0)


# The gradient is written out because the kernel's needs a form of its own, and because that of
# `platform_dependent` would keep for the way back what any of the platforms needs there.
@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _conv(maps: Array, kernel: Array, layer: Window, groups: int) -> Array:
    forms = {"cpu": _form_on_cpu(maps, kernel, layer, groups), "default": _plain}
    if forms["cpu"] is _plain:
        return _plain(maps, kernel, layer, groups)
    forms = {name: partial(form, layer=layer, groups=groups) for name, form in forms.items()}
    return lax.platform_dependent(maps, kernel, **forms)


def _forward(maps: Array, kernel: Array, layer: Window, groups: int):
    return _conv(maps, kernel, layer, groups), (maps, kernel)


def _backward(layer: Window, groups: int, operands: tuple[Array, Array], grad: Array):
    def on_cpu(maps, kernel, grad):
        form = _form_on_cpu(maps, kernel, layer, groups)
        _, pull_back = jax.vjp(lambda maps: form(maps, kernel, layer, groups), maps)
        if _is_depthwise(maps, kernel, groups):
            kernel_grad = _depthwise_kernel_grad(maps, grad, layer)
        else:
            parts = (jnp.split(operand, groups, -1) for operand in (maps, kernel, grad))
            parts = [_kernel_grad(*part, layer) for part in zip(*parts, strict=True)]
            kernel_grad = jnp.concatenate(parts, -1)
        return *pull_back(grad), kernel_grad

    def on_accelerator(maps, kernel, grad):
        form = partial(_plain, layer=layer, groups=groups)
        return jax.vjp(form, maps, kernel)[1](grad)

    return lax.platform_dependent(*operands, grad, cpu=on_cpu, default=on_accelerator)


_conv.defvjp(_forward, _backward)


def _form_on_cpu(maps: Array, kernel: Array, layer: Window, groups: int):
    if groups > 1:
        return _by_slices if _is_depthwise(maps, kernel, groups) else _by_group
    return _by_taps if layer.rate > 1 and _meets_much_padding(layer, maps) else _plain


def _is_depthwise(maps: Array, kernel: Array, groups: int) -> bool:
    return 1 < groups == maps.shape[-1] == kernel.shape[-1]


def _by_group(maps: Array, kernel: Array, layer: Window, groups: int) -> Array:
    parts = zip(jnp.split(maps, groups, -1), jnp.split(kernel, groups, -1), strict=True)
    return jnp.concatenate([_plain(*part, layer, 1) for part in parts], -1)


def _by_taps(maps: Array, kernel: Array, layer: Window, groups: int) -> Array:
    """Adds up one matrix product for every tap, of the pixels that it meets inside the map."""
    del groups  # one
    wide = jnp.promote_types(maps.dtype, jnp.float32)
    height, width = (output_size(layer, size) for size in maps.shape[1:3])
    output = jnp.zeros((maps.shape[0], height, width, kernel.shape[-1]), wide)
    for weights, (rows, columns) in zip(
        kernel.reshape(-1, *kernel.shape[2:]), _taps(layer, maps), strict=True
    ):
        if rows.count and columns.count:
            pixels = maps[:, rows.pixels(layer), columns.pixels(layer)]
            flat = pixels.reshape(-1, pixels.shape[-1])
            product = jnp.matmul(flat, weights, preferred_element_type=wide)
            beyond = [rows.beyond(height), columns.beyond(width)]
            output += jnp.pad(product.reshape(*pixels.shape[:3], -1), [(0, 0), *beyond, (0, 0)])
    return output.astype(maps.dtype)


# From this many gradients on, and as many features, XLA's own gradient of a kernel falls from 150
# to 30 GFLOP/s on two cores; that of `_kernel_grad_by_taps` stays at 100 to 160.
LARGE_GRAD, MANY_FEATURES = 3_000_000, 128


def _kernel_grad(maps: Array, kernel: Array, grad: Array, layer: Window) -> Array:
    large = grad.size >= LARGE_GRAD and grad.shape[-1] >= MANY_FEATURES
    if large or _meets_much_padding(layer, maps):
        return _kernel_grad_by_taps(maps, grad, layer)
    return jax.vjp(lambda kernel: _plain(maps, kernel, layer, 1), kernel)[1](grad)[0]


def _kernel_grad_by_taps(maps: Array, grad: Array, layer: Window) -> Array:
    """Multiplies, for every tap, the pixels that it meets inside the map with the gradients there."""
    wide = jnp.promote_types(maps.dtype, jnp.float32)

    def tap_grad(rows: _Meeting, columns: _Meeting) -> Array:
        pixels = maps[:, rows.pixels(layer), columns.pixels(layer)].reshape(-1, maps.shape[-1])
        grads = grad[:, rows.outputs, columns.outputs].reshape(-1, grad.shape[-1])
        # Both with the pixels first: XLA would otherwise turn one of them over in memory.
        over_pixels = (((0,), (0,)), ((), ()))
        return lax.dot_general(pixels, grads, over_pixels, preferred_element_type=wide)

    grads = jnp.stack([tap_grad(*tap) for tap in _taps(layer, maps)]).astype(maps.dtype)
    return grads.reshape(layer.kernel, layer.kernel, *grads.shape[1:])


# Where padding takes this part of the products of pixels and taps, those without it are faster.
PADDING_SHARE = 0.15


def _meets_much_padding(layer: Window, maps: Array) -> bool:
    if layer.rate == 1 and layer.pad < layer.kernel:
        return False  # only on maps of a few pixels, where nothing is slow
    met = sum(rows.count * columns.count for rows, columns in _taps(layer, maps))
    outputs = math.prod(output_size(layer, size) for size in maps.shape[1:3])
    return met < (1 - PADDING_SHARE) * outputs * layer.kernel**2


class _Meeting(NamedTuple):
    """Which pixels of an axis a tap meets, from `start` on, and the outputs for which it does."""

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


def _by_slices(maps: Array, kernel: Array, layer: Window, groups: int) -> Array:
    """Sums, over the taps of a depthwise kernel, the pixels that a tap meets times its weight."""
    del groups  # as many as channels
    wide = jnp.promote_types(maps.dtype, jnp.float32)
    padded, weights = _pad(maps, layer).astype(wide), kernel[:, :, 0].astype(wide)
    starts = range(0, layer.extent, layer.rate)
    rows, columns = (
        [slice(start, start + (count - 1) * layer.stride + 1, layer.stride) for start in starts]
        for count in (output_size(layer, size) for size in maps.shape[1:3])
    )
    taps = np.ndindex(layer.kernel, layer.kernel)
    return sum(padded[:, rows[i], columns[j]] * weights[i, j] for i, j in taps).astype(maps.dtype)


def _depthwise_kernel_grad(maps: Array, grad: Array, layer: Window) -> Array:
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
    return jnp.pad(maps, [(0, 0), _padding(layer), _padding(layer), (0, 0)])
