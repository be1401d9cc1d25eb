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
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import LogLocator, NullLocator

from fcn_jax.atomic_file import replacing
from fcn_jax.reports.intervals import Differences
from fcn_jax.reports.pictures import read_palette, read_scene
from fcn_jax.reports.runs import SCORES, Group

# Okabe and Ito (2008): told apart with any colour vision. Its yellow is left out (too pale on
# white) and black comes last. Markers repeat with another period, so that 8 + n differ too.
_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<")

# Cells of a confusion matrix, and the numbers on the dark ones.
_HEAT, _ON_HEAT = "#1a66aa", "#fefefe"

_LEGEND_LINE = 0.19  # at the font size below

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


@matplotlib.rc_context(STYLE)
def draw_curves(groups: Sequence[Group], path: Path) -> None:
    """Draws the training loss (thin: as logged, thick: running mean) and the mean IoU."""
    handles = run_handles(groups)
    height = 3.6 + _LEGEND_LINE * _legend_lines(handles, 8.6)
    figure = Figure(figsize=(8.6, height), layout="constrained")
    loss_axes, iou_axes = figure.subplots(1, 2, sharex=True)
    _plot_loss(loss_axes, groups)
    _plot_mean_iou(iou_axes, groups)
    _add_legend(figure, handles)
    _save(figure, path)


@matplotlib.rc_context(STYLE)
def draw_class_iou(groups: Sequence[Group], path: Path) -> None:
    """Draws the IoU of each class as bars, the mean above them; a line joins the seeds' values."""
    handles = [Patch(color=_look(i)["color"], label=group.name) for i, group in enumerate(groups)]
    above = _LEGEND_LINE * _legend_lines(handles, 7.0)
    figure = plot_class_iou(groups, width=7.0, above=above)
    _add_legend(figure, handles)
    _save(figure, path)


def run_handles(groups: Sequence[Group]) -> list[Line2D]:
    """Makes the entries of a legend."""
    return [Line2D([], [], label=group.name, **_look(i)) for i, group in enumerate(groups)]


@matplotlib.rc_context(STYLE)
def plot_loss(groups: Sequence[Group]) -> Figure:
    """Plots the training loss: thin as logged, thick the running mean."""
    figure, axes = _panel(3.0)
    _plot_loss(axes, groups)
    return figure


@matplotlib.rc_context(STYLE)
def plot_mean_iou(groups: Sequence[Group]) -> Figure:
    """Plots the mean IoU of every evaluation."""
    figure, axes = _panel(3.0)
    _plot_mean_iou(axes, groups)
    return figure


@matplotlib.rc_context(STYLE)
def plot_class_iou(groups: Sequence[Group], *, width: float = 4.6, above: float = 0.0) -> Figure:
    """Plots the IoU of each class as bars; `above` is room for a legend, in inches."""
    first = groups[0].first
    names = ["mean", *first.class_names]
    rows = np.arange(len(names), dtype=float)
    rows[1:] += 0.25  # the mean stands apart
    height = len(names) * max(0.3, 0.15 * len(groups)) + above
    figure = Figure((width, 1.1 + height), layout="constrained")
    axes = figure.subplots()
    height = 0.8 / len(groups)
    for index, group in enumerate(groups):
        values = np.column_stack([group.scores("mean_iou"), group.class_iou])
        means, middles = values.mean(0), rows + (index - (len(groups) - 1) / 2) * height
        color = _look(index)["color"]
        axes.barh(middles, np.nan_to_num(means), 0.92 * height, color=color)
        for mean, most, middle in zip(means, values.max(0), middles, strict=True):
            text, at = ("-", 0) if np.isnan(mean) else (f"{mean:.3f}", most)
            offset = {"xytext": (3, -0.5), "textcoords": "offset points", "va": "center"}
            axes.annotate(text, (at, middle), fontsize=7, color="#333333", **offset)
        if len(values) > 1:
            axes.hlines(middles, values.min(0), values.max(0), color="#333333", linewidth=1)
    _name_rows(axes, rows, names)
    axes.set_xlim(0, 1)
    axes.set_xlabel(f"IoU on {first.evaluation['split']}")
    return figure


@matplotlib.rc_context(STYLE)
def plot_differences(groups: Sequence[Group], differences: Sequence[Differences]) -> Figure:
    """Plots what each IoU is above that of the first group.

    Thick lines are the intervals over images, thin ones those over images and seeds.
    """
    names = ["mean", *groups[0].first.class_names]
    rows = np.arange(len(names), dtype=float)
    rows[1:] += 0.25
    figure = Figure(
        (4.6, 1.0 + len(names) * max(0.26, 0.12 * len(differences))), layout="constrained"
    )
    axes = figure.subplots()
    axes.axvline(0, color="#888888", linewidth=1)
    step = 0.8 / len(differences)
    for index, difference in enumerate(differences):
        look = _look(index + 1)
        middles = rows + (index - (len(differences) - 1) / 2) * step
        for row, of in zip(
            middles, [difference.scores["mean_iou"], *difference.class_iou], strict=True
        ):
            if math.isnan(of.value):
                continue
            axes.plot([of.seeds_low, of.seeds_high], [row, row], color=look["color"], linewidth=0.9)
            axes.plot([of.low, of.high], [row, row], color=look["color"], linewidth=2.6)
            axes.plot([of.value], [row], **look)
    # What the images say fills the figure; two seeds may say so little that a line leaves it.
    shown = [of for d in differences for of in (d.scores["mean_iou"], *d.class_iou)]
    ends = np.array([(of.low, of.high, of.value) for of in shown])
    reach = 1.5 * np.nanmax(np.abs(ends), initial=0.01)
    low, high = 1.5 * np.nanmin(ends), 1.5 * np.nanmax(ends)
    axes.set_xlim(max(-1.0, min(low, -0.1 * reach)), min(1.0, max(high, 0.1 * reach)))
    _name_rows(axes, rows, names)
    axes.set_xlabel(f"IoU above that of {groups[0].name}")
    axes.xaxis.set_major_formatter("{x:+.2g}")
    axes.locator_params(axis="x", nbins=5)
    return figure


@matplotlib.rc_context(STYLE)
def plot_bands(groups: Sequence[Group], bands: Sequence[np.ndarray]) -> Figure:
    """Plots the mean IoU of the pixels near a boundary against how near they are.

    Args:
        groups: Groups of runs.
        bands: Mean IoU of each group at widths of 1 pixel, 2 pixels and so on.
    """
    figure, axes = _panel(3.0)
    for index, (group, values) in enumerate(zip(groups, bands, strict=True)):
        look = _look(index)
        widths = np.arange(1, len(values) + 1)
        axes.plot(widths, values, label=group.name, markevery=4, **look)
    axes.set_xlabel("width of the band around boundaries, pixels")
    axes.set_title(f"Mean IoU near boundaries, {groups[0].first.evaluation['split']}")
    axes.set_xlim(left=0)
    axes.grid(axis="y")
    return figure


@matplotlib.rc_context(STYLE)
def plot_cost(groups: Sequence[Group], costs: Sequence[float], *, what: str) -> Figure:
    """Plots mean IoU against a cost; groups without it (NaN) are left out.

    Args:
        groups: Groups of runs.
        costs: Cost of each group.
        what: What the cost is, with its unit.
    """
    figure, axes = _panel(2.6)
    for index, (group, cost) in enumerate(zip(groups, costs, strict=True)):
        if math.isnan(cost):
            continue
        values, look = group.scores("mean_iou"), _look(index)
        axes.plot([cost, cost], [values.min(), values.max()], color=look["color"], linewidth=1)
        axes.plot([cost], [values.mean()], linestyle="", **{**look, "markersize": 7})
    known = [cost for cost in costs if not math.isnan(cost)]
    if known and max(known) > 5 * min(known):
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlabel(what)
    axes.set_title("Mean IoU")
    axes.margins(0.12)
    axes.grid()
    return figure


def _panel(height: float) -> tuple[Figure, Axes]:
    """Makes one panel, as wide as a phone."""
    figure = Figure((4.6, height), layout="constrained")
    return figure, figure.subplots()


def _name_rows(axes: Axes, rows: np.ndarray, names: Sequence[str]) -> None:
    axes.set_yticks(rows, names)
    axes.get_yticklabels()[0].set_fontweight("bold")
    axes.set_ylim(rows[-1] + 0.55, -0.55)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")


def _plot_loss(axes: Axes, groups: Sequence[Group]) -> None:
    losses = []
    for look, run in ((_look(i), run) for i, group in enumerate(groups) for run in group.runs):
        if run.train_log:
            steps = [line["step"] for line in run.train_log]
            loss = np.array([line["loss"] for line in run.train_log])
            losses.append(_running_mean(loss))
            axes.plot(steps, loss, color=look["color"], linewidth=0.6, alpha=0.25)
            axes.plot(steps, losses[-1], color=look["color"])
    if losses and max(map(np.max, losses)) > 20 * min(map(np.min, losses)):
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_locator(NullLocator())
    else:
        axes.set_ylim(bottom=0)
    axes.set_title("Training loss")
    _count_steps(axes)


def _plot_mean_iou(axes: Axes, groups: Sequence[Group]) -> None:
    ends = []
    for look, run in ((_look(i), run) for i, group in enumerate(groups) for run in group.runs):
        # None where the labels of the whole split are void.
        ious = {s: e["mean_iou"] for s, e in run.evaluations.items() if e["mean_iou"] is not None}
        if ious:
            steps, ious = np.array(list(ious.items())).T
            axes.plot(steps, ious, **look)
            ends.append((ious[-1], steps[-1]))
    axes.set_ylim(bottom=0)
    _write_ends(axes, ends)
    axes.set_title(f"Mean IoU on {groups[0].first.evaluation['split']}")
    _count_steps(axes)


def _count_steps(axes: Axes) -> None:
    axes.set_xlabel("step")
    axes.set_xlim(left=0)
    axes.grid(axis="y")
    axes.locator_params(axis="x", nbins=5)
    axes.xaxis.set_major_formatter("{x:,.0f}")


@matplotlib.rc_context(STYLE)
def draw_predictions(groups: Sequence[Group], path: Path, *, ids: Sequence[str]) -> None:
    """Draws a row for each image: itself, the truth, and the prediction of each first run."""
    figure = plot_predictions(groups, ids=ids)
    _save(figure, path, bbox_inches="tight", pad_inches=0.05)


@matplotlib.rc_context(STYLE)
def plot_predictions(groups: Sequence[Group], *, ids: Sequence[str]) -> Figure:
    """Plots a row for each image: itself, the truth, and the prediction of each first run."""
    runs = [group.first for group in groups]
    palette = read_palette(runs[0], ids[0])
    rows, used = [], set()
    for image_id in ids:
        scene = read_scene(runs, image_id)
        numbers = [scene.label, *scene.preds]
        rows.append([scene.image, *(palette[of] for of in numbers)])
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
    return figure


@matplotlib.rc_context(STYLE)
def draw_confusion(
    counts: np.ndarray, path: Path, *, class_names: Sequence[str], title: str
) -> None:
    """Draws a confusion matrix as a picture; see `plot_confusion`."""
    _save(plot_confusion(counts, class_names=class_names, title=title), path)


_MOST_NUMBERED = 30  # classes whose confusions are written as numbers


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


@matplotlib.rc_context(STYLE)
def add_run_legend(figure: Figure, groups: Sequence[Group]) -> Figure:
    """Puts the names of the runs above a figure, which grows by as much."""
    handles = run_handles(groups)
    lines = _legend_lines(handles, figure.get_figwidth())
    figure.set_figheight(figure.get_figheight() + _LEGEND_LINE * lines)
    _add_legend(figure, handles)
    return figure


def _save(figure: Figure, path: Path, **options: Any) -> None:
    with replacing(path) as beside:
        figure.savefig(beside, format="png", **options)


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


def _write_ends(axes: Axes, ends: Sequence[tuple[float, float]]) -> None:
    """Writes the last value of each curve at its end, lower where two would overlap."""
    top = axes.get_ylim()[1]
    place = math.inf
    for value, step in sorted(ends, reverse=True):
        place = min(value, place - 0.055 * top)
        axes.annotate(
            f"{value:.3f}",
            (step, place),
            (7, 0),
            textcoords="offset points",
            va="center_baseline",
            color="#333333",
            annotation_clip=False,
        )


def _running_mean(values: np.ndarray) -> np.ndarray:
    """Averages over a window of a twentieth of the series, narrower at both ends."""
    window = np.ones(max(1, len(values) // 20))
    total = np.convolve(values, window, mode="same")
    return total / np.convolve(np.ones_like(values), window, mode="same")
