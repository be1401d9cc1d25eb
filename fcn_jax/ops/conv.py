"""Convolution over NHWC maps, with HWIO kernels and the same padding on both sides.

On a CPU, XLA takes tens of times longer for a convolution in groups than its arithmetic needs, and
for the gradient longer still. There it is written as what is fast: a depthwise convolution as
shifted and weighted slices, any other as one convolution for each group. Accelerators have kernels
for groups, and keep the one operation that these kernels stand behind.
"""

from functools import partial

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
    form = _plain if groups == 1 else _grouped
    return form(maps, kernel, layer, groups)


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
def _grouped(maps: Array, kernel: Array, layer: Window, groups: int) -> Array:
    on_cpu = _by_slices if _is_depthwise(maps, kernel, groups) else _by_group
    forms = {"cpu": on_cpu, "default": _plain}
    forms = {name: partial(form, layer=layer, groups=groups) for name, form in forms.items()}
    return lax.platform_dependent(maps, kernel, **forms)


def _forward(maps: Array, kernel: Array, layer: Window, groups: int):
    return _grouped(maps, kernel, layer, groups), (maps, kernel)


def _backward(layer: Window, groups: int, operands: tuple[Array, Array], grad: Array):
    def pull_back(form):
        form = partial(form, layer=layer, groups=groups)
        return lambda maps, kernel, grad: jax.vjp(form, maps, kernel)[1](grad)

    def pull_back_slices(maps, kernel, grad):
        maps_grad, _ = pull_back(_by_slices)(maps, kernel, grad)
        return maps_grad, _depthwise_kernel_grad(maps, grad, layer)

    on_cpu = pull_back_slices if _is_depthwise(*operands, groups) else pull_back(_by_group)
    return lax.platform_dependent(*operands, grad, cpu=on_cpu, default=pull_back(_plain))


_grouped.defvjp(_forward, _backward)


def _is_depthwise(maps: Array, kernel: Array, groups: int) -> bool:
    return groups == maps.shape[-1] == kernel.shape[-1]


def _by_group(maps: Array, kernel: Array, layer: Window, groups: int) -> Array:
    parts = zip(jnp.split(maps, groups, -1), jnp.split(kernel, groups, -1), strict=True)
    return jnp.concatenate([_plain(*part, layer, 1) for part in parts], -1)


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
