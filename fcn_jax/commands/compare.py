"""`compare`: a report of several runs, out of what their folders hold.

Reads only the JSON files and the sample pictures of the run folders: no data set, no checkpoint,
no device. Every score is computed again from the confusion counts, and must agree with the score
that the run stored. The first run is the one that the others are compared with.
"""

import argparse
import csv
import json
import math
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table
from rich.text import Text

HELP = "compare runs: tables, curves, scores of each class and sample predictions"
EXAMPLES = """
python launch.py compare runs/camvid_fcn32s runs/camvid_fcn8s --output=report/
python launch.py compare runs/* --split=test --step=best --title="Skips against atrous"
"""

# Okabe and Ito (2008): told apart with any colour vision. Its yellow is left out (too pale on
# white) and black comes last. Markers repeat with another period, so that 8 + n differ too.
_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<")

_MAX_SAMPLES = 6

# Stored scores are the same float64 arithmetic on the same integers, printed as JSON.
_TOLERANCE = 1e-9

_SCORES = (
    ("mean_iou", "mean IoU"),
    ("pixel_acc", "pixel acc"),
    ("mean_acc", "mean acc"),
    ("fw_iou", "fw IoU"),
)


@dataclass(frozen=True)
class Run:
    """A run folder, and the one evaluation of it that enters the report.

    Attributes:
        name: short and unlike those of the other runs.
        train_log: the train lines of metrics.jsonl, one for each step, in order of steps.
        iou_curve: step -> mean IoU on the split.
        counts: rows true, columns predicted.
        scores: computed from `counts`.
    """

    name: str
    folder: Path
    config: dict
    info: dict
    train_log: list[dict]
    iou_curve: dict[int, float]
    eval_file: Path
    evaluation: dict
    counts: np.ndarray
    scores: dict

    @property
    def step(self) -> int:
        return self.evaluation["step"]

    @property
    def class_names(self) -> list[str]:
        return self.evaluation["class_names"]

    @property
    def train_minutes(self) -> float:
        return sum(launch.get("train_s") or 0 for launch in self.info["launches"]) / 60

    @property
    def images_per_s(self) -> float:
        rates = [line["images_per_s"] for line in self.train_log if line.get("images_per_s")]
        return float(np.median(rates)) if rates else float("nan")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", nargs="+", metavar="RUN", help="run folder; the first is the base")
    parser.add_argument("--output", default="report", metavar="FOLDER", help="default: report")
    parser.add_argument("--split", default="val", help="default: val")
    parser.add_argument(
        "--step", default="last", help="last (default), best (highest mean IoU) or a number"
    )
    parser.add_argument("--title", default="", help="heading of the report")


def run(args: argparse.Namespace) -> None:
    folders = [Path(folder) for folder in args.runs]
    names = _short_names(folders)
    runs = [
        read_run(folder, name=name, split=args.split, step=args.step)
        for folder, name in zip(folders, names, strict=True)
    ]
    _check_classes(runs)
    differences = find_differences(runs)
    if differences:
        print(f"warning: not a like-for-like comparison: {differences}", file=sys.stderr)

    output = Path(args.output)
    output.mkdir(parents=True, exist_ok=True)
    write_csv(runs, output / "table.csv")
    figures, notes = _draw_figures(runs, output, split=args.split)
    title = args.title or f"{runs[0].evaluation['dataset']} {args.split}: {len(runs)} runs compared"
    report = make_report(
        runs, title=title, step=args.step, differences=differences, figures=figures, notes=notes
    )
    (output / "README.md").write_text(report, encoding="utf-8")

    _print_table(runs)
    for note in notes:
        print(f"note: {note}")
    for name in ("README.md", "table.csv", *figures):
        print(f"wrote {output / name}")


# Reading


def read_run(folder: Path, *, name: str, split: str, step: str) -> Run:
    """Reads a run folder.

    Args:
        step: 'last', 'best' (highest mean IoU on the split) or a number.

    Raises:
        FileNotFoundError: if it is no run folder, or has no such evaluation.
        ValueError: if a file is damaged, or the stored scores are not those of the counts.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"no run folder {folder}")
    if not (folder / "run.json").is_file():
        raise FileNotFoundError(f"{folder} is not a run folder: it has no run.json")
    lines = _read_lines(folder / "metrics.jsonl")
    eval_file = _find_eval(folder, split=split, step=step)
    evaluation = _read_json(eval_file)
    counts = np.array(evaluation["counts"], np.int64)
    # When a run was killed and went on from an older checkpoint, the later line of a step stands.
    train_log = {line["step"]: line for line in lines if line["kind"] == "train"}
    iou_curve = {
        line["step"]: line["mean_iou"]
        for line in lines
        if line["kind"] == "eval" and line["split"] == split and line["mean_iou"] is not None
    }
    iou_curve |= _stored_ious(folder, split)
    return Run(
        name=name,
        folder=folder,
        config=_read_json(folder / "config.json"),
        info=_read_json(folder / "run.json"),
        train_log=[train_log[key] for key in sorted(train_log)],
        iou_curve=dict(sorted(iou_curve.items())),
        eval_file=eval_file,
        evaluation=evaluation,
        counts=counts,
        scores=_check_scores(counts, evaluation, eval_file),
    )


def _read_json(path: Path) -> dict:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is damaged: {error}") from error


def _read_lines(path: Path) -> list[dict]:
    """Reads JSON lines; a run that was killed may leave half a line at the end."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    records = []
    for number, line in enumerate(lines, 1):
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError as error:
            if number < len(lines):
                raise ValueError(f"{path}, line {number} is damaged: {error}") from error
    return records


def _eval_files(folder: Path, split: str) -> dict[int, Path]:
    files = {}
    for path in (folder / "eval").glob(f"{split}-*.json"):
        step = path.stem.removeprefix(f"{split}-")
        if step.isdecimal():
            files[int(step)] = path
    return dict(sorted(files.items()))


def _stored_ious(folder: Path, split: str) -> dict[int, float]:
    stored = {step: _read_json(p)["mean_iou"] for step, p in _eval_files(folder, split).items()}
    return {step: mean_iou for step, mean_iou in stored.items() if mean_iou is not None}


def _find_eval(folder: Path, *, split: str, step: str) -> Path:
    files = _eval_files(folder, split)
    if step not in ("last", "best") and not step.isdecimal():
        raise ValueError(f"--step={step}; wanted last, best or a number")
    if step == "last" and files:
        return files[max(files)]
    if step == "best" and (stored := _stored_ious(folder, split)):
        return files[max(stored, key=stored.get)]
    if step.isdecimal() and int(step) in files:
        return files[int(step)]
    which = f"step {step}" if step.isdecimal() else f"the {step} step"
    there = ", ".join(sorted(path.stem for path in (folder / "eval").glob("*.json"))) or "none"
    raise FileNotFoundError(
        f"{folder} has no evaluation of {split} at {which}; its evaluations: {there}\n"
        f"Make one: python launch.py evaluate --workdir={shlex.quote(str(folder))} --split={split}"
    )


def _check_scores(counts: np.ndarray, evaluation: dict, path: Path) -> dict:
    # Here and not above: metrics imports jax, which --help and the errors before need not await.
    from fcn_jax.ops import metrics

    num_classes = len(evaluation["class_names"])
    if counts.shape != (num_classes, num_classes):
        raise ValueError(f"{path} has counts of shape {counts.shape} for {num_classes} classes")
    scores = metrics.scores(counts, convention=evaluation["convention"])
    for key, label in _SCORES:
        stored = float("nan") if evaluation[key] is None else evaluation[key]
        if not np.isclose(scores[key], stored, rtol=0, atol=_TOLERANCE, equal_nan=True):
            raise ValueError(
                f"{path}: its counts give {label} {scores[key]:.6f}, but it says {stored:.6f}\n"
                "The file was changed, or a score was not computed from the counts: evaluate again."
            )
    return scores


def _short_names(folders: Sequence[Path]) -> list[str]:
    """Names folders by their last parts, as many as it takes to tell them apart."""
    parts = [folder.resolve().parts for folder in folders]
    for depth in range(1, max(map(len, parts)) + 1):
        names = ["/".join(part[-depth:]) for part in parts]
        if len(set(names)) == len(names):
            return names
    raise ValueError("a run folder is given twice")


# Judging


def _check_classes(runs: Sequence[Run]) -> None:
    for other in runs[1:]:
        if other.class_names != runs[0].class_names:
            raise ValueError(
                f"{runs[0].name} and {other.name} have different classes "
                f"({_some(runs[0].class_names)} against {_some(other.class_names)}); "
                "compare runs of one data set"
            )


def _some(names: Sequence[str]) -> str:
    return f"{len(names)}: {', '.join(names[:3])}{', ...' if len(names) > 3 else ''}"


def find_differences(runs: Sequence[Run]) -> str:
    """Says in what the conditions of runs differ, apart from the network; '' if in nothing."""
    conditions = {
        "data set": [run.evaluation["dataset"] for run in runs],
        "images": [run.evaluation["num_images"] for run in runs],
        "convention": [run.evaluation["convention"] for run in runs],
        "evaluated step": [run.step for run in runs],
        "train.num_steps": [run.config["train"]["num_steps"] for run in runs],
        "train.batch_size": [run.config["train"]["batch_size"] for run in runs],
        "seed": [run.config["seed"] for run in runs],
    }
    for key in sorted({key for run in runs for key in run.config["augment"]}):
        conditions[f"augment.{key}"] = [run.config["augment"].get(key) for run in runs]
    found = [
        f"{label} ({', '.join(str(value) for value in values)})"
        for label, values in conditions.items()
        if any(value != values[0] for value in values)
    ]
    same_images = not any("data set" in text or "images" in text for text in found)
    true_pixels = [run.counts.sum(1).tolist() for run in runs]
    if same_images and any(pixels != true_pixels[0] for pixels in true_pixels):
        found.append("true pixels of the classes (other images or labels under the same names)")
    return "; ".join(found)


# Writing


def _percent(value: float) -> str:
    return "-" if np.isnan(value) else f"{100 * value:.2f}"


def _number(value: float | None, form: str) -> str:
    return "-" if value is None or np.isnan(value) else format(value, form)


def _change(value: float, base: float) -> str:
    return "" if np.isnan(value - base) else f" ({100 * (value - base):+.2f})"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], *, align: str) -> list[str]:
    """Makes a Markdown table; `align` has a letter, l or r, for each column."""
    rules = {"l": ":--", "r": "--:"}
    lines = [header, [rules[letter] for letter in align], *rows]
    return [f"| {' | '.join(str(c).replace('|', chr(92) + '|') for c in line)} |" for line in lines]


def make_report(
    runs: Sequence[Run],
    *,
    title: str,
    step: str,
    differences: str,
    figures: Sequence[str],
    notes: Sequence[str],
) -> str:
    """Writes the report as Markdown; `figures` are the files beside it that exist."""
    first = runs[0].evaluation
    sections = [
        [f"# {title}"],
        [_setting(runs, step=step)],
        [f"**Not a like-for-like comparison:** {differences}."] if differences else [],
        _score_table(runs),
        ["![Training loss and mean IoU](curves.png)"] if "curves.png" in figures else [],
        ["## IoU of each class"],
        ["In per cent" + (f"; in brackets the difference to {runs[0].name}." if runs[1:] else ".")],
        _class_table(runs),
        ["![IoU of each class](class_iou.png)"] if "class_iou.png" in figures else [],
        ["## Predictions"] if "predictions.png" in figures else [],
        [f"![Images of {first['split']}](predictions.png)"] if "predictions.png" in figures else [],
        [f"Note: {note}." for note in notes],
        ["## Where the numbers come from"],
        *(section for run in runs for section in _provenance(run)),
    ]
    return "\n\n".join("\n".join(lines) for lines in sections if lines) + "\n"


def _setting(runs: Sequence[Run], *, step: str) -> str:
    first = runs[0].evaluation
    images = " / ".join(f"{n:,}" for n in dict.fromkeys(r.evaluation["num_images"] for r in runs))
    conventions = " / ".join(dict.fromkeys(r.evaluation["convention"] for r in runs))
    text = (
        f"Data set {first['dataset']}, split {first['split']}: {images} images at their own size. "
        f"Scores in per cent, computed from the confusion counts of the whole split; convention "
        f"for absent classes: {conventions}."
    )
    if step == "best":
        text += (
            " Each run is shown at its step of highest mean IoU, chosen on these same images: "
            "such a score flatters a little."
        )
    return text


def _score_table(runs: Sequence[Run]) -> list[str]:
    header = ["run", "model", "finest stride", "output stride", "params", "step"]
    header += [label for _, label in _SCORES] + ["train minutes", "images/s"]
    rows = []
    for run_ in runs:
        base = runs[0].scores
        scores = [_percent(run_.scores[key]) for key, _ in _SCORES]
        if run_ is not runs[0]:
            scores[0] += _change(run_.scores["mean_iou"], base["mean_iou"])
        rows.append(
            [
                run_.name,
                run_.config["model"]["name"],
                run_.info.get("finest_stride", "-"),
                run_.info.get("output_stride", "-"),
                f"{run_.info['num_params']:,}",
                f"{run_.step:,}",
                *scores,
                _number(run_.train_minutes, ".1f"),
                _number(run_.images_per_s, ".1f"),
            ]
        )
    return _table(header, rows, align="llrrrr" + "r" * len(_SCORES) + "rr")


def _class_table(runs: Sequence[Run]) -> list[str]:
    rows = []
    for index, name in enumerate(runs[0].class_names):
        base = runs[0].scores["class_iou"][index]
        cells = [_percent(base)]
        for run_ in runs[1:]:
            value = run_.scores["class_iou"][index]
            cells.append(_percent(value) + _change(value, base))
        rows.append([name, *cells])
    return _table(["class", *(run_.name for run_ in runs)], rows, align="l" + "r" * len(runs))


def _provenance(run_: Run) -> list[list[str]]:
    facts = [f"- experiment {run_.info['experiment']}, seed {run_.info['seed']}"]
    commands = []
    for launch in run_.info["launches"]:
        commit = (launch.get("git_commit") or "unknown")[:12]
        dirty = " (with uncommitted changes)" if launch.get("git_dirty") else ""
        end = launch.get("end_step")  # a launch that was killed early has none
        steps = f"from step {launch.get('start_step')} {f'to {end}' if end else '(killed)'}"
        versions = {"python": launch.get("python"), **(launch.get("versions") or {})}
        facts += [
            f"- {steps}: commit {commit}{dirty}",
            f"  - {launch.get('machine')}; {', '.join(launch.get('devices') or ['?'])}",
            f"  - {', '.join(f'{name} {version}' for name, version in versions.items())}",
        ]
        commands.append(str(launch.get("command")))
    facts.append(f"- scores out of eval/{run_.eval_file.name}")
    return [[f"### {run_.name}"], facts, ["```", *commands, "```"]]


def write_csv(runs: Sequence[Run], path: Path) -> None:
    """Writes one line for each run, scores as fractions; an absent class is an empty cell."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(
            ["run", "model", "dataset", "split", "num_images", "convention", "step", "seed"]
            + ["finest_stride", "output_stride", "num_params", "train_minutes", "images_per_s"]
            + [key for key, _ in _SCORES]
            + [f"iou_{name}" for name in runs[0].class_names]
        )
        for run_ in runs:
            info, evaluation = run_.info, run_.evaluation
            values = [run_.scores[key] for key, _ in _SCORES] + list(run_.scores["class_iou"])
            writer.writerow(
                [run_.name, run_.config["model"]["name"], evaluation["dataset"]]
                + [evaluation[key] for key in ("split", "num_images", "convention", "step")]
                + [info["seed"], info.get("finest_stride"), info.get("output_stride")]
                + [info["num_params"]]
                + [_number(run_.train_minutes, ".3f"), _number(run_.images_per_s, ".3f")]
                + ["" if np.isnan(value) else repr(float(value)) for value in values]
            )


def _print_table(runs: Sequence[Run]) -> None:
    """Prints the scores; where the terminal is narrow, the last columns are left out."""
    columns = [("run", [run_.name for run_ in runs])]
    columns += [(label, [_percent(r.scores[key]) for r in runs]) for key, label in _SCORES]
    columns += [
        ("stride", [str(run_.info.get("finest_stride", "-")) for run_ in runs]),
        ("params", [f"{run_.info['num_params'] / 1e6:.2f}M" for run_ in runs]),
        ("step", [f"{run_.step:,}" for run_ in runs]),
        ("train min", [_number(run_.train_minutes, ".1f") for run_ in runs]),
        ("images/s", [_number(run_.images_per_s, ".1f") for run_ in runs]),
    ]
    console = Console(highlight=False)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    cells: list[list[str]] = []
    used = 0
    for number, (label, values) in enumerate(columns):
        width = max(len(text) for text in (label, *values))
        used += width + 2
        if number > 1 and console.is_terminal and used - 2 > console.width:
            break
        table.add_column(
            label, justify="right" if number else "left", min_width=width, no_wrap=True
        )
        cells.append(values)
    for row in zip(*cells, strict=True):
        table.add_row(*(Text(cell) for cell in row))
    console.print(table, width=max(used, console.width), crop=False, soft_wrap=True)


# Drawing


def _draw_figures(runs: Sequence[Run], output: Path, *, split: str) -> tuple[list[str], list[str]]:
    """Draws what the runs have; returns the files, and a note for each picture left out."""
    figures, notes = [], []
    if any(run_.train_log or run_.iou_curve for run_ in runs):
        draw_curves(runs, output / "curves.png", split=split)
        figures.append("curves.png")
    else:
        notes.append("no curves.png: no run has a metrics.jsonl")
    draw_class_iou(runs, output / "class_iou.png", split=split)
    figures.append("class_iou.png")
    ids = _common_samples(runs, split)
    if ids:
        draw_predictions(runs, output / "predictions.png", split=split, ids=ids)
        figures.append("predictions.png")
    else:
        steps = ", ".join(str(step) for step in dict.fromkeys(run_.step for run_ in runs))
        notes.append(
            f"no predictions.png: no picture in samples/{split} was predicted by all runs "
            f"at their step ({steps})"
        )
    for name in ("curves.png", "predictions.png"):
        if name not in figures:
            (output / name).unlink(missing_ok=True)  # not the picture of an earlier report
    return figures, notes


def _make_figure(width: float, height: float, *, layout: str = "constrained"):
    # Not pyplot: no window, no state. Here and not above: matplotlib takes a second to import.
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    style = {
        "font.size": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.edgecolor": "#888888",
        "axes.titlesize": 10,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "xtick.color": "#444444",
        "ytick.color": "#444444",
        "grid.color": "#e4e4e4",
        "axes.axisbelow": True,
        "legend.frameon": False,
        "savefig.dpi": 160,
    }
    matplotlib.rcParams.update(style)
    figure = Figure(figsize=(width, height), layout=layout)
    FigureCanvasAgg(figure)
    return figure


def _look(index: int) -> dict:
    return {
        "color": _COLORS[index % len(_COLORS)],
        "marker": _MARKERS[index % len(_MARKERS)],
    }


def draw_curves(runs: Sequence[Run], path: Path, *, split: str) -> None:
    """Draws the training loss (thin: as logged, thick: running mean) and the mean IoU."""
    figure = _make_figure(8.6, 3.4 + 0.2 * math.ceil(len(runs) / _legend_columns(runs)))
    loss_axes, iou_axes = figure.subplots(1, 2)
    lowest, highest, ends = np.inf, 0.0, []
    for index, run_ in enumerate(runs):
        look = _look(index)
        points = [(line["step"], line["loss"]) for line in run_.train_log if line.get("loss")]
        if points:
            steps, losses = np.array(points, float).T
            smooth = _running_mean(losses)
            loss_axes.plot(steps, losses, color=look["color"], linewidth=0.6, alpha=0.25)
            loss_axes.plot(steps, smooth, color=look["color"], linewidth=1.8)
            lowest, highest = min(lowest, np.nanmin(smooth)), max(highest, np.nanmax(smooth))
        if run_.iou_curve:
            steps, ious = np.array(list(run_.iou_curve.items())).T
            iou_axes.plot(steps, 100 * ious, linewidth=1.8, markersize=4.5, **look)
            ends.append((steps[-1], 100 * ious[-1], look["color"]))
    if highest > 20 * lowest:
        loss_axes.set_yscale("log")
    else:
        loss_axes.set_ylim(bottom=0)
    iou_axes.set_ylim(bottom=0)
    _label_ends(iou_axes, ends)
    loss_axes.set_title("Training loss")
    iou_axes.set_title(f"Mean IoU on {split} (%)")
    for axes in (loss_axes, iou_axes):
        axes.set_xlabel("step")
        axes.grid(axis="y")
        axes.set_xlim(left=0)
        axes.locator_params(axis="x", nbins=5)
        axes.xaxis.set_major_formatter(lambda step, _: f"{step:,.0f}")
    _add_legend(figure, runs)
    figure.savefig(path)


def _label_ends(axes, ends: Sequence[tuple[float, float, str]]) -> None:
    """Writes the last value of each curve at its end, moved apart where two would overlap."""
    ends = sorted(ends, key=lambda end: end[1])
    top = axes.get_ylim()[1]
    gap = 0.055 * top
    places = [value for _, value, _ in ends]
    for i in range(1, len(places)):
        places[i] = max(places[i], places[i - 1] + gap)
    for i in reversed(range(len(places))):
        places[i] = min(places[i], top - gap * (len(places) - 1 - i))
    for (step, value, color), place in zip(ends, places, strict=True):
        axes.annotate(
            f"{value:.1f}",
            (step, place),
            (7, 0),
            textcoords="offset points",
            va="center_baseline",
            color=color,
            annotation_clip=False,
        )


def _running_mean(values: np.ndarray) -> np.ndarray:
    """Averages over a window of a twentieth of the series, narrower at both ends."""
    window = np.ones(max(1, len(values) // 20))
    total = np.convolve(values, window, mode="same")
    return total / np.convolve(np.ones_like(values), window, mode="same")


def _add_legend(figure, runs: Sequence[Run], *, bars: bool = False) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles = [
        Patch(color=_look(i)["color"], label=run_.name)
        if bars
        else Line2D([], [], linewidth=1.8, markersize=4.5, label=run_.name, **_look(i))
        for i, run_ in enumerate(runs)
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=_legend_columns(runs))


def _legend_columns(runs: Sequence[Run]) -> int:
    longest = max(len(run_.name) for run_ in runs)
    return max(1, min(len(runs), 100 // (longest + 8)))


def draw_class_iou(runs: Sequence[Run], path: Path, *, split: str) -> None:
    """Draws the IoU of each class as bars, the mean above them."""
    names = ["mean", *runs[0].class_names]
    bar = 0.8 / len(runs)
    rows = np.arange(len(names), dtype=float)
    rows[1:] += 0.4  # the mean stands apart
    figure = _make_figure(7.0, 1.3 + len(names) * max(0.3, 0.13 * len(runs)))
    axes = figure.subplots()
    for index, run_ in enumerate(runs):
        values = 100 * np.array([run_.scores["mean_iou"], *run_.scores["class_iou"]])
        places = rows + (index - (len(runs) - 1) / 2) * bar
        axes.barh(places, np.nan_to_num(values), 0.92 * bar, color=_look(index)["color"])
        for place, value in zip(places, values, strict=True):
            text = "-" if np.isnan(value) else f"{value:.1f}"
            axes.annotate(
                text,
                (np.nan_to_num(value), place),
                (3, 0),
                textcoords="offset points",
                va="center_baseline",
                fontsize=6.5,
                color="#333333",
            )
    axes.set_yticks(rows, names)
    axes.get_yticklabels()[0].set_fontweight("bold")
    axes.set_ylim(rows[-1] + 0.55, -0.55)
    axes.set_xlim(0, 100)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel(f"IoU on {split} (%)")
    axes.grid(axis="x")
    _add_legend(figure, runs, bars=True)
    figure.savefig(path)


def _common_samples(runs: Sequence[Run], split: str) -> list[str]:
    """Returns the ids, sorted, that have an image, a label and a prediction in every run."""
    common: set[str] | None = None
    for run_ in runs:
        folder = run_.folder / "samples" / split
        ids = {p.name.removesuffix(".image.png") for p in folder.glob("*.image.png")}
        ids = {i for i in ids if all(p.is_file() for p in _sample_files(run_, split, i))}
        common = ids if common is None else common & ids
    return sorted(common or ())[:_MAX_SAMPLES]


def _sample_files(run_: Run, split: str, image_id: str) -> tuple[Path, Path, Path]:
    folder = run_.folder / "samples" / split
    endings = ("image", "label", f"pred-{run_.step}")
    image, label, pred = (folder / f"{image_id}.{ending}.png" for ending in endings)
    return image, label, pred


def _broken(name: str) -> str:
    """Breaks a name that is wider than its column at the underscore nearest to its middle."""
    places = [i for i, letter in enumerate(name) if letter in "_/" and i]
    if len(name) <= 28 or not places:
        return name
    middle = min(places, key=lambda i: abs(i - len(name) / 2))
    return f"{name[:middle]}\n{name[middle:]}"


def draw_predictions(runs: Sequence[Run], path: Path, *, split: str, ids: Sequence[str]) -> None:
    """Draws a row for each image: itself, the truth, and the prediction of each run."""
    from matplotlib.patches import Patch

    rows, used = [], set()
    for image_id in ids:
        image, label, _ = _sample_files(runs[0], split, image_id)
        preds = [_sample_files(run_, split, image_id)[2] for run_ in runs]
        pictures = [Image.open(file) for file in (image, label, *preds)]
        for picture in pictures[1:]:
            used |= set(np.unique(np.asarray(picture)).tolist())
        rows.append([np.asarray(picture.convert("RGB")) for picture in pictures])
    palette = np.array(pictures[1].getpalette(), np.uint8).reshape(-1, 3)

    titles = ["image", "truth"]
    titles += [
        f"{_broken(run_.name)}\nmean IoU {_percent(run_.scores['mean_iou'])}" for run_ in runs
    ]
    legend = [(i, name) for i, name in enumerate(runs[0].class_names) if i in used]
    legend += [(255, "void")] if 255 in used else []
    cell, gap = 2.1, 0.04  # inches, as all sizes here
    heights = [cell * row[0].shape[0] / row[0].shape[1] for row in rows]
    width = (cell + gap) * len(titles) + gap
    longest = max(len(name) for _, name in legend)
    columns = min(len(legend), int(width / (0.5 + 0.08 * longest)))
    legend_height = 0.2 * math.ceil(len(legend) / columns) + 0.1
    title_height = 0.13 * (1 + max(title.count("\n") for title in titles)) + 0.1
    height = title_height + sum(heights) + gap * len(rows) + legend_height
    figure = _make_figure(width, height, layout="none")
    bottom = height - title_height
    for row, row_height in zip(rows, heights, strict=True):
        bottom -= row_height
        for column, picture in enumerate(row):
            left = gap + column * (cell + gap)
            box = (left / width, bottom / height, cell / width, row_height / height)
            axes = figure.add_axes(box)
            axes.imshow(picture, interpolation="nearest", aspect="auto")
            axes.set_axis_off()
            if row is rows[0]:
                style = {"fontsize": 8.5, "fontweight": "normal", "loc": "center", "pad": 4}
                axes.set_title(titles[column], **style)
        bottom -= gap
    handles = [
        Patch(facecolor=palette[i] / 255, edgecolor="#888888", linewidth=0.5, label=name)
        for i, name in legend
    ]
    figure.legend(
        handles=handles,
        loc="lower center",
        borderaxespad=0.2,
        ncols=columns,
        fontsize=8,
        handlelength=1.2,
        handleheight=1.0,
        columnspacing=1.2,
    )
    figure.savefig(path)
