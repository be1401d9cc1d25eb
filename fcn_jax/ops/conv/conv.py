"""Convolution over NHWC maps, with HWIO kernels and the same padding on both sides.

A 1x1 convolution of every pixel is one matrix product, and written as one for all platforms. Of the
others, a CPU, where XLA takes up to tens of times longer than the arithmetic needs, computes each and
its two gradients by what is fastest for their shape: `depthwise`, `taps`, `patches`, `winograd`, or
XLA's operation. Accelerators have kernels of their own and keep the one operation that all these
stand for. FCN_JAX_CONV=plain in the environment makes every convolution, 1x1 included, that operation.
"""

import os
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from fcn_jax.errors import UserError
from fcn_jax.ops.conv import depthwise, patches, taps, winograd
from fcn_jax.ops.geometry import Window, output_size

SWITCH = "FCN_JAX_CONV"  # of the environment: fast or plain; read whenever a function is traced

# Where the forms take over from XLA's operation was measured on two cores of an AMD EPYC with
# AVX-512, in float32, with jax 0.12; docs/benchmarks.md has the times.

# Where padding takes this part of the products of pixels and taps, tap by tap is faster.
PADDING_SHARE = 0.15

# From so many output pixels on, Winograd's products pay for their sums: those of the gradient of a
# kernel with so many channels of maps and of features, the other two with more: the fewer of them
# and the more.
MANY_PIXELS = 400
MANY_CHANNELS = 64
FEWER_CHANNELS, MORE_CHANNELS = 128, 256

# From this many gradients on, and as many features, XLA's own gradient of a kernel falls from 150
# to 30 GFLOP/s; tap by tap it stays at 100 to 160.
LARGE_GRAD, MANY_FEATURES = 3_000_000, 128


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
    choice = os.environ.get(SWITCH, "fast")
    if choice not in ("fast", "plain"):
        raise UserError(f"the environment says {SWITCH}={choice}; known: fast, plain")
    if choice == "plain":
        return plain_conv(maps, kernel, layer, groups=groups)
    if groups == layer.kernel == layer.stride == 1 and not layer.pad:
        pixels = maps.reshape(-1, maps.shape[-1]) @ kernel[0, 0]
        return pixels.reshape(*maps.shape[:3], -1)
    return _conv(maps, kernel, layer, groups)


def plain_conv(
    maps: Float[Array, "b h w i"],
    kernel: Float[Array, "k k ig o"],
    layer: Window,
    *,
    groups: int = 1,
) -> Float[Array, "b H W o"]:
    """Does what `conv` does, by XLA's one operation wherever it runs."""
    output = lax.conv_general_dilated(
        maps,
        kernel,
        window_strides=(layer.stride, layer.stride),
        padding=[layer.padding] * 2,
        rhs_dilation=(layer.rate, layer.rate),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )
    if layer.ceil:  # a last window that begins in the far padding is dropped
        for axis in (1, 2):
            output = lax.slice_in_dim(output, 0, output_size(layer, maps.shape[axis]), axis=axis)
    return output


# The gradients are written out because each has a form of its own, and because those of
# `platform_dependent` would keep for the way back what any of the platforms needs there.
@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _conv(maps: Array, kernel: Array, layer: Window, groups: int) -> Array:
    if groups == 1 and _form(maps, kernel, layer) is plain_conv:
        return plain_conv(maps, kernel, layer)
    on_cpu = partial(_convolve_on_cpu, layer=layer, groups=groups)
    elsewhere = partial(plain_conv, layer=layer, groups=groups)
    return lax.platform_dependent(maps, kernel, cpu=on_cpu, default=elsewhere)


def _forward(maps: Array, kernel: Array, layer: Window, groups: int):
    return _conv(maps, kernel, layer, groups), (maps, kernel)


def _backward(layer: Window, groups: int, operands: tuple[Array, Array], grad: Array):
    def elsewhere(maps, kernel, grad):
        form = partial(plain_conv, layer=layer, groups=groups)
        return jax.vjp(form, maps, kernel)[1](grad)

    on_cpu = partial(_pull_back_on_cpu, layer=layer, groups=groups)
    return lax.platform_dependent(*operands, grad, cpu=on_cpu, default=elsewhere)


_conv.defvjp(_forward, _backward)


# --- on a CPU -------------------------------------------------------------------------------------


def _convolve_on_cpu(maps: Array, kernel: Array, *, layer: Window, groups: int) -> Array:
    if _is_depthwise(maps, kernel, groups):
        return depthwise.convolve(maps, kernel, layer)
    parts = zip(*(jnp.split(operand, groups, -1) for operand in (maps, kernel)), strict=True)
    return jnp.concatenate([_form(*part, layer)(*part, layer) for part in parts], -1)


def _pull_back_on_cpu(
    maps: Array, kernel: Array, grad: Array, *, layer: Window, groups: int
) -> tuple[Array, Array]:
    if _is_depthwise(maps, kernel, groups):
        _, pull_back = jax.vjp(lambda maps: depthwise.convolve(maps, kernel, layer), maps)
        return *pull_back(grad), depthwise.kernel_grad(maps, grad, layer)
    parts = zip(*(jnp.split(operand, groups, -1) for operand in (maps, kernel, grad)), strict=True)
    grads = [(_maps_grad(*part, layer), _kernel_grad(*part, layer)) for part in parts]
    return tuple(jnp.concatenate(of_parts, -1) for of_parts in zip(*grads, strict=True))


def _is_depthwise(maps: Array, kernel: Array, groups: int) -> bool:
    return 1 < groups == maps.shape[-1] == kernel.shape[-1]


def _form(maps: Array, kernel: Array, layer: Window):
    """Chooses f(maps, kernel, layer) for one group."""
    fewer, more = sorted(kernel.shape[2:])
    if layer.rate > 1 and _meets_much_padding(maps, layer):
        return taps.convolve
    if _suits_winograd(maps, layer) and fewer >= FEWER_CHANNELS and more >= MORE_CHANNELS:
        return winograd.convolve
    if layer.kernel > 1 and fewer >= MANY_CHANNELS and _count_pixels(maps, layer) <= more:
        return patches.convolve  # they are fewer than the weights, which XLA would rearrange
    return plain_conv


def _maps_grad(maps: Array, kernel: Array, grad: Array, layer: Window) -> Array:
    form = _form(maps, kernel, layer)
    if form is winograd.convolve:
        return winograd.maps_grad(kernel, grad, layer)
    return jax.vjp(lambda maps: form(maps, kernel, layer), maps)[1](grad)[0]


def _kernel_grad(maps: Array, kernel: Array, grad: Array, layer: Window) -> Array:
    form = _form(maps, kernel, layer)
    if _meets_much_padding(maps, layer):
        return taps.kernel_grad(maps, grad, layer)
    if _suits_winograd(maps, layer) and min(kernel.shape[2:]) >= MANY_CHANNELS:
        return winograd.kernel_grad(maps, grad, layer)
    large = grad.size >= LARGE_GRAD and grad.shape[-1] >= MANY_FEATURES
    if form is plain_conv and large:
        return taps.kernel_grad(maps, grad, layer)
    return jax.vjp(lambda kernel: form(maps, kernel, layer), kernel)[1](grad)[0]


def _meets_much_padding(maps: Array, layer: Window) -> bool:
    if layer.rate == 1 and layer.pad < layer.kernel:
        return False  # only on maps of a few pixels, where nothing is slow
    return taps.padding_share(maps, layer) > PADDING_SHARE


def _suits_winograd(maps: Array, layer: Window) -> bool:
    many = _count_pixels(maps, layer) >= MANY_PIXELS
    return winograd.suits(layer) and many and maps.dtype == jnp.float32


def _count_pixels(maps: Array, layer: Window) -> int:
    height, width = (output_size(layer, size) for size in maps.shape[1:3])
    return len(maps) * height * width
