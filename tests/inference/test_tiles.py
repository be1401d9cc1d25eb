"""Windows keep every pixel once, and a picture is padded to one of few sizes."""

import numpy as np
import pytest

from fcn_jax.inference.tiles import ALIGNMENT, cut_side, find_rung


@pytest.mark.parametrize("window", [64, 65, 100, 513, 1024])
def test_windows_keep_every_pixel_once_and_far_from_their_edges(window):
    for side in range(1, 5 * window, 37):
        spans = list(cut_side(side, window))
        kept = np.concatenate([np.arange(span.keep_from, span.keep_to) for span in spans])
        np.testing.assert_array_equal(kept, np.arange(side))
        for span in spans:
            assert span.stop - span.start == window and span.start % ALIGNMENT == 0
            for edge, end, kept in (
                (span.start, 0, span.keep_from),
                (span.stop, side, span.keep_to),
            ):
                if edge * (-1 if end else 1) > end * (-1 if end else 1):  # no edge of the picture
                    assert abs(kept - edge) >= window // 8


def test_a_side_that_fits_is_one_window():
    for side in (1, 99, 100):
        [span] = cut_side(side, 100)
        assert span == (0, 100, 0, side)


def test_sides_share_few_lengths_and_grow_by_a_half_at_most():
    rungs = {find_rung(side) for side in range(1, 5000)}
    assert sorted(rungs) == [384, 512, 768, 1024, 1536, 2048, 3072, 4096, 6144]
    for side in range(1, 5000):
        rung = find_rung(side)
        assert side <= rung and (rung == 384 or 2 * rung < 3 * side)
    assert all(find_rung(rung) == rung for rung in rungs)
