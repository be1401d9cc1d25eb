"""The report of a comparison as text: README.md for people, table.csv for programs.

Scores are fractions, as everywhere in the house: README.md has four digits of them, table.csv all.
In README.md the first run is the one that the others are compared with.
"""

import csv
import math
import re
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from fcn_jax.atomic_file import replacing
from fcn_jax.reports.runs import SCORES, Group, Run

# The network is what is compared; the others are reported from the evaluations.
_REPORTED_ELSEWHERE = re.compile(r"model\..*|seed|data\.name|eval\.(split|convention|boundary_px)")
_LONGEST_VALUE = 40


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
        label: f"{label} ({', '.join(_short(value) for value in values)})"
        for label, values in conditions.items()
        if any(value != values[0] for value in values)
    }
    true_pixels = [[sum(row) for row in run.evaluation["counts"]] for run in runs]
    same_images = not found.keys() & {"data set", "images"}
    if same_images and any(pixels != true_pixels[0] for pixels in true_pixels):
        found["pixels"] = "true pixels of the classes (other images or labels under the same names)"
    return "; ".join(found.values())


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 4]} ..."


def make_report(
    groups: Sequence[Group], *, title: str, step: str, differences: str, note: str
) -> str:
    """Makes the text of README.md, which shows the pictures that lie beside it.

    Args:
        groups: Runs to compare; the first group is the base.
        title: Heading.
        step: Step of the evaluations as it was asked for: 'last', 'best' or a number.
        differences: What `find_differences` says of the groups.
        note: Reason why there is no predictions.png; '' if there is one.
    """
    first = groups[0].first
    split = first.evaluation["split"]
    sections = [
        f"# {_escape(title)}",
        _setting(groups, step=step),
        differences and f"**Not a like-for-like comparison:** {differences}.",
        _score_table(groups),
        "![Training loss and mean IoU](curves.png)",
        "## IoU of each class",
        groups[1:] and f"In brackets: the difference to {_escape(groups[0].name)}.",
        _class_table(groups),
        "![IoU of each class](class_iou.png)",
        "## Predictions",
        f"Note: {note}." if note else f"![Images of {split}](predictions.png)",
        "## Where the numbers come from",
        *(_provenance(run) for group in groups for run in group.runs),
    ]
    return "\n\n".join(filter(None, sections)) + "\n"


def write_csv(runs: Sequence[Run], path: Path) -> None:
    """Writes one line for each run; what is not defined, such as an absent class, is empty."""
    rows = [_csv_row(run) for run in runs]
    with replacing(path) as beside, beside.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


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


def _setting(groups: Sequence[Group], *, step: str) -> str:
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


def _table(header: Sequence[str], rows: Sequence[Sequence[object]], *, num_left: int) -> str:
    """Makes a Markdown table; the first `num_left` columns are texts, the others numbers."""
    rule = [":--"] * num_left + ["--:"] * (len(header) - num_left)
    lines = [map(_escape, header), rule, *(map(_escape, row) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _escape(text: object) -> str:
    """Writes what Markdown would take for its own signs, such as a bar in the name of a class."""
    return re.sub(r"([|<*`$\\\[])", r"\\\1", str(text))


def _score_table(groups: Sequence[Group]) -> str:
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
                run.info.get("finest_stride", "-"),
                run.info.get("output_stride", "-"),
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
    return _table(header, rows, num_left=2)


def _class_table(groups: Sequence[Group]) -> str:
    base, *others = (group.class_iou.T for group in groups)
    rows = [
        [name, over_seeds(base[i]), *(over_seeds(other[i], base=base[i]) for other in others)]
        for i, name in enumerate(groups[0].first.class_names)
    ]
    return _table(["class", *(group.name for group in groups)], rows, num_left=1)


def _provenance(run: Run) -> str:
    lines = [f"### {run.name}", ""]
    lines += [f"- experiment {run.info['experiment']}, seed {run.info['seed']}"]
    for launch in run.info["launches"]:
        commit = launch["git_commit"][:12] or "unknown"
        dirty = " (with uncommitted changes)" if launch["git_dirty"] else ""
        end = f"to {launch['end_step']}" if "end_step" in launch else "(killed)"
        versions = {"python": launch["python"], **launch["versions"]}
        lines += [
            f"- from step {launch['start_step']} {end}: commit {commit}{dirty}",
            f"  - {launch['machine']}; {', '.join(launch['devices'])}",
            f"  - {', '.join(f'{name} {version}' for name, version in versions.items())}",
        ]
    mean_iou, evaluation = decimals(run.scores["mean_iou"], 4), run.evaluation
    lines += [f"- mean IoU {mean_iou} out of eval/{evaluation['split']}-{run.step}.json"]
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


def _undefined(value: object) -> bool:
    return isinstance(value, float) and math.isnan(value)
