"""Figures of scores: curves, bars of each class, intervals, bands, costs. Sizes are in inches."""

import math
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import LogLocator, NullLocator

from fcn_jax.reports.figure_style import (
    LEGEND_LINE,
    STYLE,
    add_legend,
    legend_lines,
    look_of,
    run_handles,
    save_figure,
)
from fcn_jax.reports.intervals import Differences
from fcn_jax.reports.runs import Group


@matplotlib.rc_context(STYLE)
def draw_curves(groups: Sequence[Group], path: Path) -> None:
    """Draws the training loss (thin: as logged, thick: running mean) and the mean IoU."""
    handles = run_handles(groups)
    height = 3.6 + LEGEND_LINE * legend_lines(handles, 8.6)
    figure = Figure(figsize=(8.6, height), layout="constrained")
    loss_axes, iou_axes = figure.subplots(1, 2, sharex=True)
    _plot_loss(loss_axes, groups)
    _plot_mean_iou(iou_axes, groups)
    add_legend(figure, handles)
    save_figure(figure, path)


@matplotlib.rc_context(STYLE)
def draw_class_iou(groups: Sequence[Group], path: Path) -> None:
    """Draws the IoU of each class as bars, the mean above them; a line joins the seeds' values."""
    handles = [Patch(color=look_of(i)["color"], label=group.name) for i, group in enumerate(groups)]
    above = LEGEND_LINE * legend_lines(handles, 7.0)
    figure = plot_class_iou(groups, width=7.0, above=above)
    add_legend(figure, handles)
    save_figure(figure, path)


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
        color = look_of(index)["color"]
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
        look = look_of(index + 1)
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
        look = look_of(index)
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
        values, look = group.scores("mean_iou"), look_of(index)
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
    for look, run in ((look_of(i), run) for i, group in enumerate(groups) for run in group.runs):
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
    for look, run in ((look_of(i), run) for i, group in enumerate(groups) for run in group.runs):
        # None where the labels of the whole split are void.
        ious = {s: e["mean_iou"] for s, e in run.evaluations.items() if e["mean_iou"] is not None}
        if ious:
            steps, ious = np.array(list(ious.items())).T
            axes.plot(steps, ious, **look, clip_on=False)  # the best marker lies on the edge
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
