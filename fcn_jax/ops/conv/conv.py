"""Convolution over NHWC maps, with HWIO kernels and the same padding on both sides.

`conv` is computed in one of two ways:

- `plain`: every convolution is XLA's one operation.
- `fast`, the default: a 1x1 convolution of every pixel is a matrix product, on all platforms. The
  others and their gradients take the form that is fastest for their shape on a CPU
  (`ops.conv.cpu`). They stay XLA's operation on accelerators, which have kernels of their own, and
  where a size is a symbolic dimension of `jax.export`.

`use_conv` chooses for a block of code, and FCN_JAX_CONV in the environment for the rest. The choice
is made when a function is traced: what `jax.jit` has traced before keeps its own.

JAX cannot differentiate the forms of a CPU forward, because their gradients are written out
(`jax.custom_vjp`). On a CPU, `jax.jvp`, `jax.jacfwd` and Hessians need the plain operation:

    with use_conv("plain"):
        logits, slopes = jax.jvp(network, (images,), (directions,))
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import jax
from jaxtyping import Array, Float

from fcn_jax.errors import UserError
from fcn_jax.ops.conv import cpu
from fcn_jax.ops.conv.plain import plain_conv
from fcn_jax.ops.geometry import Window, is_symbolic

WAYS = ("fast", "plain")
VARIABLE = "FCN_JAX_CONV"  # of the environment

_way: ContextVar[str | None] = ContextVar("way", default=None)


@contextmanager
def use_conv(way: str) -> Iterator[None]:
    """Makes the convolutions that this block traces `fast` or `plain`, whatever the environment."""
    if way not in WAYS:
        raise UserError(f"unknown way={way} of convolution; known: {', '.join(WAYS)}")
    token = _way.set(way)
    try:
        yield
    finally:
        _way.reset(token)


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
    if _find_way() == "plain":
        return plain_conv(maps, kernel, layer, groups=groups)
    symbolic = is_symbolic(*maps.shape)
    if groups == layer.kernel == layer.stride == 1 and not layer.pad:
        if symbolic:  # JAX cannot tell that their product is a size
            return maps @ kernel[0, 0]
        pixels = maps.reshape(-1, maps.shape[-1]) @ kernel[0, 0]
        return pixels.reshape(*maps.shape[:3], -1)
    if symbolic or jax.default_backend() != "cpu":
        return plain_conv(maps, kernel, layer, groups=groups)
    return cpu.conv(maps, kernel, layer, groups)


def _find_way() -> str:
    way = _way.get() or os.environ.get(VARIABLE, WAYS[0])
    if way not in WAYS:
        raise UserError(f"the environment says {VARIABLE}={way}; known: {', '.join(WAYS)}")
    return way
