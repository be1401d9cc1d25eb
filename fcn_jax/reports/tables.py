"""The tables of a comparison, for whatever writes them: README.md, index.html or a PDF.

Scores are fractions of 1 with four digits. The first group of runs is the base of all differences.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from fcn_jax.reports.intervals import Differences, Interval, find_missing
from fcn_jax.reports.runs import SCORES, Group

_LONGEST_VALUE = 40


@dataclass(frozen=True)
class Table:
    """Texts in rows and columns.

    Attributes:
        title: What the table shows.
        header: Names of the columns.
        rows: Cells, a row after the other.
        num_left: Number of columns, from the left, that hold texts; the others hold numbers.
    """

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    num_left: int

    def select(self, title: str, columns: Sequence[str]) -> "Table":
        """Returns the table of some columns, in this order; texts must come first."""
        indices = [self.header.index(column) for column in columns]
        rows = [[row[i] for i in indices] for row in self.rows]
        return Table(title, columns, rows, sum(i < self.num_left for i in indices))


def decimals(value: float, digits: int) -> str:
    """Formats a number; one that is not defined is a dash."""
    return "-" if math.isnan(value) else f"{value:.{digits}f}"


def over_seeds(values: np.ndarray, *, base: np.ndarray | None = None) -> str:
    """Formats a score of some runs: the mean, and one standard deviation.

    Args:
        values: Score of each run, as a fraction.
        base: Score of the runs to compare with; the difference stands in brackets.
    """
    text = decimals(values.mean(), 4)
    if len(values) > 1 and not np.isnan(values).any():
        text += f" ± {values.std(ddof=1):.4f}"
    change = np.nan if base is None else values.mean() - base.mean()
    return text if np.isnan(change) else f"{text} ({change:+.4f})"


def bounds(low: float, high: float) -> str:
    """Formats an interval of a difference; one that is not known is a dash."""
    return "-" if math.isnan(low) else f"{low:+.4f} to {high:+.4f}"


def shorten(value: Any) -> str:
    """Writes a value of a config in a cell."""
    text = str(value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 4]} ..."


def score_table(groups: Sequence[Group], *, multiply_adds: Sequence[int | None] = ()) -> Table:
    """Makes the table of all scores, a row for each group.

    Args:
        groups: Groups of runs.
        multiply_adds: Multiply-adds of an image in each group's network, as the last column; None
            if they are not known.
    """
    header = ["run", "model", "finest stride", "output stride", "params", "step", "seeds"]
    header += [*SCORES.values(), "boundary IoU", "train minutes", "images/s"]
    rows = []
    for group in groups:
        run = group.first
        base = None if group is groups[0] else groups[0].scores("mean_iou")
        rows.append(
            [
                group.name,
                run.config["model"]["name"],
                str(run.info.get("finest_stride", "-")),
                str(run.info.get("output_stride", "-")),
                f"{run.info['num_params']:,}",
                f"{run.step:,}",
                ", ".join(map(str, group.seeds)),
                *(
                    over_seeds(group.scores(k), base=base if k == "mean_iou" else None)
                    for k in SCORES
                ),
                over_seeds(group.boundary_iou),
                decimals(run.train_minutes, 1),
                decimals(run.images_per_s, 1),
            ]
        )
    if multiply_adds:
        header.append("multiply-adds")
        for row, number in zip(rows, multiply_adds, strict=True):
            row.append("-" if number is None else f"{number / 1e9:.2f} G")
    return Table("Scores", header, rows, num_left=2)


def split_score_table(
    groups: Sequence[Group], *, multiply_adds: Sequence[int | None]
) -> tuple[Table, Table]:
    """Makes two narrower tables of it: of the scores, and of networks and trainings."""
    table = score_table(groups, multiply_adds=multiply_adds)
    scores = ["run", "seeds", *SCORES.values(), "boundary IoU"]
    rest = ["run", *(name for name in table.header if name not in scores)]
    return table.select("Scores", scores), table.select("Networks and trainings", rest)


def class_table(groups: Sequence[Group]) -> Table:
    """Makes the table of the IoU of each class, a column for each group."""
    base, *others = (group.class_iou.T for group in groups)
    rows = [
        [name, over_seeds(base[i]), *(over_seeds(other[i], base=base[i]) for other in others)]
        for i, name in enumerate(groups[0].first.class_names)
    ]
    return Table("IoU of each class", ["class", *(g.name for g in groups)], rows, num_left=1)


def difference_table(groups: Sequence[Group], differences: Sequence[Differences]) -> Table:
    """Makes the table of what each group's scores are above the base's, with their intervals."""
    rows = []
    for group, difference in zip(groups[1:], differences, strict=True):
        for key, label in SCORES.items():
            rows.append([group.name, label, *_difference_cells(difference.scores[key])])
    title = f"Differences to {groups[0].name}{'' if find_missing(groups) else _WITH_INTERVALS}"
    return _without_empty(Table(title, ["run", "score", *_DIFFERENCE_COLUMNS], rows, num_left=2))


def class_difference_table(groups: Sequence[Group], differences: Sequence[Differences]) -> Table:
    """Makes the table of the differences of each class, with their intervals."""
    rows = [
        [name, group.name, *_difference_cells(difference.class_iou[i])]
        for i, name in enumerate(groups[0].first.class_names)
        for group, difference in zip(groups[1:], differences, strict=True)
    ]
    title = f"IoU of each class: differences to {groups[0].name}{_WITH_INTERVALS}"
    return _without_empty(Table(title, ["class", "run", *_DIFFERENCE_COLUMNS], rows, num_left=2))


_WITH_INTERVALS = ", with 95 % intervals"
_DIFFERENCE_COLUMNS = ("difference", "over images", "over images and seeds")


def _without_empty(table: Table) -> Table:
    """Leaves out the columns in which no row has a number."""
    kept = [
        name
        for i, name in enumerate(table.header)
        if i < table.num_left or any(row[i] != "-" for row in table.rows)
    ]
    return table.select(table.title, kept)


def _difference_cells(interval: Interval) -> list[str]:
    value = "-" if math.isnan(interval.value) else f"{interval.value:+.4f}"
    return [
        value,
        bounds(interval.low, interval.high),
        bounds(interval.seeds_low, interval.seeds_high),
    ]


def config_table(groups: Sequence[Group]) -> Table:
    """Makes the table of what differs between the configs, a column for each group."""
    rows = [
        [key, *map(shorten, values)]
        for key, values in _conditions(groups)
        if any(value != values[0] for value in values)
    ]
    rows.append(["seed", *(", ".join(map(str, group.seeds)) for group in groups)])
    return Table("Configs", ["key", *(g.name for g in groups)], rows, num_left=1 + len(groups))


def shared_config(groups: Sequence[Group]) -> list[tuple[str, str]]:
    """Lists what all groups have in common, as (key, value)."""
    return [
        (key, shorten(values[0]))
        for key, values in _conditions(groups)
        if all(value == values[0] for value in values)
    ]


def _conditions(groups: Sequence[Group]) -> list[tuple[str, list[Any]]]:
    runs = [group.first for group in groups]
    keys = dict.fromkeys(chain(*(run.conditions for run in runs)))
    return [
        (key, [run.conditions.get(key, "-") for run in runs])  # another network has other keys
        for key in keys
        if key != "seed"
    ]
