"""Trains an experiment, or goes on with one."""

import argparse
import contextlib
import os
from typing import TYPE_CHECKING

from fcn_jax.commands import experiments
from fcn_jax.errors import UserError

if TYPE_CHECKING:
    from fcn_jax.train.profile import Profile
    from fcn_jax.train.run_folder import RunFolder
    from fcn_jax.train.world import Membership

HELP = "train an experiment; the same command goes on with a stopped one"
EXAMPLES = """\
python launch.py train --config=shapes_fcn8s --workdir=runs/shapes_fcn8s
python launch.py train --config=camvid_fcn8s --workdir=runs/camvid_fcn8s \\
    --config.data.source_dir=CamVid --config.train.num_steps=2000
srun python launch.py train --config=voc_fcn8s --workdir=runs/voc_fcn8s --distributed
"""

KEEPS_GOING = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    experiments.add_config_argument(parser)
    parser.add_argument("--workdir", required=True, metavar="FOLDER", help="the run folder")
    parser.add_argument(
        "--accept_data",
        action="store_true",
        help="go on with a run though its data are not those that it was trained on so far",
    )
    parser.add_argument(
        "--tensorboard",
        action="store_true",
        help="write curves and pictures for TensorBoard into the run folder too",
    )
    parser.add_argument(
        "--profile",
        type=int,
        metavar="N",
        help="trace N steps, after the first ten, with jax's profiler, into the run folder",
    )
    parser.add_argument(
        "--distributed",
        action="store_true",
        help="train together with the other processes of a cluster job; the next three say where "
        "they are, if neither the scheduler nor variables (JAX_COORDINATOR_ADDRESS, "
        "JAX_NUM_PROCESSES, JAX_PROCESS_ID) do",
    )
    parser.add_argument(
        "--coordinator",
        metavar="HOST:PORT",
        help="where process 0 runs (a machine and a free port)",
    )
    parser.add_argument("--num_processes", type=int, metavar="N", help="number of processes")
    parser.add_argument("--process_id", type=int, metavar="I", help="number of this one, from 0 on")


def run(args: argparse.Namespace) -> None:
    from fcn_jax.train import parallel
    from fcn_jax.train.compilations import count_compilations
    from fcn_jax.train.loop import train
    from fcn_jax.train.run_folder import RunFolder
    from fcn_jax.train.world import join

    folder = RunFolder(args.workdir)
    with (
        join(_find_membership(args)),
        contextlib.ExitStack() as stack,
        count_compilations() as compilations,
    ):
        listeners = []
        if args.tensorboard and parallel.is_writer():
            from fcn_jax.reports.tensorboard import TensorBoard

            board = TensorBoard(folder.tensorboard_path)
            listeners.append(stack.enter_context(contextlib.closing(board)))
        report = train(
            args.config.to_dict(),
            args.workdir,
            experiment=args.experiment,
            command=args.command_line,
            accept_data=args.accept_data,
            listeners=listeners,
            profile=_make_profile(args, folder),
        )
        is_writer = parallel.is_writer()
    if not is_writer:
        return
    if report is None:
        print(f"{args.workdir} is complete: nothing to do")
        return
    print(
        f"{args.workdir}: {report['split']} mean IoU {report['mean_iou']:.4f} "
        f"at step {report['step']}; {compilations}"
    )
    evals = [line for line in folder.read_metrics("eval") if line["split"] == report["split"]]
    best = max(evals, key=lambda line: (line["mean_iou"] or 0.0, line["step"]))
    if best["step"] != report["step"]:
        print(f"its best: mean IoU {best['mean_iou']:.4f} at step {best['step']}")


def _find_membership(args: argparse.Namespace) -> "Membership | None":
    from fcn_jax.train.world import Membership

    said = {name: getattr(args, name) for name in ("coordinator", "num_processes", "process_id")}
    if not args.distributed and all(value is None for value in said.values()):
        return None
    return Membership.find(os.environ, **said)


def _make_profile(args: argparse.Namespace, folder: "RunFolder") -> "Profile | None":
    from fcn_jax.train.profile import Profile

    if args.profile is None:
        return None
    if args.profile < 1:
        raise UserError(f"--profile={args.profile} must be a number of steps, such as 5")
    return Profile(folder.profile_path, args.profile)
