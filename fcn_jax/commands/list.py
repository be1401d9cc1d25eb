"""`list`: the experiments, grouped by data set."""

import argparse
import sys
import textwrap
from collections.abc import Sequence
from typing import NamedTuple

from rich.console import Console
from rich.text import Text

from fcn_jax.commands import experiments
from fcn_jax.errors import MissingError, UserError, did_you_mean

HELP = "list the experiments"
EXAMPLES = """
python launch.py list
python launch.py list camvid
"""

# Titles narrower than this are hard to read beside the other columns and go on their own line.
_MIN_TITLE_WIDTH = 28


class _Row(NamedTuple):
    dataset: str
    name: str
    model: str
    steps: str
    title: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("word", nargs="?", default="", help="only names that contain this word")


def run(args: argparse.Namespace) -> int:
    names = experiments.experiment_names(args.experiments_dir)
    if not names:
        raise MissingError(
            f"no experiments in {args.experiments_dir}: launch.py has to lie beside its "
            "experiments/"
        )
    chosen = [name for name in names if args.word in name]
    if not chosen:
        hint = did_you_mean(args.word, names)
        raise UserError(f"no experiment has {args.word!r} in its name{hint}")
    rows, failures = [], []
    for name in chosen:
        try:
            rows.append(_read_row(name, args))
        except UserError as error:
            failures.append(str(error))
    _print_rows(rows)
    for failure in failures:  # one broken file must not hide the others
        print(f"error: {failure}", file=sys.stderr)
    return 2 if failures else 0


def _read_row(name: str, args: argparse.Namespace) -> _Row:
    path = experiments.find_experiment(name, args.experiments_dir)
    experiment = experiments.load_experiment(path, args.experiments_dir)
    config = experiment.config
    # As the file says them: filling in the defaults would import jax.
    try:
        dataset, model = config["data"]["name"], config["model"]["name"]
        steps = f"{config['train']['num_steps']:,}"
    except (KeyError, TypeError, ValueError) as error:
        keys = "data.name, model.name and train.num_steps"
        raise UserError(f"experiment {name} lacks one of {keys}: {error}") from error
    return _Row(str(dataset), name, str(model), steps, experiment.title)


def _print_rows(rows: Sequence[_Row]) -> None:
    console = Console(highlight=False, soft_wrap=True)
    # A pipe has no width: there one experiment stays on one line, for grep.
    width = console.width if console.is_terminal else sys.maxsize
    name_width = max((len(row.name) for row in rows), default=0)
    model_width = max((len(row.model) for row in rows), default=0)
    steps_width = max((len(row.steps) for row in rows), default=0)
    title_column = 2 + name_width + 2 + model_width + 2 + steps_width + len(" steps  ")
    for dataset in sorted({row.dataset for row in rows}):
        console.print(Text(dataset, style="bold"))
        for row in (row for row in rows if row.dataset == dataset):
            steps = f"{row.steps:>{steps_width}} steps"
            facts = f"  {row.name:{name_width}}  {row.model:{model_width}}  {steps}  "
            if width - title_column >= _MIN_TITLE_WIDTH:
                console.print(Text(_wrap(facts + row.title, width, indent=title_column)))
            else:
                console.print(Text(f"  {row.name}"))
                console.print(Text(_wrap(f"      {row.title}", width, indent=6), style="dim"))
                console.print(Text(f"      {row.model}, {row.steps} steps", style="dim"))


def _wrap(line: str, width: int, *, indent: int) -> str:
    return textwrap.fill(
        line,
        width,
        subsequent_indent=" " * indent,
        drop_whitespace=True,
        break_long_words=False,
        break_on_hyphens=False,
    )
