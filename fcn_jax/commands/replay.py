"""Makes one step of a run again, and shows it layer by layer."""

import argparse
import json
from pathlib import Path

from fcn_jax.errors import UserError

HELP = "make one step of a run again and show it layer by layer, such as one that was not finite"
EXAMPLES = """\
python launch.py replay --workdir=runs/shapes_fcn8s
python launch.py replay --workdir=runs/camvid_fcn8s --step=40 --output=step40.json
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--workdir", required=True, metavar="FOLDER", help="a run folder")
    parser.add_argument(
        "--step",
        type=int,
        metavar="NUMBER",
        help="the step that ended the run since it was not finite, or the newest, if left out",
    )
    parser.add_argument(
        "--source_dir", help="where the data set's files are now, if they were moved"
    )
    parser.add_argument("--output", metavar="FILE", help="write everything to this .json too")


def run(args: argparse.Namespace) -> None:
    output = args.output and Path(args.output)
    if output and (output.suffix != ".json" or not output.parent.is_dir()):
        raise UserError(f"--output={output} must be a .json file in a folder that exists")

    from fcn_jax.atomic_file import write_text
    from fcn_jax.reports.replay import describe, to_dict
    from fcn_jax.train import sections
    from fcn_jax.train.progress import Progress
    from fcn_jax.train.replay import find_step, replay
    from fcn_jax.train.run_folder import RunFolder

    folder = RunFolder(args.workdir)
    config = sections.resolve(folder.read_config(), where=str(folder.path / "config.json"))
    if args.source_dir:
        config["data"]["source_dir"] = args.source_dir
    step = find_step(folder, args.step)
    with Progress() as progress:
        result = replay(folder, config, progress, step=step)
    for line in describe(result):
        print(line)
    if output:
        write_text(output, json.dumps(to_dict(result), indent=1) + "\n")
        print(f"\nwritten to {output}")
