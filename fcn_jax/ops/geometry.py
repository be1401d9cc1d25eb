"""Where a unit looks: size, stride, offset and receptive field of a stack of layers.

A stack is a sequence of `Window` (convolution or pooling), `Upscore` (transposed convolution),
`Crop` and `WholeImage` layers, from the image upwards, along one axis; height and width never mix,
and every layer here is the same along both. Positions are in pixels of a layer's own grid, and
position 0 is the centre of its first pixel. Everything is exact (integers and
`fractions.Fraction`); nothing here touches an array. Sizes may be symbolic dimensions of
`jax.export`.

Source: Long et al. 2015, Sec. 3; the layer semantics of BVLC/caffe (conv_layer, pooling_layer,
deconv_layer, and the affine maps of python/caffe/coord_map.py).
"""

import functools
import math
from collections.abc import Sequence
from fractions import Fraction
from numbers import Integral
from typing import Any, NamedTuple

from fcn_jax.errors import UserError

# Pixels along an axis: an integer, or a symbolic dimension, whose type has no public name.
Size = Any


class Window(NamedTuple):
    """A convolution or a pooling: sizes in pixels of its input, padding the same on both sides."""

    kernel: int
    stride: int = 1
    pad: int = 0
    rate: int = 1
    ceil: bool = False  # Caffe's pooling rounds the number of windows up, its convolution down.

    @property
    def extent(self) -> int:
        """Pixels from the first to the last tap, both included."""
        return self.rate * (self.kernel - 1) + 1

    @property
    def padding(self) -> tuple[int, int]:
        """Zeros before and behind an axis: rounding up, a window may hang over the end."""
        return self.pad, self.pad + (self.stride - 1 if self.ceil else 0)


class Upscore(NamedTuple):
    """A transposed convolution: sizes in pixels of its output; `pad` is cut off on both sides."""

    kernel: int
    stride: int
    pad: int = 0


class Crop(NamedTuple):
    """Drops `offset` pixels at the beginning, or adds some where that is negative.

    Where it ends does not move any position.
    """

    offset: int


class WholeImage(NamedTuple):
    """Lets every unit see the whole image, as the mean of a map does; moves no position."""


def same(kernel: int, *, stride: int = 1, rate: int = 1, ceil: bool = False) -> Window:
    """Returns the window that is padded so that it keeps the size at stride 1.

    An even kernel at an odd rate cannot keep it: its units lie between those of its input, and are
    one more.
    """
    return Window(kernel, stride, pad=-(-rate * (kernel - 1) // 2), rate=rate, ceil=ceil)


def one_sided(kernel: int, *, stride: int) -> Window:
    """Returns TensorFlow's window for an odd kernel where the size is a multiple of the stride, 2.

    It has as many units as `same` has there, and a zero less before the first: they lie a pixel
    further on.
    """
    return Window(kernel, stride, pad=(kernel - stride) // 2, ceil=True)


Layer = Window | Upscore | Crop | WholeImage


def is_symbolic(*sizes: Size) -> bool:
    """Tells whether any of the sizes is a symbolic dimension of `jax.export`."""
    return not all(isinstance(size, Integral) for size in sizes)


def output_size(layer: Layer, size: Size) -> Size:
    """Computes how many units `layer` has over `size` pixels along one axis.

    Raises:
        UserError: if no window fits; a symbolic size is taken to be large enough.
    """
    match layer:
        case Window(_, stride, pad, _, ceil):
            room = 2 * pad - layer.extent
            if ceil:
                # A window may hang over the end by less than a stride, but Caffe drops one that
                # begins in the far padding: at most ceil((size + pad) / stride) begin before it.
                room = (min(room, pad - stride) if pad else room) + stride - 1
            # Written as XLA writes it: JAX does not recognise every form of a symbolic size.
            count = (size + room) // stride + 1
            if not is_symbolic(size) and count < 1:
                raise UserError(
                    f"{size} pixels are too few for a window of {layer.extent} with pad {pad}; "
                    "larger images or crops are needed"
                )
            return count
        case Upscore(kernel, stride, pad):
            return stride * (size - 1) + kernel - 2 * pad
        case Crop(offset):
            return size - offset
        case WholeImage():
            return size


def coord_map(layers: Sequence[Layer]) -> tuple[Fraction, Fraction]:
    """Returns (scale, shift): the image position x lands at x * scale + shift of the last grid."""
    return _coord_map(tuple(layers))


@functools.cache  # a trace of a network asks for the same stacks again and again
def _coord_map(layers: tuple[Layer, ...]) -> tuple[Fraction, Fraction]:
    scale, shift = Fraction(1), Fraction(0)
    for layer in layers:
        match layer:
            case Window(_, stride, pad):
                a, b = Fraction(1, stride), (pad - Fraction(layer.extent - 1, 2)) / stride
            case Upscore(kernel, stride, pad):
                a, b = Fraction(stride), Fraction(kernel - 1, 2) - pad
            case Crop(offset):
                a, b = Fraction(1), Fraction(-offset)
            case WholeImage():
                a, b = Fraction(1), Fraction(0)
        scale, shift = a * scale, a * shift + b
    return scale, shift


def stride_and_start(layers: Sequence[Layer]) -> tuple[Fraction, Fraction]:
    """Returns the image pixels between two units, and the image position of unit 0's centre."""
    scale, shift = coord_map(layers)
    return 1 / scale, -shift / scale


def crop_offset(layers: Sequence[Layer], reference: Sequence[Layer]) -> int:
    """Computes the unit of `layers` that lies where unit 0 of `reference` lies.

    Negative when `reference` begins before `layers` does.

    Raises:
        ValueError: if the two grids have different strides, or lie a fraction of a unit apart.
    """
    stride, start = stride_and_start(layers)
    reference_stride, reference_start = stride_and_start(reference)
    if stride != reference_stride:
        raise UserError(f"grids of stride {stride} and {reference_stride} cannot be aligned")
    offset = (reference_start - start) / stride
    if offset.denominator != 1:
        raise UserError(f"the grids lie {offset} units apart, which is no whole number")
    return int(offset)


def receptive_field(layers: Sequence[Layer], index: int) -> tuple[int, int]:
    """Returns the first and the last image pixel that unit `index` can depend on.

    Pixels beyond the image (in the padding) are counted, so either end may lie outside of it.

    Raises:
        ValueError: for a unit that sees the whole image, however large that is.
    """
    first = last = index
    for layer in reversed(layers):
        match layer:
            case Window(_, stride, pad):
                first = first * stride - pad
                last = last * stride - pad + layer.extent - 1
            case Upscore(kernel, stride, pad):
                first = -((kernel - 1 - first - pad) // stride)
                last = (last + pad) // stride
            case Crop(offset):
                first, last = first + offset, last + offset
            case WholeImage():
                raise ValueError("a unit that sees the whole image has no first and last pixel")
    return first, last


def field_size(layers: Sequence[Layer]) -> int | float:
    """Computes the largest receptive field of a unit, in image pixels, padding included.

    It is infinite where a unit sees the whole image. Units above a transposed convolution differ
    from each other with a period of its stride.
    """
    return _field_size(tuple(layers))


@functools.cache
def _field_size(layers: tuple[Layer, ...]) -> int | float:
    if WholeImage() in layers:
        return math.inf
    period = 1
    for layer in layers:
        if isinstance(layer, Upscore):
            period *= layer.stride
    fields = (receptive_field(layers, index) for index in range(period))
    return max(last - first + 1 for first, last in fields)


def covering(*paths: tuple[Layer, ...]) -> tuple[tuple[Layer, ...], ...]:
    """Drops every path whose receptive fields another one covers, for windows alone.

    Paths of windows to one grid look at concentric fields, so the widest covers all of them.
    """
    windows = [path for path in paths if all(isinstance(layer, Window) for layer in path)]
    widest = max(windows, key=field_size, default=None)
    return tuple(path for path in dict.fromkeys(paths) if path is widest or path not in windows)


class Hole(NamedTuple):
    """What the hole algorithm leaves of a strided layer.

    Attributes:
        stride: 1 where it was removed.
        rate: of the layer itself: a removed stride changes only what comes after it.
        rate_after: of the layers up to the next strided one.
    """

    stride: int
    rate: int
    rate_after: int


def hole_algorithm(strides: Sequence[int], output_stride: int) -> list[Hole]:
    """Removes every stride that would make the map coarser than `output_stride`.

    A removed stride multiplies the rates of everything after it, so that the same weights see the
    same pixels: the finer map, sampled at the old stride, is the old map. With `same` padding that
    rounds down it is so at every size; rounding up, where no removed stride had to round.

    Source: Chen et al. 2015, Sec. 3.1.
    """
    if output_stride not in (32, 16, 8, 4):
        raise UserError(f"unknown model.output_stride={output_stride}; known: 32, 16, 8, 4")
    holes, product, rate = [], 1, 1
    for stride in strides:
        before = rate
        if product * stride > output_stride:
            stride, rate = 1, rate * stride
        product *= stride
        holes.append(Hole(stride, before, rate))
    return holes
