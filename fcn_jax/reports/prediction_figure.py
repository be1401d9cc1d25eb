"""Sample predictions beside image and truth, as a picture."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from fcn_jax.reports.figure_style import LEGEND_LINE, STYLE, add_legend, legend_lines, save_figure
from fcn_jax.reports.pictures import read_palette, read_scene
from fcn_jax.reports.runs import SCORES, Group


@matplotlib.rc_context(STYLE)
def draw_predictions(groups: Sequence[Group], path: Path, *, ids: Sequence[str]) -> None:
    """Draws a row for each image: itself, the truth, and the prediction of each first run."""
    figure = plot_predictions(groups, ids=ids)
    save_figure(figure, path, bbox_inches="tight", pad_inches=0.05)


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
    height = sum(heights) + 0.7 + LEGEND_LINE * legend_lines(handles, width)
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
    add_legend(figure, handles, loc="outside lower center", handlelength=1.2, handleheight=1.0)
    return figure
