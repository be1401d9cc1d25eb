"""Compares runs: a report of what their folders hold, the first run against the others.

Runs that differ only in their seeds are shown as one, with the mean and the spread of their scores.
"""

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from fcn_jax.atomic_file import local_path, write_text
from fcn_jax.errors import UserError
from fcn_jax.reports.comparison import (
    decimals,
    find_differences,
    make_report,
    over_seeds,
    write_csv,
)
from fcn_jax.reports.runs import (
    SCORES,
    Group,
    Run,
    common_samples,
    group_runs,
    read_run,
    short_names,
)

HELP = "compare runs: tables, curves, scores of each class and sample predictions"
EXAMPLES = """
python launch.py compare runs/camvid_fcn32s runs/camvid_fcn8s --output=report/
python launch.py compare runs/* --split=test --step=best --title="Skips against atrous"
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", nargs="+", metavar="RUN", help="run folder; the first is the base")
    parser.add_argument(
        "--output", default="report", metavar="FOLDER", help="folder to write (default: report)"
    )
    parser.add_argument(
        "--split", default="val", help="split whose scores are compared (default: val)"
    )
    parser.add_argument(
        "--step", default="last", help="last (default), best (highest mean IoU) or a number"
    )
    parser.add_argument("--title", default="", help="heading of the report")


def run(args: argparse.Namespace) -> None:
    folders = [Path(folder) for folder in args.runs]
    runs = [
        read_run(folder, name=name, split=args.split, step=args.step)
        for folder, name in zip(folders, short_names(folders), strict=True)
    ]
    _check_classes(runs)
    groups = group_runs(runs)
    differences = find_differences(groups)
    if differences:
        print(f"warning: not a like-for-like comparison: {differences}", file=sys.stderr)

    output = local_path(args.output)
    output.mkdir(parents=True, exist_ok=True)
    note = _draw(groups, output)
    title = args.title or f"{runs[0].evaluation['dataset']} {args.split}: {len(runs)} runs compared"
    report = make_report(groups, title=title, step=args.step, differences=differences, note=note)
    write_text(output / "README.md", report)
    write_csv(runs, output / "table.csv")

    _print_table(groups)
    if note:
        print(f"note: {note}")
    for name in ("README.md", "table.csv", "curves.png", "class_iou.png", "predictions.png"):
        if (output / name).exists():
            print(f"wrote {output / name}")


def _check_classes(runs: Sequence[Run]) -> None:
    for other in runs[1:]:
        if other.class_names != runs[0].class_names:
            raise UserError(
                f"{runs[0].name} and {other.name} have different classes "
                f"({_some(runs[0].class_names)} against {_some(other.class_names)}); "
                "compare runs of one data set"
            )


def _some(names: Sequence[str]) -> str:
    return f"{len(names)}: {', '.join(names[:3])}{', ...' if len(names) > 3 else ''}"


def _draw(groups: Sequence[Group], output: Path) -> str:
    """Draws all pictures; returns why there is no predictions.png, '' if there is one."""
    # Here and not above: matplotlib takes a second to import, which --help need not await.
    from fcn_jax.reports import figures

    figures.draw_curves(groups, output / "curves.png")
    figures.draw_class_iou(groups, output / "class_iou.png")
    runs = [group.first for group in groups]
    ids = common_samples(runs)
    if ids:
        figures.draw_predictions(groups, output / "predictions.png", ids=ids)
        return ""
    (output / "predictions.png").unlink(missing_ok=True)  # that of an earlier report
    steps = ", ".join(dict.fromkeys(str(run.step) for run in runs))
    return (
        f"no predictions.png: no picture in samples/{runs[0].evaluation['split']} was predicted "
        f"by all runs at their step ({steps})"
    )


def _print_table(groups: Sequence[Group]) -> None:
    """Prints the scores; where the terminal is narrow, it says which columns are left out."""
    runs = [group.first for group in groups]
    columns = {
        label: [over_seeds(group.scores(key)) for group in groups] for key, label in SCORES.items()
    }
    if not all(math.isnan(run.boundary_iou) for run in runs):
        columns["boundary"] = [over_seeds(group.boundary_iou) for group in groups]
    columns |= {
        "stride": [str(run.info.get("finest_stride", "-")) for run in runs],
        "params": [f"{run.info['num_params'] / 1e6:.2f}M" for run in runs],
        "step": [f"{run.step:,}" for run in runs],
        "train min": [decimals(run.train_minutes, 1) for run in runs],
        "images/s": [decimals(run.images_per_s, 1) for run in runs],
    }
    console = Console(highlight=False, markup=False)
    names = ["run", *(group.name for group in groups)]
    lines = [name.ljust(max(map(len, names))) for name in names]
    left_out = []
    for label, values in columns.items():
        width = 2 + max(map(len, [label, *values]))
        if console.is_terminal and (left_out or len(lines[0]) + width > console.width):
            left_out.append(label)
            continue
        lines = [
            line + cell.rjust(width) for line, cell in zip(lines, [label, *values], strict=True)
        ]
    for line in lines:
        console.print(line, style="bold" if line is lines[0] else "", soft_wrap=True)
    if left_out:
        console.print(f"too narrow here, see table.csv: {', '.join(left_out)}", soft_wrap=True)
