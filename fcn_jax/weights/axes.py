"""The order of axes of weights, there and here, and which of them a smaller classifier keeps.

Caffe and torch store the kernel of a convolution as (out, in, height, width), "OIHW"; here it is
HWIO. The weights of a fully connected layer over a map are a matrix (out, channels * height *
width), which is the kernel of an equal convolution written flat.

Source: fcn.berkeleyvision.org, net surgery (flat copy); Chen et al. 2015, Sec. 3.1 and 2016,
Sec. 4.1 (decimation in space, and a choice of 1024 of the 4096 filters).
"""

import re
from collections.abc import Iterable, Mapping

import numpy as np

from fcn_jax.errors import UserError
from fcn_jax.weights.memory_map import drop_pages

Arrays = Mapping[str, np.ndarray]  # by name

# Values converted before the pages that they came from are given back: 16 MiB.
PIECE = 2**22


def format_names(names: Iterable[str]) -> str:
    """Writes the first names of many."""
    names = list(names)
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def format_layers(names: Iterable[str]) -> str:
    """Writes the layers that arrays with these names belong to, by their first names."""
    layers = (re.sub(r"^(params|batch_stats)/|(/norm)?[/.][^/.]*$", "", name) for name in names)
    return format_names(dict.fromkeys(layers))


def format_shape(shape: tuple[int, ...]) -> str:
    """Writes a shape as 4096x512x7x7."""
    return "x".join(map(str, shape)) or "a single number"


def fc_to_conv(matrix: np.ndarray, *, kernel: int) -> np.ndarray:
    """Views a fully connected layer over a kernel x kernel map as a convolution, OIHW.

    Raises:
        UserError: The inputs do not make whole channels.
    """
    outs, inputs = matrix.shape
    if inputs % kernel**2:
        raise UserError(f"{inputs} inputs are no whole channels of {kernel}x{kernel}")
    return matrix.reshape(outs, inputs // kernel**2, kernel, kernel)


def decimate(weights: np.ndarray, *, kernel: int) -> np.ndarray:
    """Views every n-th tap of an OIHW kernel, first and last included, as a smaller kernel.

    Of 7 taps, a kernel of 3 keeps 0, 3, 6 and a kernel of 4 keeps 0, 2, 4, 6. With the rate
    multiplied by n each tap stays over the pixel that it was trained on, and the field of view is
    the same: 7 taps at rate 4, 4 at rate 8 and 3 at rate 12 all span 25 units.

    Raises:
        UserError: The kept taps would not lie evenly.
    """
    size = weights.shape[2]
    step, rest = divmod(size - 1, kernel - 1)
    if rest or weights.shape[3] != size:
        raise UserError(f"of {size} taps {kernel} cannot be kept at even steps from end to end")
    return weights[:, :, ::step, ::step]


def choose_channels(rng: np.random.Generator, channels: int, *, keep: int) -> np.ndarray:
    """Draws `keep` different channel numbers, in ascending order."""
    return np.sort(rng.choice(channels, keep, replace=False))


def oihw_to_hwio(
    weights: np.ndarray, *, outs: np.ndarray | None = None, ins: np.ndarray | None = None
) -> np.ndarray:
    """Copies a kernel as float32 HWIO, of the chosen output and input channels if any are.

    It converts piece by piece and gives the pages of a mapped file back, so that it takes no more
    memory than the result.
    """
    outs = np.arange(len(weights)) if outs is None else outs
    ins = np.arange(weights.shape[1]) if ins is None else ins
    kernel = np.empty((*weights.shape[2:], len(ins), len(outs)), np.float32)
    step = max(1, PIECE // weights[0].size)
    for start in range(0, len(outs), step):
        piece = weights[outs[start : start + step]]
        kernel[..., start : start + step] = piece[:, ins].transpose(2, 3, 1, 0)
        drop_pages(weights)
    return kernel


def hwio_to_oihw(kernel: np.ndarray) -> np.ndarray:
    """Copies an HWIO kernel as OIHW."""
    return np.ascontiguousarray(kernel.transpose(3, 2, 0, 1))


def iohw_to_hwio(weights: np.ndarray) -> np.ndarray:
    """Copies the kernel (in, out, height, width) of a deconvolution as float32 HWIO.

    No tap is flipped, here or in `ops.upsample.conv_transpose`: the first meets the first pixel.
    """
    return np.ascontiguousarray(weights.transpose(2, 3, 0, 1), np.float32)


def ungroup(weights: np.ndarray) -> np.ndarray:
    """Views a deconvolution of every channel by itself, (channels, 1, height, width), as dense.

    Any other deconvolution comes back as it is.
    """
    channels, outs = weights.shape[:2]
    if outs != 1 or channels == 1:
        return weights
    dense = np.zeros((channels, *weights.shape[2:], channels), weights.dtype)
    dense[np.arange(channels), :, :, np.arange(channels)] = weights[:, 0]
    return dense.transpose(0, 3, 1, 2)


def hwio_to_iohw(kernel: np.ndarray) -> np.ndarray:
    """Copies the HWIO kernel of a deconvolution as (in, out, height, width)."""
    return np.ascontiguousarray(kernel.transpose(2, 3, 0, 1))
