"""The pictures of a comparison: curves, scores of each class, sample predictions.

A run has the same colour in all of them, and runs that differ in their seeds alone share it. Sizes
are in inches.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure  # not pyplot: no window, no state
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import LogLocator, NullLocator

from fcn_jax.atomic_file import replacing
from fcn_jax.reports.runs import SCORES, Group
from fcn_jax.train.run_folder import open_picture

# Okabe and Ito (2008): told apart with any colour vision. Its yellow is left out (too pale on
# white) and black comes last. Markers repeat with another period, so that 8 + n differ too.
_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<")

_LEGEND_LINE = 0.19  # at the font size below

_STYLE = {
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


@matplotlib.rc_context(_STYLE)
def draw_curves(groups: Sequence[Group], path: Path) -> None:
    """Draws the training loss (thin: as logged, thick: running mean) and the mean IoU."""
    handles = [Line2D([], [], label=group.name, **_look(i)) for i, group in enumerate(groups)]
    height = 3.6 + _LEGEND_LINE * _legend_lines(handles, 8.6)
    figure = Figure(figsize=(8.6, height), layout="constrained")
    loss_axes, iou_axes = figure.subplots(1, 2, sharex=True)
    losses, ends = [], []
    for look, run in ((_look(i), run) for i, group in enumerate(groups) for run in group.runs):
        if run.train_log:
            steps = [line["step"] for line in run.train_log]
            loss = np.array([line["loss"] for line in run.train_log])
            losses.append(_running_mean(loss))
            loss_axes.plot(steps, loss, color=look["color"], linewidth=0.6, alpha=0.25)
            loss_axes.plot(steps, losses[-1], color=look["color"])
        # None where the labels of the whole split are void.
        ious = {s: e["mean_iou"] for s, e in run.evaluations.items() if e["mean_iou"] is not None}
        if ious:
            steps, ious = np.array(list(ious.items())).T
            iou_axes.plot(steps, ious, **look)
            ends.append((ious[-1], steps[-1], look["color"]))
    if losses and max(map(np.max, losses)) > 20 * min(map(np.min, losses)):
        loss_axes.set_yscale("log")
        loss_axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        loss_axes.yaxis.set_major_formatter("{x:g}")
        loss_axes.yaxis.set_minor_locator(NullLocator())
    else:
        loss_axes.set_ylim(bottom=0)
    iou_axes.set_ylim(bottom=0)
    _write_ends(iou_axes, ends)
    loss_axes.set_title("Training loss")
    iou_axes.set_title(f"Mean IoU on {groups[0].first.evaluation['split']}")
    for axes in (loss_axes, iou_axes):
        axes.set_xlabel("step")
        axes.set_xlim(left=0)
        axes.grid(axis="y")
        axes.locator_params(axis="x", nbins=5)
        axes.xaxis.set_major_formatter("{x:,.0f}")
    _add_legend(figure, handles)
    _save(figure, path)


@matplotlib.rc_context(_STYLE)
def draw_class_iou(groups: Sequence[Group], path: Path) -> None:
    """Draws the IoU of each class as bars, the mean above them; a line joins the seeds' values."""
    first = groups[0].first
    names = ["mean", *first.class_names]
    rows = np.arange(len(names), dtype=float)
    rows[1:] += 0.25  # the mean stands apart
    handles = [Patch(color=_look(i)["color"], label=group.name) for i, group in enumerate(groups)]
    height = len(names) * max(0.3, 0.13 * len(groups)) + _LEGEND_LINE * _legend_lines(handles, 7.0)
    figure = Figure((7.0, 1.1 + height), layout="constrained")
    axes = figure.subplots()
    height = 0.8 / len(groups)
    for index, group in enumerate(groups):
        values = np.column_stack([group.scores("mean_iou"), group.class_iou])
        means, middles = values.mean(0), rows + (index - (len(groups) - 1) / 2) * height
        color = _look(index)["color"]
        bars = axes.barh(middles, np.nan_to_num(means), 0.92 * height, color=color)
        texts = ["-" if np.isnan(mean) else f"{mean:.3f}" for mean in means]
        axes.bar_label(bars, texts, padding=3, fontsize=6.5, color="#333333")
        if len(values) > 1:
            axes.hlines(middles, values.min(0), values.max(0), color="#333333", linewidth=1)
    axes.set_yticks(rows, names)
    axes.get_yticklabels()[0].set_fontweight("bold")
    axes.set_ylim(rows[-1] + 0.55, -0.55)
    axes.set_xlim(0, 1)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel(f"IoU on {first.evaluation['split']}")
    axes.grid(axis="x")
    _add_legend(figure, handles)
    _save(figure, path)


@matplotlib.rc_context(_STYLE)
def draw_predictions(groups: Sequence[Group], path: Path, *, ids: Sequence[str]) -> None:
    """Draws a row for each image: itself, the truth, and the prediction of each first run.

    All are in the colours of the first truth: other files may have those of another day.
    """
    runs = [group.first for group in groups]
    with open_picture(runs[0].sample_files(ids[0])[1]) as truth:
        palette = np.array(truth.getpalette("RGB"), np.uint8).reshape(-1, 3)
    rows, used = [], set()
    for image_id in ids:
        image, label, _ = runs[0].sample_files(image_id)
        numbers = [_read(file) for file in (label, *(r.sample_files(image_id)[2] for r in runs))]
        rows.append([_read(image), *(palette[of] for of in numbers)])
        used.update(*(np.unique(of).tolist() for of in numbers))
    titles = ["image", "truth"]
    titles += [f"{run.name}\n{SCORES['mean_iou']} {run.scores['mean_iou']:.4f}" for run in runs]

    cell = 2.1
    heights = [cell * row[0].shape[0] / row[0].shape[1] for row in rows]
    handles = [
        Patch(facecolor=palette[i] / 255, edgecolor="#888888", linewidth=0.5, label=name)
        for i, name in [*enumerate(runs[0].class_names), (255, "void")]
        if i in used
    ]
    width = cell * len(titles)
    height = sum(heights) + 0.7 + _LEGEND_LINE * _legend_lines(handles, width)
    figure = Figure((width, height), layout="compressed")
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0, hspace=0)
    grid = figure.subplots(
        len(rows), len(titles), squeeze=False, gridspec_kw={"height_ratios": heights}
    )
    for axes, picture in zip(grid.flat, (p for row in rows for p in row), strict=True):
        axes.imshow(picture, interpolation="nearest")
        axes.set_axis_off()
    fontsize = min(8.5, 250 / max(len(run.name) for run in runs))  # as wide as a cell
    for axes, title in zip(grid[0], titles, strict=True):
        axes.set_title(title, fontsize=fontsize, fontweight="normal", loc="center", pad=4)
    _add_legend(figure, handles, "outside lower center", handlelength=1.2, handleheight=1.0)
    _save(figure, path, bbox_inches="tight", pad_inches=0.05)


@matplotlib.rc_context(_STYLE)
def draw_confusion(
    counts: np.ndarray, path: Path, *, class_names: Sequence[str], title: str
) -> None:
    """Draws a confusion matrix: what share of each true class (a row) was predicted as what.

    Args:
        counts: Confusion counts `[k, k]`, rows true, columns predicted.
        class_names: Names of the k classes.
        title: Heading.
    """
    true = counts.sum(1, keepdims=True)
    share = np.where(true > 0, counts / np.maximum(true, 1), np.nan)
    num_classes = len(class_names)
    cell = 0.42 if num_classes <= 30 else 0.2
    side = 1.8 + cell * num_classes
    figure = Figure((side, side), layout="constrained")
    axes = figure.subplots()
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    if num_classes <= 30:
        for (row, column), value in np.ndenumerate(share):
            if value >= 0.005:
                color = "white" if value > 0.55 else "#222222"
                text = f"{100 * value:.0f}"
                axes.text(column, row, text, color=color, fontsize=7, ha="center", va="center")
    axes.set_xticks(range(num_classes), class_names, rotation=90)
    axes.set_yticks(range(num_classes), class_names)
    axes.tick_params(length=0, labelsize=8 if num_classes <= 30 else 6)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("predicted, % of the pixels of the true class")
    axes.set_ylabel("true")
    axes.set_title(title)
    _save(figure, path)


def _save(figure: Figure, path: Path, **options: Any) -> None:
    with replacing(path) as beside:
        figure.savefig(beside, format="png", **options)


def _read(file: Path) -> np.ndarray:
    return np.asarray(open_picture(file))


def _look(index: int) -> dict[str, str]:
    return {
        "color": _COLORS[index % len(_COLORS)],
        "marker": _MARKERS[index % len(_MARKERS)],
    }


def _legend_lines(handles: Sequence, width: float) -> int:
    column = 0.6 + 0.075 * max(len(handle.get_label()) for handle in handles)
    return math.ceil(len(handles) / max(1, width // column))


def _add_legend(figure: Figure, handles: Sequence, loc: str = "outside upper center", **options):
    """Puts as many columns on a line as fit, and on every line (nearly) as many."""
    columns = math.ceil(len(handles) / _legend_lines(handles, figure.get_figwidth()))
    figure.legend(handles=handles, loc=loc, ncols=columns, borderaxespad=0, **options)


def _write_ends(axes: Axes, ends: Sequence[tuple[float, float, str]]) -> None:
    """Writes the last value of each curve at its end, lower where two would overlap."""
    top = axes.get_ylim()[1]
    place = math.inf
    for value, step, color in sorted(ends, reverse=True):
        place = min(value, place - 0.055 * top)
        axes.annotate(
            f"{value:.3f}",
            (step, place),
            (7, 0),
            textcoords="offset points",
            va="center_baseline",
            color=color,
            annotation_clip=False,
        )


def _running_mean(values: np.ndarray) -> np.ndarray:
    """Averages over a window of a twentieth of the series, narrower at both ends."""
    window = np.ones(max(1, len(values) // 20))
    total = np.convolve(values, window, mode="same")
    return total / np.convolve(np.ones_like(values), window, mode="same")
