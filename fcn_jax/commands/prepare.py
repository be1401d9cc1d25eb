"""Builds the data set of an experiment ahead of training, and reads all of it once more."""

import argparse
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from fcn_jax.commands import experiments
from fcn_jax.errors import UserError, counted

HELP = "build the data set of an experiment; a finished build is only checked, image by image"
EXAMPLES = """\
python launch.py prepare --config=voc_fcn8s --config.data.source_dir=/data/VOCdevkit
python launch.py prepare --config=custom_fcn8s --config.data.source_dir=my_folder
"""

KEEPS_GOING = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    experiments.add_config_argument(parser)


def run(args: argparse.Namespace) -> None:
    from fcn_jax.data.datasets import get_dataset
    from fcn_jax.train.interrupt import Interruption
    from fcn_jax.train.progress import Progress

    config = args.config.to_dict()
    splits = dict.fromkeys((config["train"]["split"], config["eval"]["split"]))
    with Progress() as progress, Interruption(progress):
        dataset = get_dataset(**config["data"])
        for split in splits:
            dataset.check_split(split)
        # The parts of a data set are built when they are first read.
        sources = {split: dataset.source(split) for split in splits}
    print(f"data set {dataset.name}, {dataset.labels.num_classes} classes")
    if dataset.split_by:
        print(f"  split by {dataset.split_by}")
    for remark in dataset.remarks:
        print(f"  remark: {remark}")
    for split, source in sources.items():
        print(f"  {split}: {counted(len(source), 'image')}, from {_read_all(source, split)}")
        dataset.check_classes(split)
    for folder in dataset.find_folders():
        print(f"in {folder}  ({_mebibytes(folder):.0f} MiB)")
        for leftover in _find_leftovers(folder):
            print(
                f"  {leftover} was left by a build that was killed, and is never read "
                f"({_mebibytes(leftover):.0f} MiB); remove it unless a build runs now"
            )


def _read_all(source, split: str) -> str:
    """Reads every pair of a split, which finds any damage; returns the first and the last id."""
    if not len(source):
        raise UserError(
            f"the split {split!r} has no image; add some, or choose another one "
            "(--config.train.split, --config.eval.split)"
        )
    with ThreadPoolExecutor() as pool:  # decoding lets go of the lock of the interpreter
        ids = list(pool.map(lambda index: source[index]["id"], range(len(source))))
    return " to ".join(dict.fromkeys((ids[0], ids[-1])))


def _find_leftovers(folder: Path) -> Iterator[Path]:
    # As TFDS names them, for these files and for what they were before a change.
    yield from sorted(folder.parent.parent.glob("*/incomplete.*"))


def _mebibytes(folder: Path) -> float:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 2**20
