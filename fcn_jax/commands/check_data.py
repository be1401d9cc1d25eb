"""Checks a user's folder before anything is built from it, and says what it holds."""

import argparse
import json
import sys
import warnings

from fcn_jax.atomic_file import local_path, write_text
from fcn_jax.commands import experiments

HELP = "check a folder of images and labels: every problem, and what the labels hold"
EXAMPLES = """\
python launch.py check_data --config=custom_fcn8s --config.data.source_dir=my_folder
python launch.py check_data --config=voc_fcn8s --config.data.source_dir=VOC --output=check.json
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    experiments.add_config_argument(parser)
    parser.add_argument("--output", metavar="FILE", help="write everything to this JSON file too")


def run(args: argparse.Namespace) -> int:
    from fcn_jax.data.checkup import check_folder
    from fcn_jax.reports.data_page import print_report
    from fcn_jax.reports.data_report import make_report, without_nan

    config = args.config.to_dict()
    data = {key: value for key, value in config["data"].items() if key != "data_dir"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, about files that are reported here
        checkup = check_folder(**data, on_pair=_show_progress)
    report = make_report(args.experiment, config, checkup)
    print_report(report, see_all=not args.output)
    if args.output:
        write_text(local_path(args.output), json.dumps(without_nan(report), indent=1) + "\n")
        print(f"everything is in {args.output}")
    if report["ok"]:
        following = args.command_line.replace(" check_data ", " train ", 1)
        following += f" --workdir=runs/{args.experiment}"
        print("all is well" if args.output else f"all is well; next: {following}")
    return 0 if report["ok"] else 1


def _show_progress(done: int, total: int) -> None:
    if sys.stderr.isatty():
        end = "\r\033[K" if done == total else ""
        print(f"\r  {done} of {total} pairs", end=end, file=sys.stderr, flush=True)
