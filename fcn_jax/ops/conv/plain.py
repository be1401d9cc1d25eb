"""Convolution as XLA's one operation: the definition that every other form is tested against."""

from jax import lax
from jaxtyping import Array, Float

from fcn_jax.ops.geometry import Window, output_size


def plain_conv(
    maps: Float[Array, "b h w i"],
    kernel: Float[Array, "k k ig o"],
    layer: Window,
    *,
    groups: int = 1,
) -> Float[Array, "b H W o"]:
    """Cross-correlates `maps` with `kernel`, whatever the platform and the shape."""
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
