"""The file `classes.txt` of a user's own folder: its classes, and what means them in labels."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from fcn_jax.data.files.class_formats import KIND, LABELME_VOID, Line, read_lines
from fcn_jax.data.files.problems import OnProblem, Problem, refuse
from fcn_jax.data.labels import IGNORE_LABEL, VOID_NAME, Color, LabelSet
from fcn_jax.ops.palette import VOID_COLOR

# Ours, and as other programs call theirs.
CLASS_FILES = (
    "classes.txt", "class_names.txt", "labels.txt", "label_names.txt", "label_colors.txt",
    "labelmap.txt", "label_map.pbtxt", "classes.csv", "class_dict.csv", "classes.json",
    "classes.yaml", "data.yaml",
)  # fmt: skip

# Names, without signs and in small letters, of what is no class.
_VOID_NAMES = {
    VOID_NAME, "ignore", "ignored", "ignorelabel", "ignoreregion", "unlabelled", "unlabeled",
    "unannotated", "nolabel", "dontcare",
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Classes:
    """What a file of classes says.

    Attributes:
        labels: Classes of the data set.
        numbers: Class, or void, of each number that labels may hold; None if they are the classes.
        colors: Number in labels that each colour stands for; empty if there are none.
        names_void: Whether the file itself says what means unlabelled.
        understood: How the file was read, if it is not in the form of this house.
    """

    labels: LabelSet
    numbers: Mapping[int, int] | None
    colors: Mapping[Color, int]
    names_void: bool
    understood: str

    @property
    def meaning(self) -> str:
        """Text that differs when labels mean something else."""
        # Colours that the file does not say mean nothing. In VOC's, as they once were shown, the
        # text is what it was, and with it the name of what was built.
        labels = self.labels if self.colors else LabelSet.in_voc_colors(self.labels.names)
        return repr((labels, self.colors)) + (repr(self.numbers) if self.numbers else "")


def read_classes(file: Path, *, on_problem: OnProblem = refuse) -> Classes | None:
    """Reads a file of classes; None after a problem.

    Where the file numbers its classes, the numbers count. Classes without colours are shown in
    those of `ops.palette.class_palette`.
    """
    problems: list[Problem] = []
    lines, title = read_lines(file, on_problem=problems.append)
    if lines and lines[0].name == LABELME_VOID and lines[0].number is None:
        title = f"labelme's, where {LABELME_VOID} is {IGNORE_LABEL}"
        lines = lines[1:]
    void = [line for line in lines if _is_void(line.name)]
    classes = [line for line in lines if line not in void]
    if not problems:
        for line, mistake in _find_mistakes(lines, classes, void):
            problems.append(Problem(f"{file}, {line.where}: {mistake}", kind=KIND))
        if not 2 <= len(classes) <= IGNORE_LABEL:
            problems.append(
                Problem(
                    f"{file} names {len(classes)} class{'es' * (len(classes) != 1)}; expected 2 "
                    f"to {IGNORE_LABEL}, one a "
                    "line, the background among them",
                    kind=KIND,
                )
            )
    for problem in problems:
        on_problem(problem)
    return None if problems else _make_classes(file, classes, void, title)


def _find_mistakes(
    lines: Sequence[Line], classes: Sequence[Line], void: Sequence[Line]
) -> Iterator[tuple[Line, str]]:
    """Yields lines that cannot be understood, and why."""
    for key, is_on in (
        ("name", "the class {!r} is on"),
        ("color", "the colour {} is that of"),
        ("number", "the number {} is on"),
    ):
        first: dict[Any, Line] = {}
        for line in classes if key == "name" else lines:
            value = getattr(line, key)
            twin = first.setdefault(value, line)
            if value is not None and twin is not line:
                yield line, f"{is_on.format(value)} {twin.where} as well"
    for line in classes:
        if not line.name or not line.name.isprintable():
            yield (
                line,
                f"the name {line.name!r} is empty or has signs that do not print; remove them",
            )
        if line.number is not None and not 0 <= line.number < IGNORE_LABEL:
            yield (
                line,
                f"the number {line.number} of {line.name!r} is outside 0..{IGNORE_LABEL - 1}",
            )
    for key, what in (("color", "colour"), ("number", "number")):
        without = [line for line in classes if getattr(line, key) is None]
        if 0 < len(without) < len(classes):
            yield (
                without[0],
                (f"class {without[0].name!r} has no {what}, and others have; give all or none"),
            )
    numbered = any(line.number is not None for line in classes)
    for line in void:
        if line.number is not None and not -1 <= line.number <= IGNORE_LABEL:
            yield line, f"the number {line.number} is outside 0..{IGNORE_LABEL}"
        if line.color and not any(other.color for other in classes):
            yield line, f"{line.name!r} has a colour and the classes have none; give all or none"
        elif line.color is None and line.number is None:
            index = lines.index(line)
            yield (
                line,
                (
                    f"{line.name!r} is {IGNORE_LABEL} and no class; remove the line, or if labels "
                    f"hold {index} there, put its number before every name: {_number(lines)}"
                ),
            )
        elif not numbered and (after := [c for c in classes if c in lines[lines.index(line) :]]):
            yield (
                after[0],
                (
                    f"{line.name!r} must be the last line: it is no class. Move it there, or, if "
                    "labels are numbers and count it, put its number before every name: "
                    f"{_number(lines)}"
                ),
            )


def _number(lines: Sequence[Line]) -> str:
    """Returns the first lines with their numbers."""
    return ", ".join(f"'{n} {line.name}'" for n, line in enumerate(lines[:2])) + ", ..."


def _make_classes(file: Path, classes: Sequence[Line], void: Sequence[Line], title: str) -> Classes:
    numbered = classes[0].number is not None
    if numbered:
        classes = sorted(classes, key=lambda line: line.number)
    values = [line.number if numbered else index for index, line in enumerate(classes)]
    numbers = {value: index for index, value in enumerate(values)}
    numbers |= {line.number: IGNORE_LABEL for line in void if line.number is not None}
    numbers[IGNORE_LABEL] = IGNORE_LABEL
    names = [line.name for line in classes]
    if classes[0].color:
        labels = LabelSet(tuple(names), tuple(line.color for line in classes))
        colors = {line.color: value for line, value in zip(classes, values, strict=True)}
        if not any(line.color for line in void):
            colors.setdefault(VOID_COLOR, IGNORE_LABEL)
        for line in void:
            if line.color:
                colors[line.color] = IGNORE_LABEL if line.number is None else line.number
    else:
        labels, colors = LabelSet.in_default_colors(names), {}
    understood = ""
    if title:
        meanings = [f"{value} {name}" for value, name in zip(values, names, strict=True)]
        if meanings[4:]:
            meanings[2:-2] = ["..."]
        meanings += [f"{v} unlabelled" for v, index in numbers.items() if index == IGNORE_LABEL]
        title += ", by which RGB labels are read; others hold numbers" * bool(colors)
        understood = f"{file.name} is read as {title}: {', '.join(meanings)}"
    usual = {**{number: number for number in range(len(classes))}, IGNORE_LABEL: IGNORE_LABEL}
    return Classes(labels, numbers if numbers != usual else None, colors, bool(void), understood)


def _is_void(name: str) -> bool:
    return "".join(filter(str.isalnum, name.casefold())) in _VOID_NAMES
