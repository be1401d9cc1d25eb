"""The report of a comparison as text: README.md for people, table.csv for programs.

Scores are fractions, as everywhere in the house: README.md has four digits of them, table.csv all.
In README.md the first run is the one that the others are compared with.
"""

import csv
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from fcn_jax.atomic_file import replacing
from fcn_jax.reports.intervals import NUM_RESAMPLES, Differences, find_intervals, find_missing
from fcn_jax.reports.runs import SCORES, Group, Run
from fcn_jax.reports.tables import (
    Table,
    class_table,
    decimals,
    difference_table,
    score_table,
    shorten,
)

# The network is what is compared; the others are reported from the evaluations.
_REPORTED_ELSEWHERE = re.compile(r"model\..*|seed|data\.name|eval\.(split|convention|boundary_px)")


def find_differences(groups: Sequence[Group]) -> str:
    """Says in what the conditions of runs differ, apart from the network; '' if in nothing."""
    runs = [group.first for group in groups]
    keys = dict.fromkeys(chain(*(run.conditions for run in runs)))
    conditions = {
        "data set": [run.evaluation["dataset"] for run in runs],
        "images": [run.evaluation["num_images"] for run in runs],
        "convention": [run.evaluation["convention"] for run in runs],
        "boundary_px": [run.evaluation.get("boundary_px") for run in runs],
        "evaluated step": [run.step for run in runs],
        "seed": [" and ".join(map(str, group.seeds)) for group in groups],
        **{
            key: [run.conditions.get(key, "not said") for run in runs]
            for key in keys
            if not _REPORTED_ELSEWHERE.fullmatch(key)
        },
    }
    found = {
        label: f"{label} ({', '.join(shorten(value) for value in values)})"
        for label, values in conditions.items()
        if any(value != values[0] for value in values)
    }
    true_pixels = [[sum(row) for row in run.evaluation["counts"]] for run in runs]
    same_images = not found.keys() & {"data set", "images"}
    if same_images and any(pixels != true_pixels[0] for pixels in true_pixels):
        found["pixels"] = "true pixels of the classes (other images or labels under the same names)"
    return "; ".join(found.values())


@dataclass(frozen=True)
class Comparison:
    """What enters a report.

    Attributes:
        title: Heading.
        step: Step of the evaluations as it was asked for: 'last', 'best' or a number.
        groups: Groups of runs; the first is the base.
        differences: What `find_differences` says of the groups.
        intervals: What `find_intervals` says of the groups but for the base.
        ids: Images that the first runs of all groups have among their samples.
        note: Reason why there are none; '' if there are some.
        multiply_adds: Multiply-adds of an image in the network of each group, None if not known.
        size: Height and width of that image, in pixels.
    """

    title: str
    step: str
    groups: Sequence[Group]
    differences: str
    intervals: Sequence[Differences]
    ids: Sequence[str]
    note: str
    multiply_adds: Sequence[int | None]
    size: tuple[int, int]


def make_report(of: Comparison) -> str:
    """Makes the text of README.md, which shows the pictures that lie beside it."""
    groups = of.groups
    split = groups[0].first.evaluation["split"]
    predictions = f"![Images of {split}](predictions.png)"
    if of.note:
        predictions = f"Note: no predictions.png: {of.note}."
    sections = [
        f"# {_escape(of.title)}",
        describe_setting(groups, step=of.step),
        of.differences and f"**Not a like-for-like comparison:** {of.differences}.",
        _markdown(score_table(groups)),
        *_write_intervals(of),
        "![Training loss and mean IoU](curves.png)",
        "## IoU of each class",
        groups[1:] and f"In brackets: the difference to {_escape(groups[0].name)}.",
        _markdown(class_table(groups)),
        "![IoU of each class](class_iou.png)",
        "## Predictions",
        predictions,
        "## Where the numbers come from",
        *(_provenance(run) for group in groups for run in group.runs),
    ]
    return "\n\n".join(filter(None, sections)) + "\n"


def explain_intervals(groups: Sequence[Group]) -> str:
    """Says how the intervals of the differences were made, or why there are none."""
    if missing := find_missing(groups):
        return f"No intervals: {missing}."
    text = (
        "A 95 % interval holds the true difference in 95 of 100 repetitions. Over images: "
        f"{NUM_RESAMPLES:,} times as many images as the split has are drawn from it with "
        "replacement, the same ones for both sides."
    )
    if any(len(group.runs) > 1 for group in groups):
        text += (
            " Over images and seeds: the spread of the seeds is added, by Student's t, where both "
            "sides have several."
        )
    else:
        text += " Another seed may move a score by more: train several to see it."
    return text


def write_csv(groups: Sequence[Group], path: Path, *, runs: Sequence[Run]) -> None:
    """Writes one line for each run; what is not defined, such as an absent class, is empty.

    Args:
        groups: Groups of the runs; the first is the base of the differences.
        path: The file.
        runs: The runs in the order of the lines.
    """
    rows = [{**_csv_row(run), **_csv_difference(run, groups[0])} for run in runs]
    with replacing(path) as beside, beside.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def describe_setting(groups: Sequence[Group], *, step: str) -> str:
    """Says on what the runs were scored, and how.

    Args:
        groups: Groups of runs.
        step: Step of the evaluations as it was asked for.
    """
    runs = [group.first for group in groups]
    first = runs[0].evaluation
    images = " / ".join(dict.fromkeys(f"{run.evaluation['num_images']:,}" for run in runs))
    conventions = " / ".join(dict.fromkeys(run.evaluation["convention"] for run in runs))
    text = (
        f"Data set {first['dataset']}, split {first['split']}: {images} images at their own size. "
        "Scores are fractions of 1, computed from the confusion counts of the whole split; "
        f"convention for absent classes: {conventions}."
    )
    distances = {run.evaluation["boundary_px"] for run in runs if "boundary_px" in run.evaluation}
    if distances:
        text += (
            f" Boundary IoU is the mean IoU of the pixels that have another class within "
            f"{' / '.join(map(str, sorted(distances)))} pixels."
        )
    if any(len(group.runs) > 1 for group in groups):
        text += (
            " Where there are several seeds, a score is their mean, ± one standard deviation "
            "(of the sample); times and pictures are those of the first."
        )
    if step == "best":
        text += (
            " Each run is shown at its step of highest mean IoU, chosen on these same images: "
            "such a score flatters a little."
        )
    return text


def _markdown(table: Table) -> str:
    rule = [":--"] * table.num_left + ["--:"] * (len(table.header) - table.num_left)
    lines = [map(_escape, table.header), rule, *(map(_escape, row) for row in table.rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _write_intervals(of: Comparison) -> list[str]:
    if not of.intervals:
        return []
    table = difference_table(of.groups, of.intervals)
    said = _escape(explain_intervals(of.groups))
    return [f"## {_escape(table.title)}", said, _markdown(table)]


def _escape(text: object) -> str:
    """Writes what Markdown would take for its own signs, such as a bar in the name of a class."""
    return re.sub(r"([|<*`$\\\[])", r"\\\1", str(text))


def list_launches(run: Run) -> list[tuple[str, list[str]]]:
    """Lists what is known of each launch of a run, as (fact, details), and last its score."""
    facts = []
    for launch in run.info["launches"]:
        commit = launch["git_commit"][:12] or "unknown"
        dirty = " (with uncommitted changes)" if launch["git_dirty"] else ""
        end = f"to {launch['end_step']}" if "end_step" in launch else "(killed)"
        versions = {"python": launch["python"], **launch["versions"]}
        details = [
            f"{launch['machine']}; {', '.join(launch['devices'])}",
            ", ".join(f"{name} {version}" for name, version in versions.items()),
        ]
        facts.append((f"from step {launch['start_step']} {end}: commit {commit}{dirty}", details))
    mean_iou, evaluation = decimals(run.scores["mean_iou"], 4), run.evaluation
    return [*facts, (f"mean IoU {mean_iou} out of eval/{evaluation['split']}-{run.step}.json", [])]


def _provenance(run: Run) -> str:
    lines = [f"### {run.name}", ""]
    lines += [f"- experiment {run.info['experiment']}, seed {run.info['seed']}"]
    for fact, details in list_launches(run):
        lines += [f"- {fact}", *(f"  - {detail}" for detail in details)]
    commands = (launch["command"] for launch in run.info["launches"])
    return "\n".join([*lines, "", "```", *commands, "```"])


def _csv_row(run: Run) -> dict[str, object]:
    class_iou = zip(run.class_names, run.scores["class_iou"].tolist(), strict=True)
    row = {
        "run": run.name,
        "model": run.config["model"]["name"],
        **{k: run.evaluation[k] for k in ("dataset", "split", "num_images", "convention", "step")},
        "seed": run.info["seed"],
        "finest_stride": run.info.get("finest_stride"),
        "output_stride": run.info.get("output_stride"),
        "num_params": run.info["num_params"],
        "train_minutes": round(run.train_minutes, 3),
        "images_per_s": round(run.images_per_s, 3),
        **{key: run.scores[key] for key in SCORES},
        "boundary_iou": run.boundary_iou,
        **{f"iou_{name}": iou for name, iou in class_iou},
    }
    return {key: "" if _undefined(value) else value for key, value in row.items()}


def _csv_difference(run: Run, base: Group) -> dict[str, float | str]:
    """Returns how much a run is above the base, and the bounds of it over images."""
    if run in base.runs:
        return dict.fromkeys(_DIFFERENCE_COLUMNS, "")
    (found,) = find_intervals([base, Group(run.name, (run,))])
    values = found.scores["mean_iou"]
    numbers = zip(_DIFFERENCE_COLUMNS, (values.value, values.low, values.high), strict=True)
    return {key: "" if math.isnan(value) else value for key, value in numbers}


_DIFFERENCE_COLUMNS = ("mean_iou_diff", "mean_iou_diff_low", "mean_iou_diff_high")


def _undefined(value: object) -> bool:
    return isinstance(value, float) and math.isnan(value)
