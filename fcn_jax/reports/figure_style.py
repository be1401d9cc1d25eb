"""How figures look: colours and markers of runs, legends, fonts. Sizes are in inches.

A run has the same colour in all figures, and runs that differ in their seeds alone share it.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure  # not pyplot: no window, no state
from matplotlib.lines import Line2D

from fcn_jax.atomic_file import replacing
from fcn_jax.reports.runs import Group

# Okabe and Ito (2008): told apart with any colour vision. Its yellow is left out (too pale on
# white) and black comes last. Markers repeat with another period, so that 8 + n differ too.
_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<")

LEGEND_LINE = 0.19  # at the font size below

STYLE = {
    "font.size": 9,
    "text.parse_math": False,  # a class may be named "$5 | <note>"
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#888888",
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "xtick.color": "#444444",
    "ytick.color": "#444444",
    "grid.color": "#e4e4e4",
    "axes.axisbelow": True,
    "lines.linewidth": 1.8,
    "lines.markersize": 4.5,
    "legend.frameon": False,
    "savefig.dpi": 160,
}


def run_handles(groups: Sequence[Group]) -> list[Line2D]:
    """Makes the entries of a legend."""
    return [Line2D([], [], label=group.name, **look_of(i)) for i, group in enumerate(groups)]


@matplotlib.rc_context(STYLE)
def add_run_legend(figure: Figure, groups: Sequence[Group]) -> Figure:
    """Puts the names of the runs above a figure, which grows by as much."""
    handles = run_handles(groups)
    lines = legend_lines(handles, figure.get_figwidth())
    figure.set_figheight(figure.get_figheight() + LEGEND_LINE * lines)
    add_legend(figure, handles)
    return figure


def save_figure(figure: Figure, path: Path, **options: Any) -> None:
    """Writes a figure as PNG, whole or not at all."""
    with replacing(path) as beside:
        figure.savefig(beside, format="png", **options)


def look_of(index: int) -> dict[str, str]:
    """Returns the colour and the marker of a run by its place in the comparison."""
    return {
        "color": _COLORS[index % len(_COLORS)],
        "marker": _MARKERS[index % len(_MARKERS)],
    }


def legend_lines(handles: Sequence, width: float) -> int:
    """Counts the lines that a legend of this width, in inches, takes."""
    column = 0.6 + 0.075 * max(len(handle.get_label()) for handle in handles)
    return math.ceil(len(handles) / max(1, width // column))


def add_legend(figure: Figure, handles: Sequence, *, loc: str = "outside upper center", **options):
    """Puts as many columns on a line as fit, and on every line (nearly) as many."""
    columns = math.ceil(len(handles) / legend_lines(handles, figure.get_figwidth()))
    figure.legend(handles=handles, loc=loc, ncols=columns, borderaxespad=0, **options)
