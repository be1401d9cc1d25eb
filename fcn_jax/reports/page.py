"""A comparison as one file, index.html: nothing is loaded from elsewhere, and no script is needed.

Pictures are data inside of it, figures are SVG in the colours of the page.
"""

import base64
import dataclasses
import html
import io
import math
import re
from collections.abc import Iterable, Sequence

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from fcn_jax.ops.palette import VOID_COLOR
from fcn_jax.reports import figures
from fcn_jax.reports.bands import band_scores, band_table
from fcn_jax.reports.comparison import (
    Comparison,
    describe_setting,
    explain_intervals,
    list_launches,
)
from fcn_jax.reports.cost import list_costs
from fcn_jax.reports.image_differences import ImageDifference, find_image_differences
from fcn_jax.reports.intervals import Interval, find_missing
from fcn_jax.reports.page_style import FIGURE_COLORS, RUN_COLORS, STYLE
from fcn_jax.reports.pictures import ERROR_COLORS, VOID, Scene, read_palette, read_scene
from fcn_jax.reports.runs import Group, shorten_names
from fcn_jax.reports.svg import to_svg
from fcn_jax.reports.tables import (
    Table,
    bounds,
    class_difference_table,
    class_table,
    config_table,
    decimals,
    difference_table,
    over_seeds,
    shared_config,
    split_score_table,
)

_LONGEST_SIDE = 400  # pixels of a picture on the page
_LONGEST_WORD = 14  # signs of a name that is not broken
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
        f"{_text(of.differences)}.</p>"
    )
    setting = describe_setting(of.groups, step=of.step)
    if prefix:
        setting += f" Names are shown without {prefix} at their beginning."
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_text(of.title)}</title>\n"
        # An icon of nothing: a browser would ask for one otherwise.
        f'<link rel="icon" href="data:,">\n<style>{STYLE}</style>\n</head>\n<body>\n'
        f"<header><h1>{_text(of.title)}</h1><p>{_text(setting)}</p>{warning}"
        f'<nav aria-label="Sections"><ul>{links}</ul></nav></header>\n'
        f"<main>\n{bodies}</main>\n"
        "<footer><p>README.md beside this page has the same tables, table.csv all digits.</p>"
        "</footer>\n</body>\n</html>\n"
    )


def _text(value: object) -> str:
    return html.escape(str(value))


def _name(value: object) -> str:
    """Writes a name that may go on in the next line after its signs."""
    text = _text(value)
    if len(text) <= _LONGEST_WORD:
        return text
    return re.sub(r"([_/-](?=\w)|\.(?=[a-z]))", r"\1<wbr>", text)


def _table(table: Table) -> str:
    """Makes a table that scrolls by itself where the page is narrow; its first column stays."""

    def cell(tag: str, column: int, text: str, scope: str = "") -> str:
        kind = ' class="text"' if column < table.num_left else ""
        said = _name(text) if column < table.num_left or tag == "th" else _text(text)
        return f"<{tag}{kind}{scope}>{said}</{tag}>"

    head = "".join(cell("th", i, name, ' scope="col"') for i, name in enumerate(table.header))
    rows = (
        cell("th", 0, row[0], ' scope="row"')
        + "".join(cell("td", i, text) for i, text in enumerate(row[1:], 1))
        for row in table.rows
    )
    body = "\n".join(f"<tr>{row}</tr>" for row in rows)
    title = _text(table.title)
    return (
        f'<div class="wide" role="region" aria-label="{title}" tabindex="0"><table>'
        f"<caption>{title}</caption><thead><tr>{head}</tr></thead>\n"
        f"<tbody>{body}</tbody></table></div>\n"
    )


def _figure(
    figure: Figure, *, name: str, title: str, caption: str = "", is_wide: bool = False
) -> str:
    """Makes a figure; a wide one scrolls by itself where the page is narrow."""
    svg = to_svg(figure, name=name, title=title, colors=FIGURE_COLORS)
    if is_wide:
        svg = (
            f'<div class="wide" role="region" aria-label="{_text(title)}" tabindex="0">{svg}</div>'
        )
    return f"<figure>{svg}<figcaption>{_text(caption or title)}</figcaption></figure>\n"


def _run_color(index: int) -> str:
    return f"var(--run-{index % len(RUN_COLORS)})"


def _legend(entries: Iterable[tuple[str, str]]) -> str:
    """Makes a legend of (CSS colour, name)."""
    items = "".join(
        f'<li><span class="swatch" style="--of:{color}"></span>{_name(name)}</li>'
        for color, name in entries
    )
    return f'<ul class="legend">{items}</ul>\n'


def _run_legend(groups: Sequence[Group]) -> str:
    return _legend((_run_color(index), group.name) for index, group in enumerate(groups))


def _grid(*parts: str) -> str:
    return f'<div class="grid">{"".join(parts)}</div>\n'


def _scores(of: Comparison) -> str:
    tables = split_score_table(of.groups, multiply_adds=of.multiply_adds)
    parts = [_cards(of), *map(_table, tables)]
    if any(number is not None for number in of.multiply_adds):
        height, width = of.size
        parts.append(
            f'<p class="soft">Multiply-adds are those of an image of {height} x {width} pixels '
            "(height x width); images/s are those of the training.</p>"
        )
    if of.intervals:
        parts += [
            _table(difference_table(of.groups, of.intervals)),
            f'<p class="soft">{_text(explain_intervals(of.groups))}</p>',
        ]
    return "".join(parts)


def _cards(of: Comparison) -> str:
    base = of.groups[0]
    items = [(base, "the others are compared with it")]
    for group, difference in zip(of.groups[1:], of.intervals, strict=True):
        items.append((group, _judge(difference.scores["mean_iou"], base.name)))
    cards = "".join(
        f'<li style="--of:{_run_color(index)}"><strong>{_name(group.name)}</strong>'
        f'<div class="big">{_big(group.scores("mean_iou"))}</div>'
        f'<div class="soft">mean IoU; {_text(said)}</div></li>'
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
    parts = [_run_legend(of.groups)]
    drawn = [
        _figure(
            figures.plot_class_iou(of.groups),
            name="class-iou",
            title="IoU of each class and their mean, a bar for each run",
        )
    ]
    if of.intervals and not find_missing(of.groups):
        drawn.append(
            _figure(
                figures.plot_differences(of.groups, of.intervals),
                name="differences",
                title=f"Differences of IoU to {of.groups[0].name}, with 95 % intervals",
                caption=f"Differences to {of.groups[0].name} with their 95 % intervals: thick over "
                "images, thin over images and seeds. Of "
                "twenty classes without any difference, one is away from 0 by chance.",
            )
        )
    parts += [_grid(*drawn), _table(class_table(of.groups))]
    if of.intervals and not find_missing(of.groups):
        table = _table(class_difference_table(of.groups, of.intervals))
        parts.append(f"<details><summary>Intervals of each class</summary>{table}</details>")
    return "".join(parts)


def _learning(of: Comparison) -> str:
    return _run_legend(of.groups) + _grid(
        _figure(
            figures.plot_loss(of.groups),
            name="loss",
            title="Training loss against steps",
            caption="Thin: as logged; thick: running mean.",
        ),
        _figure(
            figures.plot_mean_iou(of.groups),
            name="mean-iou",
            title="Mean IoU of every evaluation against steps",
        ),
    )


def _boundaries(of: Comparison) -> str:
    bands = [band_scores(group) for group in of.groups]
    if any(band is None for band in bands):
        return ""
    figure = _figure(
        figures.plot_bands(of.groups, bands),
        name="bands",
        title="Mean IoU near boundaries against the width of the band",
        caption="Only pixels that have another class within so many rows and columns are counted: "
        "the trimaps of the DeepLab papers.",
    )
    return _run_legend(of.groups) + _grid(figure, _table(band_table(of.groups, bands)))


def _cost(of: Comparison) -> str:
    groups = of.groups
    drawn = [
        _figure(
            figures.plot_cost(groups, numbers, what=what),
            name=f"cost-{index}",
            title=f"Mean IoU against {what}",
        )
        for index, (what, numbers) in enumerate(list_costs(groups, of.multiply_adds))
    ]
    return _run_legend(groups) + _grid(*drawn)


def _confusion(of: Comparison) -> str:
    drawn = [
        _figure(
            figures.plot_confusion(
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
    return _grid(*drawn)


def _pictures(of: Comparison) -> str:
    if of.note:
        return f"<p>{_text(of.note[:1].upper() + of.note[1:])}.</p>"
    scenes = [read_scene([group.first for group in of.groups], image_id) for image_id in of.ids]
    return _scenes(of.groups, scenes)


def _scenes(groups: Sequence[Group], scenes: Sequence[Scene]) -> str:
    """Shows images with truth, predictions and errors, after one legend."""
    palette = read_palette(groups[0].first, scenes[0].id)
    palette[VOID] = VOID_COLOR
    names = {**dict(enumerate(groups[0].first.class_names)), VOID: "void"}
    used = set()
    for scene in scenes:
        used.update(*(np.unique(numbers).tolist() for numbers in (scene.label, *scene.preds)))
    entries = [(_css(palette[i]), name) for i, name in names.items() if i in used]
    meanings = zip(map(_css, ERROR_COLORS), ("right", "wrong", "unlabelled"), strict=True)
    return (
        _legend(entries)
        + '<p class="soft">In the error maps:</p>'
        + _legend(meanings)
        + "".join(_scene(groups, scene, palette, names) for scene in scenes)
    )


def _scene(
    groups: Sequence[Group], scene: Scene, palette: np.ndarray, names: dict[int, str]
) -> str:
    truth = f"Truth of {scene.id}: {_shares(scene.label, names)}"
    pairs = [
        _panel(_photo(scene.image), "image", f"Image {scene.id}")
        + _panel(_map(scene.label, palette), "truth", truth)
    ]
    for index, group in enumerate(groups):
        pred, errors = scene.preds[index], scene.errors(index)
        accuracy = f"pixel accuracy {decimals(scene.pixel_acc(index), 3)}"
        said = f"Prediction of {group.name}: {_shares(pred, names)}"
        pairs.append(
            _panel(_map(pred, palette), group.name, said)
            + _panel(
                _map(errors, ERROR_COLORS),
                f"errors, {accuracy}",
                f"Errors of {group.name}: {accuracy}",
            )
        )
    panels = "".join(f'<div class="pair">{pair}</div>' for pair in pairs)
    return (
        f'<div class="scene"><h3>{_name(scene.id)}</h3><div class="panels">{panels}</div></div>\n'
    )


def _panel(source: str, caption: str, alt: str) -> str:
    kind = ' class="sharp"' if source.startswith("data:image/png") else ""
    return (
        f'<figure><img{kind} src="{source}" alt="{_text(alt)}" loading="lazy">'
        f"<figcaption>{_name(caption)}</figcaption></figure>"
    )


def _shares(numbers: np.ndarray, names: dict[int, str]) -> str:
    """Says what share of the pixels the most frequent classes have."""
    counts = np.bincount(numbers.ravel(), minlength=256)
    largest = [i for i in np.argsort(-counts, kind="stable")[:4] if counts[i]]
    return ", ".join(
        f"{names.get(int(i), f'class {i}')} {counts[i] / numbers.size:.0%}" for i in largest
    )


def _photo(image: np.ndarray) -> str:
    picture = Image.fromarray(image)
    picture.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE))
    return _encode(picture, "JPEG", quality=82)


def _map(numbers: np.ndarray, colors: np.ndarray) -> str:
    every = max(1, math.ceil(max(numbers.shape) / _LONGEST_SIDE))
    picture = Image.fromarray(np.ascontiguousarray(numbers[::every, ::every]), mode="P")
    picture.putpalette(np.ascontiguousarray(colors).tobytes())
    return _encode(picture, "PNG", optimize=True)


def _encode(picture: Image.Image, form: str, **options) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, form, **options)
    text = base64.b64encode(buffer.getvalue()).decode()
    return f"data:image/{form.lower()};base64,{text}"


def _css(color: np.ndarray) -> str:
    red, green, blue = color.tolist()
    return f"#{red:02x}{green:02x}{blue:02x}"


def _differing(of: Comparison) -> str:
    if len(of.groups) < 2 or find_missing(of.groups):
        return ""
    base, parts = of.groups[0], []
    for other in of.groups[1:]:
        better, worse = find_image_differences(base, other, number=_NUM_WORST)
        found = [*better, *worse]
        if not found:
            parts.append(f"<p>{_text(other.name)} scores as {_text(base.name)} on every image.</p>")
            continue
        parts.append(f"<h3>{_name(other.name)} against {_name(base.name)}</h3>")
        parts.append(_table(_image_table(base, other, found)))
        pair = [base.first, other.first]
        sampled = set(pair[0].list_samples()) & set(pair[1].list_samples())
        if shown := [each.id for each in found if each.id in sampled and each.id not in of.ids]:
            scenes = [read_scene(pair, image_id) for image_id in shown]
            parts.append(_scenes([base, other], scenes))
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
        _table(config_table(of.groups))
        + f"<details><summary>{len(shared.rows)} keys that are the same in all</summary>"
        + f"{_table(shared)}</details>"
    )


def _origin(of: Comparison) -> str:
    parts = []
    for run in (run for group in of.groups for run in group.runs):
        facts = "".join(
            f"<li>{_text(fact)}<ul>{''.join(f'<li>{_text(d)}</li>' for d in details)}</ul></li>"
            for fact, details in list_launches(run)
        )
        commands = "\n".join(_text(launch["command"]) for launch in run.info["launches"])
        said = f"experiment {run.info['experiment']}, seed {run.info['seed']}"
        parts.append(
            f"<details><summary>{_text(run.name)}: {_text(said)}</summary><ul>{facts}</ul>"
            f"<pre>{commands}</pre></details>"
        )
    return "".join(parts)
