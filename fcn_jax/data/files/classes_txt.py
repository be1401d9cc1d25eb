"""The file `classes.txt` of a user's own folder: its classes, and the colours that mean them."""

import re
from pathlib import Path

from fcn_jax.data.files.problems import OnProblem, Problem, refuse
from fcn_jax.data.labels import IGNORE_LABEL, VOID_NAME, Color, LabelSet
from fcn_jax.ops.palette import VOID_COLOR


def read_classes(
    file: Path, *, on_problem: OnProblem = refuse
) -> tuple[LabelSet, dict[Color, int]] | None:
    """Reads classes.txt: the classes, and the number of each colour (none, if it gives none).

    Classes without colours are shown in those of VOC.
    """
    problems: list[Problem] = []
    names, colors, void_color = _parse_classes(file, problems.append)
    for problem in problems:
        on_problem(problem)
    if problems:
        return None
    labels = LabelSet(tuple(names), tuple(colors)) if colors else LabelSet.in_voc_colors(names)
    table = {color: number for number, color in enumerate(colors)}
    if table:
        table.setdefault(void_color or VOID_COLOR, IGNORE_LABEL)
    return labels, table


def _parse_classes(
    file: Path, on_problem: OnProblem
) -> tuple[list[str], list[Color], Color | None]:
    def complain(number: int, message: str) -> None:
        on_problem(Problem(f"{file}, line {number}: {message}", kind="line of classes.txt"))

    try:
        text = file.read_text(encoding="utf-8-sig").rstrip()
    except UnicodeDecodeError as error:
        on_problem(Problem(f"{file} is no UTF-8 text ({error})", kind="line of classes.txt"))
        return [], [], None
    lines: dict[str, int] = {}
    colors: dict[Color, int] = {}
    void_color = None
    for number, line in enumerate(text.splitlines(), start=1):
        name, color, mistake = _parse_class(line)
        if mistake:
            complain(number, mistake)
        elif void_color:
            complain(number, f"{VOID_NAME!r} must be the last line: it is no class")
        elif name == VOID_NAME:
            if not color:
                complain(number, f"{VOID_NAME!r} is {IGNORE_LABEL} and no class; remove the line")
            elif color in colors:
                complain(number, f"the colour {color} is that of line {colors[color]} as well")
            else:
                void_color = color
        elif name in lines:
            complain(number, f"the class {name!r} is on line {lines[name]} as well")
        elif color and color in colors:
            complain(number, f"the colour {color} is that of line {colors[color]} as well")
        else:
            lines[name] = number
            if color:
                colors[color] = number
    if colors and len(colors) < len(lines):
        without = next(name for name, number in lines.items() if number not in colors.values())
        complain(
            lines[without], f"class {without!r} has no colour, and others have; give all or none"
        )
    if void_color and not colors:
        complain(len(lines) + 1, f"{VOID_NAME!r} has a colour and the classes have none")
    if not 2 <= len(lines) <= IGNORE_LABEL:
        on_problem(
            Problem(
                f"{file} names {len(lines)} classes; expected 2 to {IGNORE_LABEL}, one a line, the "
                "background among them",
                kind="line of classes.txt",
            )
        )
    return list(lines), list(colors), void_color


def _parse_class(line: str) -> tuple[str, Color | None, str]:
    """Returns the name, the colour, and what is wrong."""
    if not line.strip() or line.lstrip().startswith("#"):
        what = "comment" if line.strip() else "empty line"
        return "", None, f"{what}; the number of a line is the number of its class: remove it"
    match = re.fullmatch(r"\s*(.*?)((?:\s+-?[\d.]+)*)\s*", line)
    name, numbers = match[1], match[2].split()
    if "," in name:
        return "", None, f"expected 'name' or 'name red green blue' without commas, got {line!r}"
    if numbers and (len(numbers) != 3 or not all(n.isdecimal() and int(n) <= 255 for n in numbers)):
        got = " ".join(numbers)
        return "", None, f"expected three whole numbers in 0..255 after the name, got {got!r}"
    return name, tuple(map(int, numbers)) or None, ""
