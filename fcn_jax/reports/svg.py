"""Figures of matplotlib as SVG that stands inside a page and takes the page's colours.

Text stays text, in the font of the page. Colours that the page knows become its variables, so that
a figure is readable on a light and on a dark page.
"""

import html
import io
import re
from collections.abc import Mapping

import matplotlib
from matplotlib.figure import Figure


def to_svg(figure: Figure, *, name: str, title: str, colors: Mapping[str, str]) -> str:
    """Makes the element `svg` of a figure.

    Args:
        figure: The figure; its background is left out.
        name: Begins every id in it; no two figures of a page have one name.
        title: What it shows, for those who do not see it.
        colors: CSS colours by the hexadecimal ones, in small letters, that they take the place of.
    """
    buffer = io.StringIO()
    options = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", transparent=True, metadata=options)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"xlink:href=", "href=", text)
    used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', text))
    text = re.sub(r' id="([^"]*)"', lambda m: f' id="{name}-{m[1]}"' if m[1] in used else "", text)
    text = re.sub(r'(href="#|url\(#)', rf"\g<1>{name}-", text)
    text = re.sub(r"#[0-9a-f]{6}\b", lambda m: colors.get(m[0], m[0]), text)
    text = re.sub(r"(font: [^'\";]*?px) [^;\"]*", r"\1 inherit", text)
    text = _move_fonts(text)
    text = re.sub(r"<[^>]*>", lambda m: re.sub(r"(\d\.\d\d)\d+", r"\1", m[0]), text)
    text = re.sub(r">\s+<", "><", text)
    box = re.search(r'viewBox="([^"]*)"', text)[1]
    width = float(box.split()[2])
    head = (
        f'<svg role="img" viewBox="{box}" style="--natural:{width:.0f}px">'
        f"<title>{html.escape(title)}</title>"
    )
    return head + text[text.index(">") + 1 :].strip()


def _move_fonts(text: str) -> str:
    """Writes sizes of fonts by themselves: `font` needs a family, which is the page's."""
    return re.sub(
        r"font: (?:(bold|700) )?([\d.]+px) inherit",
        lambda m: f"font-size: {m[2]}" + ("; font-weight: bold" if m[1] else ""),
        text,
    )
