"""Elements of a page: text, tables, figures, legends and pictures as HTML.

The classes of the elements are those of `page_style`.
"""

import html
import re
from collections.abc import Iterable, Sequence

from matplotlib.figure import Figure

from fcn_jax.reports.page_style import FIGURE_COLORS, RUN_COLORS
from fcn_jax.reports.runs import Group
from fcn_jax.reports.svg import to_svg
from fcn_jax.reports.tables import Table

_LONGEST_WORD = 14  # signs of a name that is not broken


def escape(value: object) -> str:
    """Writes a value as text."""
    return html.escape(str(value))


def break_name(value: object) -> str:
    """Writes a name that may go on in the next line after its signs."""
    text = escape(value)
    if len(text) <= _LONGEST_WORD:
        return text
    return re.sub(r"([_/-](?=\w)|\.(?=[a-z]))", r"\1<wbr>", text)


def write_table(table: Table) -> str:
    """Makes a table that scrolls by itself where the page is narrow; its first column stays."""

    def cell(tag: str, column: int, text: str, scope: str = "") -> str:
        kind = ' class="text"' if column < table.num_left else ""
        said = break_name(text) if column < table.num_left or tag == "th" else escape(text)
        return f"<{tag}{kind}{scope}>{said}</{tag}>"

    head = "".join(cell("th", i, name, ' scope="col"') for i, name in enumerate(table.header))
    rows = (
        cell("th", 0, row[0], ' scope="row"')
        + "".join(cell("td", i, text) for i, text in enumerate(row[1:], 1))
        for row in table.rows
    )
    body = "\n".join(f"<tr>{row}</tr>" for row in rows)
    title = escape(table.title)
    return _scroll(
        f"<table><caption>{title}</caption><thead><tr>{head}</tr></thead>\n"
        f"<tbody>{body}</tbody></table>",
        title=title,
    )


def write_figure(
    figure: Figure, *, name: str, title: str, caption: str = "", is_wide: bool = False
) -> str:
    """Makes a figure; a wide one scrolls by itself where the page is narrow."""
    svg = to_svg(figure, name=name, title=title, colors=FIGURE_COLORS)
    if is_wide:
        svg = _scroll(svg, title=escape(title))
    return f"<figure>{svg}<figcaption>{escape(caption or title)}</figcaption></figure>\n"


def _scroll(body: str, *, title: str) -> str:
    return f'<div class="wide" role="region" aria-label="{title}" tabindex="0">{body}</div>\n'


def run_color(index: int) -> str:
    """Returns the CSS colour of a run by its place in the comparison."""
    return f"var(--run-{index % len(RUN_COLORS)})"


def write_legend(entries: Iterable[tuple[str, str]]) -> str:
    """Makes a legend of (CSS colour, name)."""
    items = "".join(
        f'<li><span class="swatch" style="--of:{color}"></span>{break_name(name)}</li>'
        for color, name in entries
    )
    return f'<ul class="legend">{items}</ul>\n'


def write_run_legend(groups: Sequence[Group]) -> str:
    """Makes the legend of all runs."""
    return write_legend((run_color(index), group.name) for index, group in enumerate(groups))


def write_grid(*parts: str) -> str:
    """Puts parts side by side where the page is wide enough."""
    return f'<div class="grid">{"".join(parts)}</div>\n'


def write_panel(source: str, caption: str, alt: str) -> str:
    """Makes a picture with a caption out of a data URL; pixels of a PNG stay sharp."""
    kind = ' class="sharp"' if source.startswith("data:image/png") else ""
    return (
        f'<figure><img{kind} src="{source}" alt="{escape(alt)}" loading="lazy">'
        f"<figcaption>{break_name(caption)}</figcaption></figure>"
    )
