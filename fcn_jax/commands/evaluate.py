"""Scores a checkpoint of a run on one split."""

import argparse
import math
import sys
from functools import partial

from fcn_jax.atomic_file import local_path
from fcn_jax.errors import MissingError, UserError

HELP = "score a checkpoint of a run: exact counts of every pixel, at native resolution"
EXAMPLES = """\
python launch.py evaluate --workdir=runs/shapes_fcn8s
python launch.py evaluate --workdir=runs/camvid_fcn8s --split=train --step=best
"""

KEEPS_GOING = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--workdir", required=True, metavar="FOLDER", help="a run folder")
    parser.add_argument("--split", help="of the data set; the experiment's own if left out")
    parser.add_argument(
        "--step", default="last", metavar="WHICH", help="last (the default), best, or a number"
    )
    parser.add_argument(
        "--source_dir", help="where the data set's files are now, if they were moved"
    )
    parser.add_argument("--data_dir", help="where built data sets are kept now")


def run(args: argparse.Namespace) -> None:
    try:
        _evaluate(args)
    except UserError as error:  # the experiment is the run's, so that its flags are not taken here
        told = str(error).replace("--config.data.source_dir", "--source_dir")
        if told == str(error):
            raise
        raise UserError(told) from error


def _evaluate(args: argparse.Namespace) -> None:
    import numpy as np

    from fcn_jax.train import parallel, sections
    from fcn_jax.train.compilations import count_compilations
    from fcn_jax.train.evaluation import Evaluator, check_options
    from fcn_jax.train.interrupt import Interruption
    from fcn_jax.train.progress import Progress
    from fcn_jax.train.run_data import RunData
    from fcn_jax.train.run_folder import RunFolder
    from fcn_jax.train.trained import load

    folder = RunFolder(args.workdir)
    config = sections.resolve(folder.read_config(), where=str(folder.path))
    if args.split:
        config["eval"]["split"] = args.split
    if args.source_dir:
        if not local_path(args.source_dir).is_dir():
            looked = local_path(args.source_dir).absolute()
            raise MissingError(f"--source_dir={args.source_dir} is no folder: looked for {looked}")
        config["data"]["source_dir"] = args.source_dir
    if args.data_dir:
        config["data"]["data_dir"] = args.data_dir
    check_options(**config["eval"])
    data = RunData(folder, say=partial(print, file=sys.stderr))
    dataset = data.open(**config["data"])
    dataset.check_split(config["eval"]["split"])
    data.warn_of(dataset, config["eval"]["split"], config["data"])
    net = load(folder.path, step=args.step, labels=dataset.labels)
    if shared := dataset.find_shared(config["train"]["split"], config["eval"]["split"]):
        print(f"warning: {shared}", file=sys.stderr)
    devices = parallel.get_devices()
    evaluator = Evaluator(net.model, dataset, devices, **config["eval"])
    with (
        Progress() as progress,
        Interruption(progress),
        count_compilations() as compilations,
        progress.count(config["eval"]["split"], total=evaluator.num_images) as images,
    ):
        progress.say(
            f"{devices.count} x {devices.kind}: {evaluator.num_images} images of "
            f"{dataset.name} {config['eval']['split']}; compiling for each size ..."
        )
        result = evaluator.score(
            devices.replicate(net.variables),
            on_batch=lambda num_images: images.reach(images.done + num_images),
        )
    report = evaluator.make_report(result, step=net.origin["step"])
    colors = np.asarray(dataset.labels.colors)
    folder.write_eval(report, result.samples, images=result.images, colors=colors)
    _print(report, folder)
    _file_details(report, result.images, folder.eval_file(report["split"], report["step"]))
    print(compilations)


def _print(report: dict, folder) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False, markup=False)  # the names are the user's
    console.print(
        f"{folder.path}: {report['dataset']} {report['split']}, step {report['step']}",
        soft_wrap=True,
    )
    table = Table(box=SIMPLE_HEAD)
    table.add_column("class")
    table.add_column("IoU", justify="right")
    table.add_column("share of pixels", justify="right")
    share = report["counts"].sum(1) / max(report["counts"].sum(), 1)
    rows = zip(report["class_names"], report["class_iou"], share, strict=True)
    for name, iou, pixels in rows:
        table.add_row(name, "-" if math.isnan(iou) else f"{iou:.4f}", f"{pixels:.4f}")
    console.print(table)
    console.print(
        f"mean IoU {report['mean_iou']:.4f}   pixel accuracy {report['pixel_acc']:.4f}   "
        f"mean accuracy {report['mean_acc']:.4f}   f.w. IoU {report['fw_iou']:.4f}   "
        f"(convention {report['convention']})",
        soft_wrap=True,
    )
    console.print(
        f"{report['num_images']} images in {report['eval_s']} s, "
        f"{report['num_shapes']} padded shapes; "
        f"counts in {folder.eval_file(report['split'], report['step'])}",
        soft_wrap=True,
    )


def _file_details(report: dict, images, file) -> None:
    """Writes the scores of each image and the confusion matrix beside the JSON file."""
    from fcn_jax.reports.figures import draw_confusion
    from fcn_jax.reports.image_scores import ImageScores

    scores = ImageScores.of(images, convention=report["convention"])
    scores.write_csv(file.with_suffix(".csv"), class_names=report["class_names"])
    draw_confusion(
        report["counts"],
        file.with_suffix(".png"),
        class_names=report["class_names"],
        title=f"{report['dataset']} {report['split']}, step {report['step']}",
    )
    worst = ", ".join(f"{image_id} {iou:.4f}" for image_id, iou in scores.worst(5))
    print(f"worst images by mean IoU: {worst or 'none has a label'}")
    print(f"every image in {file.with_suffix('.csv')}, confusion matrix in {file.stem}.png")
