"""Where the windows lie that a picture is cut into, and the sizes that pictures are padded to."""

from collections.abc import Iterator
from typing import NamedTuple

# Strides of networks divide it: a window that begins at a multiple sees the grids of the whole.
ALIGNMENT = 32
AUTO_WINDOW = 1024  # pixels: of pictures that are larger than AUTO_AREA, unless a window is given
AUTO_AREA = 4 * AUTO_WINDOW**2
_LEAST_RUNG = 384
_MARGIN_SHARE = 8  # a window reads an eighth of its side more than it keeps, at each end


class Span(NamedTuple):
    """A window along one side of a picture, in pixels of that side.

    Attributes:
        start: Where the window begins.
        stop: Where it ends; perhaps beyond the picture.
        keep_from: Where the pixels begin that are taken from this window.
        keep_to: Where they end.
    """

    start: int
    stop: int
    keep_from: int
    keep_to: int


def find_rung(side: int) -> int:
    """Returns the least of 384, 512, 768, 1024, 1536, ... that a side fits into.

    These are powers of two and the numbers halfway between them, so that a side grows by a half at
    most (by more below 384), and all pictures of up to 512x512 pixels share four shapes.
    """
    if side <= _LEAST_RUNG:
        return _LEAST_RUNG
    power = 1 << (side - 1).bit_length()
    return power * 3 // 4 if side <= power * 3 // 4 else power


def cut_side(side: int, window: int) -> Iterator[Span]:
    """Yields the windows of a side in order: together they keep every pixel once.

    A pixel is taken from the window in which it is an eighth of the window or more from an edge
    that is none of the picture's.

    Args:
        side: Length of the side, in pixels.
        window: Length of a window, in pixels, `ALIGNMENT` or more.
    """
    margin = window // _MARGIN_SHARE
    step = (window - 2 * margin) // ALIGNMENT * ALIGNMENT or ALIGNMENT
    margin = (window - step) // 2
    start = 0
    while True:
        is_last = start + window >= side
        yield Span(
            start=start,
            stop=start + window,
            keep_from=start + margin if start else 0,
            keep_to=side if is_last else start + step + margin,
        )
        if is_last:
            return
        start += step
