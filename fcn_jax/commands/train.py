"""Trains an experiment, or goes on with one."""

import argparse
import contextlib

from fcn_jax.commands import experiments

HELP = "train an experiment; the same command goes on with a stopped one"
EXAMPLES = """\
python launch.py train --config=shapes_fcn8s --workdir=runs/shapes_fcn8s
python launch.py train --config=camvid_fcn8s --workdir=runs/camvid_fcn8s \\
    --config.data.source_dir=CamVid --config.train.num_steps=2000
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


def run(args: argparse.Namespace) -> None:
    from fcn_jax.train.compilations import count_compilations
    from fcn_jax.train.loop import train

    with contextlib.ExitStack() as stack, count_compilations() as compilations:
        listeners = []
        if args.tensorboard:
            from fcn_jax.reports.tensorboard import TensorBoard
            from fcn_jax.train.run_folder import RunFolder

            board = TensorBoard(RunFolder(args.workdir).tensorboard_path)
            listeners.append(stack.enter_context(contextlib.closing(board)))
        report = train(
            args.config.to_dict(),
            args.workdir,
            experiment=args.experiment,
            command=args.command_line,
            accept_data=args.accept_data,
            listeners=listeners,
        )
    if report is None:
        print(f"{args.workdir} is complete: nothing to do")
        return
    print(
        f"{args.workdir}: {report['split']} mean IoU {report['mean_iou']:.4f} "
        f"at step {report['step']}; {compilations}"
    )
