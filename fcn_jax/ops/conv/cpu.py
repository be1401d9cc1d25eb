"""Convolution on a CPU: for each shape, and for each of the two gradients, the fastest form.

A form is a function f(maps, kernel, layer): `depthwise`, `taps`, `patches`, `winograd`, or XLA's
operation (`plain`), which takes up to tens of times longer than the arithmetic needs here. A
program that is lowered for another platform, as by `jax.export` on a machine without an
accelerator, holds the plain operation there.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from fcn_jax.ops.conv import depthwise, patches, taps, winograd
from fcn_jax.ops.conv.plain import plain_conv
from fcn_jax.ops.geometry import Window, output_size

# Where the forms take over from XLA's operation was measured on two cores of an AMD EPYC with
# AVX-512, in float32, with jax 0.12; docs/benchmarks.md has the times.

# Tap by tap is faster where more than this part of all products of pixels and taps meets padding.
PADDING_SHARE = 0.15

# Winograd's form saves more in products than it costs in sums from MANY_PIXELS output pixels on, if
# there are enough channels. The gradient of the kernel needs MANY_CHANNELS of the maps and as many
# features. The convolution and the gradient of the maps need FEWER_CHANNELS of the one and
# MORE_CHANNELS of the other.
MANY_PIXELS = 400
MANY_CHANNELS = 64
FEWER_CHANNELS, MORE_CHANNELS = 128, 256

# XLA's own gradient of a kernel falls from 150 to 30 GFLOP/s where the gradient of the output has
# LARGE_GRAD numbers and MANY_FEATURES features; tap by tap it stays at 100 to 160.
LARGE_GRAD, MANY_FEATURES = 3_000_000, 128


# The gradients are written out because each has a form of its own. They also keep maps and kernel
# alone: JAX's own gradient of `platform_dependent` would keep what any platform's branch needs.
@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def conv(maps: Array, kernel: Array, layer: Window, groups: int) -> Array:
    """Cross-correlates `maps` with `kernel`, in the form of their shape on a CPU."""
    if groups == 1 and _form(maps, kernel, layer) is plain_conv:
        return plain_conv(maps, kernel, layer)
    on_cpu = partial(_convolve, layer=layer, groups=groups)
    elsewhere = partial(plain_conv, layer=layer, groups=groups)
    return lax.platform_dependent(maps, kernel, cpu=on_cpu, default=elsewhere)


def _forward(maps: Array, kernel: Array, layer: Window, groups: int):
    return conv(maps, kernel, layer, groups), (maps, kernel)


def _backward(layer: Window, groups: int, operands: tuple[Array, Array], grad: Array):
    def elsewhere(maps, kernel, grad):
        form = partial(plain_conv, layer=layer, groups=groups)
        return jax.vjp(form, maps, kernel)[1](grad)

    on_cpu = partial(_pull_back, layer=layer, groups=groups)
    return lax.platform_dependent(*operands, grad, cpu=on_cpu, default=elsewhere)


conv.defvjp(_forward, _backward)


def _convolve(maps: Array, kernel: Array, *, layer: Window, groups: int) -> Array:
    if _is_depthwise(maps, kernel, groups):
        return depthwise.convolve(maps, kernel, layer)
    parts = zip(*(jnp.split(operand, groups, -1) for operand in (maps, kernel)), strict=True)
    return jnp.concatenate([_form(*part, layer)(*part, layer) for part in parts], -1)


def _pull_back(
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
