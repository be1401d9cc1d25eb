"""A confusion matrix as a picture."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from fcn_jax.reports.figure_style import STYLE, save_figure

_HEAT, _ON_HEAT = "#1a66aa", "#fefefe"  # cells, and the numbers on the dark ones
_MOST_NUMBERED = 30  # classes whose confusions are written as numbers


@matplotlib.rc_context(STYLE)
def draw_confusion(
    counts: np.ndarray, path: Path, *, class_names: Sequence[str], title: str
) -> None:
    """Draws a confusion matrix as a picture; see `plot_confusion`."""
    save_figure(plot_confusion(counts, class_names=class_names, title=title), path)


@matplotlib.rc_context(STYLE)
def plot_confusion(counts: np.ndarray, *, class_names: Sequence[str], title: str) -> Figure:
    """Plots what share of each true class (a row) was predicted as what; 0 % is left out.

    Args:
        counts: Confusion counts `[k, k]`, rows true, columns predicted.
        class_names: Names of the k classes.
        title: Heading.
    """
    counts = np.asarray(counts, np.int64)
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    num_classes = len(class_names)
    is_numbered = num_classes <= _MOST_NUMBERED
    cell = max(0.36, min(0.6, 3.4 / num_classes)) if is_numbered else 0.16
    side = 1.3 + cell * num_classes
    figure = Figure((side, side), layout="constrained")
    axes = figure.subplots()
    for row, column in zip(*np.nonzero(share >= 0.005), strict=True):
        value = share[row, column]
        corner = column - 0.5, row - 0.5
        axes.add_patch(Rectangle(corner, 1, 1, facecolor=_HEAT, alpha=value, linewidth=0))
        if is_numbered:
            color = _ON_HEAT if value > 0.6 else "#000000"
            text = f"{100 * value:.0f}"
            axes.text(column, row, text, color=color, fontsize=7.5, ha="center", va="center")
    axes.set_xlim(-0.5, num_classes - 0.5)
    axes.set_ylim(num_classes - 0.5, -0.5)
    axes.set_aspect("equal")
    axes.set_xticks(range(num_classes), class_names, rotation=90)
    axes.set_yticks(range(num_classes), class_names)
    axes.tick_params(length=0, labelsize=8 if is_numbered else 5)
    axes.set_xlabel("predicted, % of the true class")
    axes.set_ylabel("true")
    axes.set_title(title)
    return figure
