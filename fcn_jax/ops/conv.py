"""Convolution over NHWC maps, with HWIO kernels and the same padding on both sides."""

from jax import lax
from jaxtyping import Array, Float

from fcn_jax.ops.geometry import Window


def conv(
    maps: Float[Array, "b h w i"],
    kernel: Float[Array, "k k ig o"],
    layer: Window,
    *,
    groups: int = 1,
) -> Float[Array, "b H W o"]:
    """Cross-correlates `maps` with `kernel`; `layer` says stride, padding and atrous rate."""
    return lax.conv_general_dilated(
        maps,
        kernel,
        window_strides=(layer.stride, layer.stride),
        padding=[(layer.pad, layer.pad)] * 2,
        rhs_dilation=(layer.rate, layer.rate),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )
