"""How well boundaries are drawn: mean IoU of the pixels near to them, for bands of many widths."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from fcn_jax.reports.runs import Group
from fcn_jax.reports.tables import Table, decimals

_SHOWN_PX = (1, 2, 5, 10, 20, 40)


def band_scores(group: Group) -> Float[np.ndarray, " bands"] | None:
    """Returns the mean IoU within 1 pixel of a boundary, within 2 and so on, over the seeds.

    None if a run has no counts of bands: an older version evaluated it.
    """
    from fcn_jax.ops.metrics import ClassSums  # here and not above: it imports jax

    if any(run.images is None for run in group.runs):
        return None
    convention = group.first.evaluation["convention"]
    found = [ClassSums.of(r.images.band_counts).scores(convention=convention) for r in group.runs]
    return np.mean([scores["mean_iou"] for scores in found], axis=0)


def band_table(groups: Sequence[Group], bands: Sequence[Float[np.ndarray, " bands"]]) -> Table:
    """Makes the table of some widths, a row for each group."""
    widths = [width for width in _SHOWN_PX if width <= min(map(len, bands))]
    rows = [
        [group.name, *(decimals(float(band[width - 1]), 4) for width in widths)]
        for group, band in zip(groups, bands, strict=True)
    ]
    title = "Mean IoU of the pixels that have another class within some pixels"
    return Table(title, ["run", *(f"{width} px" for width in widths)], rows, num_left=1)
