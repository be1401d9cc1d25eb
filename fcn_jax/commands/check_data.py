"""Checks a user's folder before anything is built from it, and says what it holds."""

import argparse
import json
import math
import shlex
import sys
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

from fcn_jax.commands import recipes

HELP = "check a folder of images and labels: every problem, and what the labels hold"
EXAMPLES = """\
python launch.py check_data --config=custom_fcn8s --config.data.source_dir=my_folder
python launch.py check_data --config=voc_fcn8s --config.data.source_dir=VOC --output=check.json
"""

_MAX_SHOWN = 5  # messages of one kind, and padded shapes; the JSON file has all


def add_arguments(parser: argparse.ArgumentParser) -> None:
    recipes.add_config_argument(parser)
    parser.add_argument("--output", metavar="FILE", help="write everything to this JSON file too")


def run(args: argparse.Namespace) -> int:
    from fcn_jax.data.checkup import check_folder

    config = args.config.to_dict()
    data = {key: value for key, value in config["data"].items() if key != "data_dir"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, about files that are reported here
        checkup = check_folder(**data, on_pair=_show_progress)
    report = _make_report(args.experiment, config, checkup)
    _print(report, see_all=not args.output)
    if args.output:
        Path(args.output).write_text(json.dumps(_without_nan(report), indent=1) + "\n")
        print(f"everything is in {args.output}")
    if report["ok"]:
        words = args.command_line.replace(" check_data ", " prepare ", 1)
        words = shlex.join(word for word in shlex.split(words) if not word.startswith("--output"))
        print(f"all is well; next: {words}" if not args.output else "all is well")
    return 0 if report["ok"] else 1


def _show_progress(done: int, total: int) -> None:
    if sys.stderr.isatty():
        end = "\r\033[K" if done == total else ""
        print(f"\r  {done} of {total} pairs", end=end, file=sys.stderr, flush=True)


# --- the report, as it goes into the JSON file ------------------------------------------------


def _make_report(experiment: str, config: dict[str, Any], checkup) -> dict[str, Any]:
    train, val = config["train"]["split"], config["eval"]["split"]
    problems = [{"kind": p.kind, "message": str(p)} for p in checkup.problems]
    for split in dict.fromkeys((train, val)):
        if split not in checkup.splits:
            message = f"{experiment} needs the split {split!r}; this folder makes "
            message += ", ".join(checkup.splits) or "none"
            problems.append({"kind": "missing split", "message": message})
    return {
        "experiment": experiment,
        "dataset": config["data"]["name"],
        "source_dir": config["data"]["source_dir"],
        "ok": not problems,
        "problems": problems,
        "remarks": list(checkup.remarks),
        "lists": [_describe_list(name, found) for name, found in checkup.facts.items()],
        "splits": {split: len(picks) for split, picks in checkup.splits.items()},
        "train_split": train,
        "eval_split": val,
        **_describe_classes(checkup, train, val),
        "baseline": _score_baseline(checkup, train, val, config["eval"]["convention"]),
        "evaluation": _describe_shapes(checkup.read(val), config["eval"]["size_multiple"]),
    }


def _describe_list(name: str, found: list) -> dict[str, Any]:
    readable = [facts for facts in found if facts]
    sizes = Counter(facts.size for facts in readable)
    return {
        "name": name,
        "num_pairs": len(found),
        "num_readable": len(readable),
        "image_kinds": dict(Counter(facts.image_kind for facts in readable)),
        "label_kinds": dict(Counter(facts.label_kind for facts in readable)),
        "sizes": [{"height": h, "width": w, "images": n} for (h, w), n in sizes.most_common()],
    }


def _describe_classes(checkup, train: str, val: str) -> dict[str, Any]:
    from fcn_jax.data.class_weights import inverse_log, median_frequency

    columns = {}
    for split in dict.fromkeys((train, val)):
        pixels = checkup.count_pixels(split)
        every = sum(int(facts.counts.sum()) for facts in checkup.read(split))
        columns[split] = {
            "pixels": pixels.sum(0).tolist(),
            "images": (pixels > 0).sum(0).tolist(),
            "void_pixels": every - int(pixels.sum()),
        }
    pixels = checkup.count_pixels(train)
    return {
        "class_names": list(checkup.labels.names),
        "class_counts": columns,
        "class_weights": {
            "median_frequency": median_frequency(pixels).tolist(),
            "inverse_log": inverse_log(pixels).tolist(),
        },
    }


def _score_baseline(checkup, train: str, val: str, convention: str) -> dict[str, Any] | None:
    """Scores a network that sees the most frequent class of `train` at every pixel of `val`."""
    import numpy as np

    from fcn_jax.ops import metrics

    in_train, in_val = (checkup.count_pixels(split).sum(0) for split in (train, val))
    if not in_train.any() or not in_val.any():
        return None
    number = int(in_train.argmax())
    counts = np.zeros((len(in_val), len(in_val)), np.int64)
    counts[:, number] = in_val
    scores = metrics.scores(counts, convention=convention)
    return {
        "class_name": checkup.labels.names[number],
        "mean_iou": scores["mean_iou"],
        "pixel_acc": scores["pixel_acc"],
        "convention": convention,
    }


def _describe_shapes(val: list, size_multiple: int) -> dict[str, Any]:
    """Describes the shapes that evaluation pads the images to; each of them is compiled once."""

    def pad(side: int) -> int:
        return -(-side // size_multiple) * size_multiple

    shapes = Counter((pad(facts.size[0]), pad(facts.size[1])) for facts in val)
    padded = sum(height * width * images for (height, width), images in shapes.items())
    native = sum(facts.size[0] * facts.size[1] for facts in val)
    return {
        "size_multiple": size_multiple,
        "shapes": [{"height": h, "width": w, "images": n} for (h, w), n in shapes.most_common()],
        "padding_frac": 1 - native / padded if padded else 0.0,
    }


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_without_nan(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


# --- the report, as it is read ----------------------------------------------------------------


def _print(report: dict[str, Any], *, see_all: bool) -> None:
    from rich.console import Console

    console = Console(highlight=False, markup=False)

    def say(line: str = "") -> None:
        console.print(line, soft_wrap=True)

    say(f"{report['experiment']}: data set {report['dataset']} in {report['source_dir']}")
    console.print(_make_list_table(report["lists"]))
    if any(list_["num_readable"] for list_ in report["lists"]):
        console.print(_make_class_table(report))
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


def _make_list_table(lists: list[dict[str, Any]]):
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

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


def _make_class_table(report: dict[str, Any]):
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

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


def _explain(report: dict[str, Any]) -> list[str]:
    train, val = report["train_split"], report["eval_split"]
    lines = [
        f"Last columns: class weights from {train}: median frequency (Eigen and Fergus 2015), "
        + "inverse log (ENet: 1 / ln(1.02 + share))."
    ]
    for split, column in report["class_counts"].items():
        names = zip(report["class_names"], column["pixels"], strict=True)
        if absent := [name for name, pixels in names if not pixels]:
            lines.append(f"No pixel in {split}: {', '.join(absent)}.")
    unreadable = sum(list_["num_pairs"] - list_["num_readable"] for list_ in report["lists"])
    if unreadable:
        lines.append(f"Left out of all numbers: {unreadable} pairs that cannot be read.")
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
        plural = "shapes" if len(shapes) > 1 else "shape"
        lines.append(
            f"Evaluation pads {val} to {len(shapes)} {plural} (images): {', '.join(shown)}; "
            f"{report['evaluation']['padding_frac']:.1%} of the pixels are padding "
            f"(eval.size_multiple={multiple})."
        )
    return lines
