"""Scores a network on one split of a data set."""

import argparse
import contextlib
import sys
from collections.abc import Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from fcn_jax.atomic_file import local_path
from fcn_jax.commands import experiments, looks
from fcn_jax.errors import MissingError, UserError, counted

if TYPE_CHECKING:
    from fcn_jax.data.datasets import Dataset
    from fcn_jax.train.evaluation import Evaluator
    from fcn_jax.train.parallel import Devices
    from fcn_jax.train.progress import Progress
    from fcn_jax.train.run_folder import RunFolder
    from fcn_jax.train.tally import Evaluation
    from fcn_jax.train.trained import Trained

HELP = "score a network: exact counts of every pixel, at native resolution"
EXAMPLES = """\
python launch.py evaluate --workdir=runs/shapes_fcn8s
python launch.py evaluate --workdir=runs/camvid_fcn8s --split=train --step=best
python launch.py evaluate --workdir=runs/camvid_fcn8s --scales=0.75,1,1.25 --flip
python launch.py evaluate --workdir=runs/voc_deeplab_largefov --crf --tune_crf=50
python launch.py evaluate --network=weights/fcn8s.safetensors --config=voc_fcn8s \\
    --config.data.source_dir=VOC
"""

KEEPS_GOING = True


class _Subject(NamedTuple):
    """What is scored.

    Attributes:
        name: What it is called.
        net: The network.
        dataset: Data set of its split.
        section: Section `eval`.
        folder: Where to file the scores; None for nowhere.
    """

    name: str
    net: "Trained"
    dataset: "Dataset"
    section: dict[str, Any]
    folder: "RunFolder | None"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    looks.add_network_arguments(parser, default_step="last")
    experiments.add_config_argument(parser, required=False)
    parser.add_argument("--split", help="split of the data set; the experiment's own if left out")
    parser.add_argument(
        "--output", metavar="FOLDER", help="with --network: where to write counts and samples"
    )
    parser.add_argument(
        "--source_dir", help="where the data set's files are now, if they were moved"
    )
    parser.add_argument("--data_dir", help="where built data sets are kept now")
    looks.add_arguments(parser)
    parser.add_argument(
        "--tune_crf",
        type=int,
        metavar="N",
        help="with --crf: search its parameters on N images, and score on the others",
    )


def run(args: argparse.Namespace) -> None:
    how, crf = looks.read_looks(args), looks.read_crf(args)
    if args.tune_crf is not None:
        if crf is None or args.crf != looks.PUBLISHED_CRF:
            raise UserError("--tune_crf needs --crf, without parameters: it searches them")
        if args.tune_crf < 1:
            raise UserError(f"--tune_crf={args.tune_crf} must be a number of images, such as 50")
    if args.network:
        subject = _open_network(args)
    else:
        for flag in ("config", "output"):
            if getattr(args, flag) is not None:
                raise UserError(f"--{flag} goes with --network: a run folder has its own")
        subject = _open_run(args)
    _score(subject, how, crf, num_tuned=args.tune_crf or 0)


def _open_run(args: argparse.Namespace) -> _Subject:
    from fcn_jax.train import sections
    from fcn_jax.train.evaluation import check_options
    from fcn_jax.train.run_data import RunData
    from fcn_jax.train.run_folder import RunFolder
    from fcn_jax.train.trained import load

    folder = RunFolder(args.workdir)
    config = sections.resolve(folder.read_config(), where=str(folder.path / "config.json"))
    _take_flags(args, config)
    check_options(**config["eval"])
    data = RunData(folder, say=partial(print, file=sys.stderr))
    with _own_flags():
        dataset = data.open(**config["data"])
        dataset.check_split(config["eval"]["split"])
        data.warn_of(dataset, config["eval"]["split"], config["data"])
    net = load(folder.path, step=args.step or "last", labels=dataset.labels)
    if shared := dataset.find_shared(config["train"]["split"], config["eval"]["split"]):
        print(f"warning: {shared}", file=sys.stderr)
    return _Subject(str(folder.path), net, dataset, config["eval"], folder)


def _open_network(args: argparse.Namespace) -> _Subject:
    from fcn_jax.data.datasets import get_dataset
    from fcn_jax.train.evaluation import check_options
    from fcn_jax.train.run_folder import RunFolder
    from fcn_jax.train.warm_start import complete

    if args.config is None:
        raise UserError(
            "--network needs --config=EXPERIMENT: it says the data, the split and, for imported "
            "weights, the network\npython launch.py list names the experiments"
        )
    looks.check_network(args)
    config = args.config.to_dict()
    _take_flags(args, config)
    check_options(**config["eval"])
    with _own_flags():
        dataset = get_dataset(**config["data"])
        dataset.check_split(config["eval"]["split"])
    net = complete(args.network, labels=dataset.labels, section=config["model"])
    folder = RunFolder(local_path(args.output)) if args.output else None
    if folder and folder.holds_run:
        raise UserError(f"--output={args.output} is a run folder, which has scores of its own")
    return _Subject(args.network, net, dataset, config["eval"], folder)


def _take_flags(args: argparse.Namespace, config: Mapping[str, Any]) -> None:
    """Puts the flags of this command into the sections that they are about."""
    if args.split:
        config["eval"]["split"] = args.split
    if args.source_dir:
        if not local_path(args.source_dir).is_dir():
            looked = local_path(args.source_dir).absolute()
            raise MissingError(f"--source_dir={args.source_dir} is no folder: looked for {looked}")
        config["data"]["source_dir"] = args.source_dir
    if args.data_dir:
        config["data"]["data_dir"] = args.data_dir


@contextlib.contextmanager
def _own_flags() -> Iterator[None]:
    """Says the flag of this command where data say one of an experiment."""
    try:
        yield
    except UserError as error:
        told = str(error).replace("--config.data.source_dir", "--source_dir")
        if told == str(error):
            raise
        raise UserError(told) from error


def _score(
    subject: _Subject, how: dict[str, Any], crf: dict[str, Any] | None, *, num_tuned: int
) -> None:
    from fcn_jax.train import parallel
    from fcn_jax.train.compilations import count_compilations
    from fcn_jax.train.evaluation import Evaluator
    from fcn_jax.train.interrupt import Interruption
    from fcn_jax.train.progress import Progress

    net, section, devices = subject.net, subject.section, parallel.get_devices()
    evaluator = Evaluator(net.model, subject.dataset, devices, **section)
    if num_tuned >= evaluator.num_images:
        raise UserError(
            f"--tune_crf={num_tuned} leaves none of the {evaluator.num_images} images to score"
        )
    with (
        Progress() as progress,
        Interruption(progress),
        count_compilations() as compilations,
    ):
        progress.say(
            f"{devices.count} x {devices.kind}: {counted(evaluator.num_images, 'image')} of "
            f"{subject.dataset.name} {section['split']}; compiling for each size ..."
        )
        if not how:
            evaluator.check_memory()
            with progress.count(section["split"], total=evaluator.num_images) as images:
                result = evaluator.score(
                    devices.replicate(net.variables),
                    on_batch=lambda num_images: images.reach(images.done + num_images),
                )
            _report(subject, evaluator, result)
        if how or crf is not None:
            _score_views(
                subject,
                evaluator,
                how,
                crf,
                num_tuned=num_tuned,
                devices=devices,
                progress=progress,
            )
    print(compilations)


def _score_views(
    subject: _Subject,
    evaluator: "Evaluator",
    how: dict[str, Any],
    crf: dict[str, Any] | None,
    *,
    num_tuned: int,
    devices: "Devices",
    progress: "Progress",
) -> None:
    from fcn_jax.inference.inference import Inference
    from fcn_jax.inference.scoring import choose_spread, score_views, search_crf

    section, source = subject.section, evaluator.source
    size_multiple = section["size_multiple"]
    inference = Inference(
        subject.net, devices, probabilities=True, size_multiple=size_multiple, **how
    )
    tuned_on: frozenset[str] = frozenset()
    if num_tuned:
        records = [source[index] for index in choose_spread(source, num_tuned)]
        tuned_on = frozenset(record["id"] for record in records)
        progress.say(f"searching parameters of the CRF on {len(records)} images ...")
        found = search_crf(
            inference,
            records,
            ignore_label=subject.dataset.labels.ignore_label,
            convention=section["convention"],
            on_trial=lambda tried, mean_iou: progress.say(
                f"  {looks.format_crf(tried) or looks.PUBLISHED_CRF}: {mean_iou:.4f}"
            ),
        )
        crf = {**(crf or {}), **found.parameters}
        print(
            f"on {len(records)} images: mean IoU {found.plain_iou:.4f} without, "
            f"{found.mean_iou:.4f} with --crf={looks.format_crf(found.parameters) or 'published'}"
        )
    # Where images were left out for the search, both are scored on the others.
    plain = evaluator.tally(leave_out=tuned_on) if how or tuned_on else None
    refined = evaluator.tally(leave_out=tuned_on) if crf is not None else None
    with progress.count(section["split"], total=evaluator.num_images) as images:
        score_views(
            inference,
            source,
            plain=plain,
            refined=refined,
            crf=crf,
            on_image=lambda: images.reach(images.done + 1),
        )
    views = [f"{name}={looks.format_value(value)}" for name, value in how.items()]
    left_out = [f"without {len(tuned_on)} images"] * bool(tuned_on)
    if plain:
        _report(subject, evaluator, plain.finish(), how=[*views, *left_out])
    if refined:
        words = looks.format_crf(crf or {})
        said = f"crf({words})" if words else "crf"
        _report(subject, evaluator, refined.finish(), how=[*views, said, *left_out])


def _report(
    subject: _Subject, evaluator: "Evaluator", result: "Evaluation", *, how: list[str] | None = None
) -> None:
    """Prints a result and files it; `how` says in what it differs from the plain evaluation."""
    import numpy as np

    from fcn_jax.reports import scores

    colors = np.asarray(subject.dataset.labels.colors)
    report = evaluator.make_report(result, step=subject.net.origin.get("step", 0))
    if how:
        report["how"] = how
    scores.print_report(report, name=subject.name)
    if subject.folder is None:
        return
    file = subject.folder.write_eval(report, result.samples, images=result.images, colors=colors)
    print(f"counts in {file}")
    scores.file_details(report, result.images, file)
