"""The report of `check_data`, as it is read on a terminal."""

import math
from collections import Counter
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from fcn_jax.errors import counted
from fcn_jax.reports.terminal import print_table

_MAX_SHOWN = 5  # messages of one kind, and padded shapes; the JSON file has all
_MAX_ABSENT = 20  # names of classes


def print_report(report: dict[str, Any], *, see_all: bool) -> None:
    """Prints the report; `see_all` says how to get at what is left out here."""
    console = Console(highlight=False, markup=False)

    def say(line: str = "") -> None:
        console.print(line, soft_wrap=True)

    say(f"{report['experiment']}: data set {report['dataset']} in {report['source_dir']}")
    if report["split_by"]:
        say(f"split by {report['split_by']}")
    print_table(_make_list_table(report["lists"]))
    if any(list_["num_readable"] for list_ in report["lists"]):
        print_table(_make_class_table(report))
        for line in _explain(report):
            console.print(line)
        say()
    if report["remarks"]:
        say("Remarks: a build accepts these.")
        for remark in report["remarks"]:
            say(f"  {remark}")
        say()
    kinds = Counter(problem["kind"] for problem in report["problems"])
    if kinds:
        say(f"Problems, {kinds.total()} in all: a build stops at the first.")
    for kind, count in kinds.items():
        say(f"  {kind} ({count})")
        messages = [p["message"] for p in report["problems"] if p["kind"] == kind]
        for message in messages[:_MAX_SHOWN]:
            say("\n".join(f"    {line}" for line in message.splitlines()))
        if count > _MAX_SHOWN:
            where = "; --output=FILE.json writes all" if see_all else ""
            say(f"    and {count - _MAX_SHOWN} more{where}")


def _make_list_table(lists: list[dict[str, Any]]) -> Table:
    table = Table(box=SIMPLE_HEAD)
    table.add_column("files of", no_wrap=True)
    table.add_column("pairs", justify="right", no_wrap=True)
    table.add_column("readable", justify="right", no_wrap=True)
    table.add_column("height x width", no_wrap=True)
    table.add_column("images")
    table.add_column("labels")
    for list_ in lists:
        table.add_row(
            list_["name"],
            str(list_["num_pairs"]),
            str(list_["num_readable"]),
            _size_range(list_["sizes"]),
            _count_kinds(list_["image_kinds"]),
            _count_kinds(list_["label_kinds"]),
        )
    return table


def _size_range(sizes: list[dict[str, int]]) -> str:
    if not sizes:
        return "-"
    sides = [sorted({size[side] for size in sizes}) for side in ("height", "width")]
    return " x ".join(
        str(side[0]) if len(side) == 1 else f"{side[0]}..{side[-1]}" for side in sides
    )


def _count_kinds(kinds: dict[str, int]) -> str:
    if len(kinds) == 1:
        return next(iter(kinds))
    return ", ".join(f"{count} {kind}" for kind, count in kinds.items()) or "-"


def _make_class_table(report: dict[str, Any]) -> Table:
    counts = report["class_counts"]
    table = Table(box=SIMPLE_HEAD)
    table.add_column("", justify="right", no_wrap=True)
    table.add_column("class", overflow="fold")
    for split in counts:
        table.add_column(f"{split}\npixels", justify="right", no_wrap=True)
        table.add_column("\nimages", justify="right", no_wrap=True)
    table.add_column("median\nfreq.", justify="right", no_wrap=True)
    table.add_column("inverse\nlog", justify="right", no_wrap=True)
    weights = report["class_weights"]
    for number, name in enumerate(report["class_names"]):
        row = [str(number), name]
        for column in counts.values():
            share = column["pixels"][number] / max(sum(column["pixels"]), 1)
            row += [f"{share:.4f}" if share else "-", str(column["images"][number])]
        row += [_show(weights[kind][number]) for kind in ("median_frequency", "inverse_log")]
        table.add_row(*row)
    row = ["255", "void, of all"]
    for column in counts.values():
        row += [f"{column['void_pixels'] / max(_total(column), 1):.4f}", ""]
    table.add_row(*row, "", "")
    return table


def _total(column: dict[str, Any]) -> int:
    return sum(column["pixels"]) + column["void_pixels"]


def _show(weight: float) -> str:
    return "-" if math.isnan(weight) else f"{weight:.2f}"


def _show_values(values: list[int]) -> str:
    if len(values) > _MAX_SHOWN:
        values = [*values[:2], "...", values[-1]]
    return "{" + ", ".join(map(str, values)) + "}"


def _explain(report: dict[str, Any]) -> list[str]:
    train, val = report["train_split"], report["eval_split"]
    lines = [
        f"Last columns: class weights from {train}: median frequency (Eigen and Fergus 2015), "
        + "inverse log (ENet: 1 / ln(1.02 + share))."
    ]
    for split, column in report["class_counts"].items():
        names = zip(report["class_names"], column["pixels"], strict=True)
        if absent := [name for name, pixels in names if not pixels]:
            shown = ", ".join(absent[:_MAX_ABSENT])
            more = f" and {len(absent) - _MAX_ABSENT} more" * (len(absent) > _MAX_ABSENT)
            lines.append(f"No pixel in {split}: {shown}{more}.")
        sets = column["value_sets"]
        if 1 < len(sets) <= _MAX_SHOWN:
            shown = [f"{s['labels']} hold {_show_values(s['values'])}" for s in sets]
            lines.append(f"Labels of {split}: {', '.join(shown)}.")
    unreadable = sum(list_["num_pairs"] - list_["num_readable"] for list_ in report["lists"])
    if unreadable:
        lines.append(f"Left out of all numbers: {counted(unreadable, 'pair')} that cannot be read.")
    if baseline := report["baseline"]:
        lines.append(
            f"To beat: {baseline['class_name']!r} at every pixel of {val} scores mean IoU "
            f"{baseline['mean_iou']:.4f}, pixel accuracy {baseline['pixel_acc']:.4f}."
        )
    shapes = report["evaluation"]["shapes"]
    if shapes:
        shown = [f"{s['height']}x{s['width']} ({s['images']})" for s in shapes[:_MAX_SHOWN]]
        shown += [f"{len(shapes) - _MAX_SHOWN} more"] if len(shapes) > _MAX_SHOWN else []
        multiple = report["evaluation"]["size_multiple"]
        lines.append(
            f"Evaluation pads {val} to {counted(len(shapes), 'shape')} (images): "
            f"{', '.join(shown)}; "
            f"{report['evaluation']['padding_frac']:.1%} of the pixels are padding "
            f"(eval.size_multiple={multiple})."
        )
    return lines
