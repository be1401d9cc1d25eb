"""A comparison as one file, index.html: nothing is loaded from elsewhere, and no script is needed.

Pictures are data inside of it, figures are SVG in the colours of the page.
"""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from fcn_jax.reports import figures
from fcn_jax.reports.bands import band_scores, band_table
from fcn_jax.reports.comparison import (
    Comparison,
    describe_setting,
    explain_intervals,
    list_launches,
)
from fcn_jax.reports.confusion_figure import plot_confusion
from fcn_jax.reports.cost import list_costs
from fcn_jax.reports.elements import (
    break_name,
    escape,
    run_color,
    write_figure,
    write_grid,
    write_run_legend,
    write_table,
)
from fcn_jax.reports.image_differences import ImageDifference, find_image_differences
from fcn_jax.reports.intervals import Interval, find_missing
from fcn_jax.reports.page_style import STYLE
from fcn_jax.reports.pictures import read_scene
from fcn_jax.reports.runs import Group, shorten_names
from fcn_jax.reports.scenes import write_scenes
from fcn_jax.reports.tables import (
    Table,
    bounds,
    class_difference_table,
    class_table,
    config_table,
    difference_table,
    over_seeds,
    shared_config,
    split_score_table,
)

_NUM_WORST = 5  # images on which two groups differ most, on either side


def make_page(of: Comparison) -> str:
    """Makes the text of index.html."""
    groups, prefix = shorten_names(of.groups)
    of = dataclasses.replace(of, groups=groups)
    sections = [
        ("scores", "Scores", _scores(of)),
        ("classes", "Classes", _classes(of)),
        ("learning", "Learning curves", _learning(of)),
        ("boundaries", "Boundaries", _boundaries(of)),
        ("cost", "Cost against score", _cost(of)),
        ("confusion", "Confusion matrices", _confusion(of)),
        ("pictures", "Predictions", _pictures(of)),
        ("images", "Where they differ most", _differing(of)),
        ("configs", "Configs", _configs(of)),
        ("origin", "Where the numbers come from", _origin(of)),
    ]
    sections = [(name, title, body) for name, title, body in sections if body]
    links = "".join(f'<li><a href="#{name}">{title}</a></li>' for name, title, _ in sections)
    bodies = "".join(
        f'<section aria-labelledby="{name}"><h2 id="{name}">{title}</h2>{body}</section>\n'
        for name, title, body in sections
    )
    warning = of.differences and (
        '<p class="warn"><strong>Not a like-for-like comparison:</strong> '
        f"{escape(of.differences)}.</p>"
    )
    setting = describe_setting(of.groups, step=of.step)
    if prefix:
        setting += f" Names are shown without {prefix} at their beginning."
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(of.title)}</title>\n"
        # An icon of nothing: a browser would ask for one otherwise.
        f'<link rel="icon" href="data:,">\n<style>{STYLE}</style>\n</head>\n<body>\n'
        f"<header><h1>{escape(of.title)}</h1><p>{escape(setting)}</p>{warning}"
        f'<nav aria-label="Sections"><ul>{links}</ul></nav></header>\n'
        f"<main>\n{bodies}</main>\n"
        "<footer><p>README.md beside this page has the same tables, table.csv all digits.</p>"
        "</footer>\n</body>\n</html>\n"
    )


def _scores(of: Comparison) -> str:
    tables = split_score_table(of.groups, multiply_adds=of.multiply_adds)
    parts = [_cards(of), *map(write_table, tables)]
    if any(number is not None for number in of.multiply_adds):
        height, width = of.size
        parts.append(
            f'<p class="soft">Multiply-adds are those of an image of {height} x {width} pixels '
            "(height x width); images/s are those of the training.</p>"
        )
    if of.intervals:
        parts += [
            write_table(difference_table(of.groups, of.intervals)),
            f'<p class="soft">{escape(explain_intervals(of.groups))}</p>',
        ]
    return "".join(parts)


def _cards(of: Comparison) -> str:
    base = of.groups[0]
    items = [(base, "the others are compared with it")]
    for group, difference in zip(of.groups[1:], of.intervals, strict=True):
        items.append((group, _judge(difference.scores["mean_iou"], base.name)))
    cards = "".join(
        f'<li style="--of:{run_color(index)}"><strong>{break_name(group.name)}</strong>'
        f'<div class="big">{_big(group.scores("mean_iou"))}</div>'
        f'<div class="soft">mean IoU; {escape(said)}</div></li>'
        for index, (group, said) in enumerate(items)
    )
    return f'<ul class="cards">{cards}</ul>\n'


def _big(values: np.ndarray) -> str:
    mean, _, spread = over_seeds(values).partition(" ")
    return f"{mean} <small>{spread}</small>" if spread else mean


def _judge(interval: Interval, base: str) -> str:
    """Says in words how sure a difference of mean IoU is."""
    if math.isnan(interval.value):
        return "no score"
    text = f"{interval.value:+.4f} against {base}"
    if math.isnan(interval.low):
        return text
    drawn = "images" if math.isnan(interval.seeds_low) else "images and seeds"
    sure = (
        "is more than the draw of the {} explains"
        if interval.is_clear
        else ("may be the draw of the {}")
    )
    return f"{text} (95 %: {bounds(*interval.widest)}), which {sure.format(drawn)}"


def _classes(of: Comparison) -> str:
    parts = [write_run_legend(of.groups)]
    drawn = [
        write_figure(
            figures.plot_class_iou(of.groups),
            name="class-iou",
            title="IoU of each class and their mean, a bar for each run",
        )
    ]
    if of.intervals and not find_missing(of.groups):
        drawn.append(
            write_figure(
                figures.plot_differences(of.groups, of.intervals),
                name="differences",
                title=f"Differences of IoU to {of.groups[0].name}, with 95 % intervals",
                caption=f"Differences to {of.groups[0].name} with their 95 % intervals: thick over "
                "images, thin over images and seeds. Of "
                "twenty classes without any difference, one is away from 0 by chance.",
            )
        )
    parts += [write_grid(*drawn), write_table(class_table(of.groups))]
    if of.intervals and not find_missing(of.groups):
        table = write_table(class_difference_table(of.groups, of.intervals))
        parts.append(f"<details><summary>Intervals of each class</summary>{table}</details>")
    return "".join(parts)


def _learning(of: Comparison) -> str:
    return write_run_legend(of.groups) + write_grid(
        write_figure(
            figures.plot_loss(of.groups),
            name="loss",
            title="Training loss against steps",
            caption="Thin: as logged; thick: running mean.",
        ),
        write_figure(
            figures.plot_mean_iou(of.groups),
            name="mean-iou",
            title="Mean IoU of every evaluation against steps",
        ),
    )


def _boundaries(of: Comparison) -> str:
    bands = [band_scores(group) for group in of.groups]
    if any(band is None for band in bands):
        return ""
    figure = write_figure(
        figures.plot_bands(of.groups, bands),
        name="bands",
        title="Mean IoU near boundaries against the width of the band",
        caption="Only pixels that have another class within so many rows and columns are counted: "
        "the trimaps of the DeepLab papers.",
    )
    return write_run_legend(of.groups) + write_grid(
        figure, write_table(band_table(of.groups, bands))
    )


def _cost(of: Comparison) -> str:
    groups = of.groups
    drawn = [
        write_figure(
            figures.plot_cost(groups, numbers, what=what),
            name=f"cost-{index}",
            title=f"Mean IoU against {what}",
        )
        for index, (what, numbers) in enumerate(list_costs(groups, of.multiply_adds))
    ]
    return write_run_legend(groups) + write_grid(*drawn)


def _confusion(of: Comparison) -> str:
    drawn = [
        write_figure(
            plot_confusion(
                sum(np.array(run.evaluation["counts"]) for run in group.runs),
                class_names=group.first.class_names,
                title="",
            ),
            name=f"confusion-{index}",
            title=f"Confusion matrix of {group.name}",
            is_wide=True,
            caption=f"{group.name}: what the pixels of each class were predicted as.",
        )
        for index, group in enumerate(of.groups)
    ]
    return write_grid(*drawn)


def _pictures(of: Comparison) -> str:
    if of.note:
        return f"<p>{escape(of.note[:1].upper() + of.note[1:])}.</p>"
    scenes = [read_scene([group.first for group in of.groups], image_id) for image_id in of.ids]
    return write_scenes(of.groups, scenes)


def _differing(of: Comparison) -> str:
    if len(of.groups) < 2 or find_missing(of.groups):
        return ""
    base, parts = of.groups[0], []
    for other in of.groups[1:]:
        better, worse = find_image_differences(base, other, number=_NUM_WORST)
        found = [*better, *worse]
        if not found:
            parts.append(
                f"<p>{escape(other.name)} scores as {escape(base.name)} on every image.</p>"
            )
            continue
        parts.append(f"<h3>{break_name(other.name)} against {break_name(base.name)}</h3>")
        parts.append(write_table(_image_table(base, other, found)))
        pair = [base.first, other.first]
        sampled = set(pair[0].list_samples()) & set(pair[1].list_samples())
        if shown := [each.id for each in found if each.id in sampled and each.id not in of.ids]:
            scenes = [read_scene(pair, image_id) for image_id in shown]
            parts.append(write_scenes([base, other], scenes))
    if not any("<img" in part for part in parts):
        parts.append(
            '<p class="soft">No other picture of these was kept: a larger eval.num_samples keeps '
            "more, and evaluate makes them.</p>"
        )
    return "".join(parts)


def _image_table(base: Group, other: Group, found: Sequence[ImageDifference]) -> Table:
    rows = [
        [each.id, f"{each.base:.4f}", f"{each.other:.4f}", f"{each.other - each.base:+.4f}"]
        for each in found
    ]
    title = "Mean IoU of the images on which they differ most"
    return Table(title, ["image", base.name, other.name, "difference"], rows, num_left=1)


def _configs(of: Comparison) -> str:
    shared = Table("The same in all", ["key", "value"], shared_config(of.groups), num_left=2)
    return (
        write_table(config_table(of.groups))
        + f"<details><summary>{len(shared.rows)} keys that are the same in all</summary>"
        + f"{write_table(shared)}</details>"
    )


def _origin(of: Comparison) -> str:
    parts = []
    for run in (run for group in of.groups for run in group.runs):
        facts = "".join(
            f"<li>{escape(fact)}<ul>{''.join(f'<li>{escape(d)}</li>' for d in details)}</ul></li>"
            for fact, details in list_launches(run)
        )
        commands = "\n".join(escape(launch["command"]) for launch in run.info["launches"])
        said = f"experiment {run.info['experiment']}, seed {run.info['seed']}"
        parts.append(
            f"<details><summary>{escape(run.name)}: {escape(said)}</summary><ul>{facts}</ul>"
            f"<pre>{commands}</pre></details>"
        )
    return "".join(parts)
