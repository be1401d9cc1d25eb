"""A comparison as the pages of a PDF: the tables and the figures of index.html."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.figure import Figure

from fcn_jax.atomic_file import replacing
from fcn_jax.reports import figures
from fcn_jax.reports.bands import band_scores, band_table
from fcn_jax.reports.comparison import Comparison
from fcn_jax.reports.confusion_figure import plot_confusion
from fcn_jax.reports.cost import list_costs
from fcn_jax.reports.figure_style import STYLE, add_run_legend
from fcn_jax.reports.intervals import find_missing
from fcn_jax.reports.prediction_figure import plot_predictions
from fcn_jax.reports.tables import (
    Table,
    class_difference_table,
    class_table,
    config_table,
    difference_table,
    split_score_table,
)

_LONGEST_PAGE = 32  # rows of a table


def make_pages(of: Comparison) -> Iterator[Figure]:
    """Makes one page after the other, each as large as what is on it."""
    groups, has_intervals = of.groups, bool(of.intervals) and not find_missing(of.groups)
    tables = [*split_score_table(groups, multiply_adds=of.multiply_adds)]
    if has_intervals:
        tables.append(difference_table(groups, of.intervals))
    tables.append(class_table(groups))
    if has_intervals:
        tables.append(class_difference_table(groups, of.intervals))
    for table in tables:
        yield from plot_table(table)
    plots = [figures.plot_class_iou(groups)]
    if has_intervals:
        plots.append(figures.plot_differences(groups, of.intervals))
    plots += [figures.plot_loss(groups), figures.plot_mean_iou(groups)]
    bands = [band_scores(group) for group in groups]
    if not any(band is None for band in bands):
        plots.append(figures.plot_bands(groups, bands))
    for what, numbers in list_costs(groups, of.multiply_adds):
        plots.append(figures.plot_cost(groups, numbers, what=what))
    for plot in plots:
        yield add_run_legend(plot, groups)
    if not any(band is None for band in bands):
        yield from plot_table(band_table(groups, bands))
    for group in groups:
        counts = sum(np.array(run.evaluation["counts"]) for run in group.runs)
        names = group.first.class_names
        yield plot_confusion(counts, class_names=names, title=group.name)
    if of.ids:
        yield plot_predictions(groups, ids=of.ids)
    yield from plot_table(config_table(groups))


@matplotlib.rc_context(STYLE)
def plot_table(table: Table) -> list[Figure]:
    """Sets a table in pages of paper, landscape."""
    pages = []
    for start in range(0, len(table.rows), _LONGEST_PAGE):
        rows = table.rows[start : start + _LONGEST_PAGE]
        cells = [list(table.header), *map(list, rows)]
        widths = [max(map(len, column)) + 2 for column in zip(*cells, strict=True)]
        figure = Figure((11.7, 1.0 + 0.22 * len(cells)))
        axes = figure.add_axes((0.04, 0.02, 0.92, 0.86))
        axes.set_axis_off()
        axes.set_title(table.title)
        drawn = axes.table(
            cellText=rows,
            colLabels=list(table.header),
            colWidths=[width / sum(widths) for width in widths],
            bbox=(0, 0, 1, 1),
            cellLoc="right",
            edges="horizontal",
        )
        drawn.auto_set_font_size(False)
        drawn.set_fontsize(min(8, 11.7 * 0.92 * 72 / (0.62 * sum(widths))))
        for (row, column), cell in drawn.get_celld().items():
            cell.set_edgecolor("#cccccc")
            if column < table.num_left:
                cell.set_text_props(horizontalalignment="left")
            if row == 0:
                cell.get_text().set_fontweight("bold")
        pages.append(figure)
    return pages


@matplotlib.rc_context(STYLE)
def save_pdf(drawn: Iterable[Figure], path: Path) -> None:
    """Writes figures as the pages of a PDF."""
    with replacing(path) as beside, PdfPages(beside, metadata={"CreationDate": None}) as pages:
        for figure in drawn:
            pages.savefig(figure)
