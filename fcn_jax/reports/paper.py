"""A comparison as the pages of a PDF: the tables and the figures of index.html."""

from collections.abc import Iterator

import numpy as np
from matplotlib.figure import Figure

from fcn_jax.reports import figures
from fcn_jax.reports.bands import band_scores, band_table
from fcn_jax.reports.comparison import Comparison
from fcn_jax.reports.cost import list_costs
from fcn_jax.reports.intervals import find_missing
from fcn_jax.reports.tables import (
    class_difference_table,
    class_table,
    config_table,
    difference_table,
    split_score_table,
)


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
        yield from figures.plot_table(table)
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
        yield figures.add_run_legend(plot, groups)
    if not any(band is None for band in bands):
        yield from figures.plot_table(band_table(groups, bands))
    for group in groups:
        counts = sum(np.array(run.evaluation["counts"]) for run in group.runs)
        names = group.first.class_names
        yield figures.plot_confusion(counts, class_names=names, title=group.name)
    if of.ids:
        yield figures.plot_predictions(groups, ids=of.ids)
    yield from figures.plot_table(config_table(groups))
