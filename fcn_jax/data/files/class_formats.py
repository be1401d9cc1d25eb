"""Files that name classes, as this house and other programs write them.

Ours is text, a class a line: `name` or `name red green blue`, and the number of a line, from 0, is
that of its class. Others that are recognised, all lines alike: numbers before names (`1 wall`,
`1: wall`); colours before names (CamVid's label_colors.txt); CVAT's labelmap.txt; labelme's
labels.txt, whose first line is `__ignore__`; CSV with a header (`name,r,g,b`); JSON and YAML with
names, colours or numbers under the usual keys.
"""

import csv
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from fcn_jax.data.files.problems import OnProblem, Problem
from fcn_jax.data.files.text_file import read_text
from fcn_jax.data.labels import Color

KIND = "line of classes.txt"
LABELME_VOID = "__ignore__"

_NAME_KEYS = ("name", "class", "class_name", "label", "label_name", "title", "category")
_NUMBER_KEYS = ("id", "idx", "index", "number", "value", "class_id", "label_id", "category_id")
_COLOR_KEYS = ("color", "colour", "color_rgb", "rgb", "palette")
_CHANNEL_KEYS = (("r", "g", "b"), ("red", "green", "blue"))
_LIST_KEYS = ("names", "classes", "categories", "labels", "class_names", "id2label", "label2id")


_HEADINGS = {*_NAME_KEYS, *_LIST_KEYS}


class Line(NamedTuple):
    """What a file says of a class.

    Attributes:
        where: Line or entry of the file.
        name: Name of the class.
        number: Number that the file gives to it; None if its place in the file is its number.
        color: Colour that means it.
    """

    where: str
    name: str
    number: int | None = None
    color: Color | None = None


class _Unclear(ValueError):
    """What is wrong with a file, in words."""


def read_lines(file: Path, *, on_problem: OnProblem) -> tuple[list[Line], str]:
    """Returns what a file says of each class, and the name of its format, '' for ours."""
    text = read_text(file, on_problem, kind=KIND)
    if text is None:
        return [], ""
    text = text.rstrip()
    try:
        if file.suffix.lower() in (".yaml", ".yml") or re.match(r"names:|- ", text):
            return _parse_values(yaml.load(text, yaml.BaseLoader)), "YAML"
        if file.suffix.lower() == ".json" or text.startswith(("{", "[")):
            return _parse_values(json.loads(text)), "JSON"
        if re.match(r"item\s*\{", text):
            return _parse_label_map(text), "TensorFlow's label map"
        if text.startswith("<"):
            raise _Unclear("XML")
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        on_problem(Problem(f"{file} is not understood ({error}); {_UNDERSTOOD}", kind=KIND))
        return [], ""
    every = [
        (f"line {number}", line.strip())
        for number, line in enumerate(text.split("\n"), start=1)
        if line.strip() and not line.lstrip().startswith("#")
    ]
    for title, parse in _FORMATS.items():
        lines = parse(every)
        if lines:
            return lines, title
    return _parse_ours(file, text, on_problem), ""


_UNDERSTOOD = (
    "a class a line is: name, or name red green blue; JSON and YAML are lists of names, or "
    "{number: name}, or {names: ...}, or lists of {name, color, id}"
)


def _parse_ours(file: Path, text: str, on_problem: OnProblem) -> list[Line]:
    lines = []
    every = text.split("\n") if text else []
    numbered = [bool(re.match(r"\s*\d+[\s:.,)]", line)) for line in every]
    for number, line in enumerate(every, start=1):
        name, color, mistake = _parse_class(line)
        if number == 1 and not color and name.casefold().rstrip(":") in _HEADINGS:
            mistake = f"{name!r} seems to be a heading; remove it, since line 1 is class 0"
        elif 2 * sum(numbered) > len(every) and not numbered[number - 1]:
            mistake = f"most lines begin with the number of their class and {line!r} does not"
        if mistake:
            on_problem(Problem(f"{file}, line {number}: {mistake}", kind=KIND))
        else:
            lines.append(Line(f"line {number}", name, None, color))
    return lines


def _parse_class(line: str) -> tuple[str, Color | None, str]:
    """Returns the name, the colour, and what is wrong."""
    if not line.strip() or line.lstrip().startswith("#"):
        what = "comment" if line.strip() else "empty line"
        return "", None, f"{what}; the number of a line is the number of its class: remove it"
    match = re.fullmatch(r"\s*(.*?)((?:\s+-?[\d.]+)*)\s*", line)
    name, numbers = match[1], match[2].split()
    if "," in name:
        return "", None, f"expected 'name' or 'name red green blue' without commas, got {line!r}"
    if numbers and (len(numbers) != 3 or not all(map(_is_channel, numbers))):
        got = " ".join(numbers)
        return "", None, f"expected three whole numbers in 0..255 after the name, got {got!r}"
    return name, _to_color(numbers) if numbers else None, ""


def _each(pattern: str, lines: Sequence[tuple[str, str]]) -> list[tuple[str, re.Match]] | None:
    """Matches every line; None if one does not."""
    matches = [(where, re.fullmatch(pattern, line)) for where, line in lines]
    return matches if matches and all(match for _, match in matches) else None


def _parse_cvat(lines: Sequence[tuple[str, str]]) -> list[Line] | None:
    matches = _each(r"([^:]+):(\d+),\s*(\d+),\s*(\d+):[^:]*:[^:]*", lines)
    return matches and [
        Line(where, m[1].strip(), color=_to_color(m.groups()[1:])) for where, m in matches
    ]


def _parse_colors_first(lines: Sequence[tuple[str, str]]) -> list[Line] | None:
    matches = _each(r"(\d+)[\s,]+(\d+)[\s,]+(\d+)[\s,]+([^\d\s,][^,]*)", lines)
    return matches and [
        Line(where, m[4].strip(), color=_to_color(m.groups()[:3])) for where, m in matches
    ]


def _parse_numbered(lines: Sequence[tuple[str, str]]) -> list[Line] | None:
    number = r"(-?\d+)(?:\s*[:.=;,)\t]\s*|\s+-\s+|\s+)"
    color = r"(?:[\s,]+(\d+)[\s,]+(\d+)[\s,]+(\d+))?"
    matches = _each(f"{number}([^\\s,].*?){color}", lines)
    return matches and [
        Line(where, m[2], int(m[1]), _to_color(m.groups()[2:]) if m[3] else None)
        for where, m in matches
    ]


def _parse_numbers_last(lines: Sequence[tuple[str, str]]) -> list[Line] | None:
    matches = _each(r"([^,:=;\t]+?)\s*[:=,;\t]\s*(-?\d+)", lines)
    return matches and [Line(where, m[1], int(m[2])) for where, m in matches]


def _parse_label_map(text: str) -> list[Line]:
    """Parses `item { id: 1 name: 'wall' }`, where display_name comes before name."""
    items = re.findall(r"item\s*\{(.*?)\}", text, re.DOTALL)
    found = [dict(re.findall(r"(\w+)\s*:\s*[\"']?([^\"'\n,]*)", item)) for item in items]
    return [
        _parse_item({**item, "name": item.get("display_name", item.get("name"))}, f"item {n}")
        for n, item in enumerate(found, start=1)
    ]


def _parse_csv(lines: Sequence[tuple[str, str]]) -> list[Line] | None:
    """Parses a table with a header that names a column of names, and others."""
    if not lines:
        return None
    delimiter = max("\t;,", key=lines[0][1].count)
    try:
        header, *rows = csv.reader([line for _, line in lines], delimiter=delimiter)
        keys = [cell.strip().casefold().replace(" ", "_") for cell in header]
        if not keys[1:] or not set(_NAME_KEYS) & {*keys}:
            return None
        return [
            _parse_item(dict(zip(keys, map(str.strip, row), strict=False)), where)
            for (where, _), row in zip(lines[1:], rows, strict=False)
        ]
    except (_Unclear, csv.Error):
        return None


def _parse_values(values: Any) -> list[Line]:
    """Reads what JSON or YAML hold."""
    if isinstance(values, Mapping):
        for key in _LIST_KEYS:
            if isinstance(values.get(key), list | dict):
                return _parse_values(values[key])
    if isinstance(values, list):
        return [_parse_item(item, f"entry {n}") for n, item in enumerate(values, start=1)]
    if not isinstance(values, Mapping) or not values:
        raise _Unclear(f"it holds {values!r:.60}")
    lines = []
    for key, value in values.items():
        if re.fullmatch(r"-?\d+", str(key)):
            item = value if isinstance(value, Mapping) else {"name": value}
            lines.append(_parse_item({"id": key, **item}, f"entry {key}"))
        elif re.fullmatch(r"-?\d+", str(value)):
            lines.append(Line(f"entry {key!r}", str(key), int(value)))
        elif isinstance(value, list | str):
            lines.append(Line(f"entry {key!r}", str(key), color=_read_color(value)))
        else:
            raise _Unclear(f"{key!r} has {value!r:.60}")
    return lines


def _parse_item(item: Any, where: str) -> Line:
    if isinstance(item, str):
        return Line(where, item)
    if not isinstance(item, Mapping):
        raise _Unclear(f"{where} is {item!r:.60}")
    name, number, color = (
        next((item[key] for key in keys if item.get(key) not in (None, "")), None)
        for keys in (_NAME_KEYS, _NUMBER_KEYS, _COLOR_KEYS)
    )
    for channels in _CHANNEL_KEYS:
        if {*channels} <= item.keys():
            color = [item[channel] for channel in channels]
    if not isinstance(name, str):
        raise _Unclear(f"{where} has no name")
    if number is not None and not re.fullmatch(r"-?\d+", str(number)):
        raise _Unclear(f"{where} has the number {number!r}")
    return Line(
        where,
        name.strip(),
        None if number is None else int(number),
        None if color is None else _read_color(color),
    )


def _read_color(value: Any) -> Color:
    """Reads [r, g, b], 'r,g,b' or '#rrggbb'."""
    if isinstance(value, str) and re.fullmatch(r"#[0-9a-fA-F]{6}", value.strip()):
        return tuple(bytes.fromhex(value.strip()[1:]))
    channels = re.findall(r"-?[\w.]+", value) if isinstance(value, str) else value
    if not isinstance(channels, list) or len(channels) != 3:
        raise _Unclear(f"{value!r:.60} is no colour")
    if not all(_is_channel(str(channel)) for channel in channels):
        raise _Unclear(f"{value!r:.60} is no colour of three whole numbers in 0..255")
    return _to_color(channels)


def _is_channel(text: str) -> bool:
    return text.isdecimal() and int(text) <= 255


def _to_color(channels: Sequence[Any]) -> Color:
    return tuple(map(int, channels))


_FORMATS: dict[str, Callable[[Sequence[tuple[str, str]]], list[Line] | None]] = {
    "CVAT's labelmap": _parse_cvat,
    "colours before names": _parse_colors_first,
    "a table with a header": _parse_csv,
    "numbers before names": _parse_numbered,
    "numbers after names": _parse_numbers_last,
}
