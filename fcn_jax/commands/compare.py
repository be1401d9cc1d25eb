"""Compares runs: reports of what their folders hold, the first run against the others.

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
from fcn_jax.reports.comparison import Comparison, find_differences, make_report, write_csv
from fcn_jax.reports.cost import count_multiply_adds
from fcn_jax.reports.intervals import find_intervals, find_missing
from fcn_jax.reports.runs import (
    SCORES,
    Group,
    Run,
    common_samples,
    group_runs,
    read_run,
    short_names,
)
from fcn_jax.reports.tables import decimals, over_seeds
from fcn_jax.train.samples import open_picture

HELP = "compare runs: a page with scores, intervals, curves and sample predictions"
EXAMPLES = """
python launch.py compare runs/camvid_fcn32s runs/camvid_fcn8s --output=report/
python launch.py compare runs/a runs/b --images=0016E5_07959,0016E5_08011 --format=pdf
python launch.py compare runs/* --split=test --step=best --title="Skips against atrous"
"""


_FORMATS = ("html", "pdf")
_MOST_SHOWN = 6  # images, where it is not said which
_USUAL_SIZE = (375, 500)  # of an image of VOC, where no sample says how large images are


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
    parser.add_argument(
        "--images", default="", metavar="ID,ID", help="images to show, of samples/ of all runs"
    )
    parser.add_argument(
        "--format",
        choices=_FORMATS,
        default="html",
        help="html (default), or pdf for report.pdf as well",
    )


def run(args: argparse.Namespace) -> None:
    folders = _choose_folders([Path(folder) for folder in args.runs])
    runs = [
        read_run(folder, name=name, split=args.split, step=args.step)
        for folder, name in zip(folders, short_names(folders), strict=True)
    ]
    _check_classes(runs)
    groups = group_runs(runs)
    differences = find_differences(groups)
    if differences:
        print(f"warning: not a like-for-like comparison: {differences}", file=sys.stderr)

    ids, note = _choose_images([group.first for group in groups], args.images)
    size = _find_size(groups[0].first, ids)
    comparison = Comparison(
        title=args.title
        or f"{runs[0].evaluation['dataset']} {args.split}: {len(runs)} runs compared",
        step=args.step,
        groups=groups,
        differences=differences,
        intervals=find_intervals(groups),
        ids=ids,
        note=note,
        multiply_adds=[
            count_multiply_adds(group.first, height=size[0], width=size[1]) for group in groups
        ],
        size=size,
    )
    output = local_path(args.output)
    output.mkdir(parents=True, exist_ok=True)
    written = _write(comparison, runs, output, with_pdf=args.format == "pdf")

    _print_table(groups)
    if groups[1:] and (missing := find_missing(groups)):
        print(f"note: no intervals of the differences: {missing}")
    if note:
        print(f"note: no predictions.png: {note}")
    for name in written:
        print(f"wrote {output / name}")


def _choose_folders(paths: Sequence[Path]) -> list[Path]:
    """Leaves out the files that a pattern such as runs/* finds beside run folders."""
    files = [path for path in paths if path.is_file()]
    if len(files) == len(paths):
        return list(paths)
    for file in files:
        print(f"note: {file} is a file and no run folder; left out", file=sys.stderr)
    return [path for path in paths if path not in files]


def _write(
    comparison: Comparison, runs: Sequence[Run], output: Path, *, with_pdf: bool
) -> list[str]:
    """Writes all files of the report; returns their names."""
    # Here and not above: matplotlib takes a second to import, which --help need not await.
    from fcn_jax.reports import figures
    from fcn_jax.reports.page import make_page
    from fcn_jax.reports.paper import make_pages, save_pdf
    from fcn_jax.reports.prediction_figure import draw_predictions

    groups = comparison.groups
    names = ["index.html", "README.md", "table.csv", "curves.png", "class_iou.png"]
    figures.draw_curves(groups, output / "curves.png")
    figures.draw_class_iou(groups, output / "class_iou.png")
    if comparison.ids:
        draw_predictions(groups, output / "predictions.png", ids=comparison.ids)
        names.append("predictions.png")
    else:  # that of an earlier report
        (output / "predictions.png").unlink(missing_ok=True)
    if with_pdf:
        save_pdf(make_pages(comparison), output / "report.pdf")
        names.append("report.pdf")
    write_text(output / "README.md", make_report(comparison))
    write_csv(groups, output / "table.csv", runs=runs)
    write_text(output / "index.html", make_page(comparison))
    return names


def _choose_images(runs: Sequence[Run], asked: str) -> tuple[list[str], str]:
    """Chooses the images to show; returns their ids, and why there are none."""
    common = common_samples(runs)
    if asked:
        ids = list(dict.fromkeys(image_id.strip() for image_id in asked.split(",")))
        if missing := [image_id for image_id in ids if image_id not in common]:
            there = ", ".join(common) or "none"
            raise UserError(
                f"--images: {missing[0]!r} is not among the samples of all runs; there are: {there}"
            )
        return ids, ""
    if common:
        return common[:_MOST_SHOWN], ""
    steps = ", ".join(dict.fromkeys(str(run.step) for run in runs))
    return [], (
        f"no picture in samples/{runs[0].evaluation['split']} was predicted "
        f"by all runs at their step ({steps})"
    )


def _find_size(run: Run, ids: Sequence[str]) -> tuple[int, int]:
    """Returns height and width of the first image that is shown."""
    if not ids:
        return _USUAL_SIZE
    width, height = open_picture(run.sample_files(ids[0])[0]).size
    return height, width


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
