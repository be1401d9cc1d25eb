"""Draws what training will see: the first crops of an experiment, with their labels."""

import argparse
import contextlib
import math
from pathlib import Path
from typing import TYPE_CHECKING

from fcn_jax.atomic_file import local_path, replacing
from fcn_jax.commands import experiments
from fcn_jax.errors import UserError

if TYPE_CHECKING:
    import numpy as np

    from fcn_jax.data.labels import LabelSet

HELP = "draw the first augmented crops of a training run, with their labels in class colours"
EXAMPLES = """\
python launch.py preview --config=shapes_fcn8s --output=preview.png
python launch.py preview --config=camvid_fcn8s --config.data.source_dir=CamVid --num=8 \\
    --config.augment.rotation_range=-10,10 --config.augment.brightness=0.3
"""

_LABEL_OPACITY = 0.6
_LEAST_INCHES, _INCHES_PER_PAIR, _INCHES_PER_NAME = 6.0, 3.2, 1.5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    experiments.add_config_argument(parser)
    parser.add_argument("--output", required=True, metavar="FILE", help="the picture, a .png")
    parser.add_argument("--num", type=int, default=16, metavar="N", help="crops (16)")


def run(args: argparse.Namespace) -> None:
    from fcn_jax.data.datasets import get_dataset
    from fcn_jax.train.setup import make_batches

    if args.num < 1:
        raise UserError(f"--num={args.num} must be positive")
    output = local_path(args.output)
    if output.suffix.lower() != ".png":
        raise UserError(f"--output={output} must end in .png")
    config = args.config.to_dict()
    dataset, split = get_dataset(**config["data"]), config["train"]["split"]
    # The stream does not depend on the batch size: these are the crops that training begins with.
    config["train"]["batch_size"] = args.num
    config["augment"]["num_workers"] = 0
    batches = make_batches(config, dataset)
    with contextlib.closing(batches):
        batch = next(batches)
    crops = f"{args.num} crop{'s' if args.num > 1 else ''}"
    title = f"{args.experiment}: the first {crops} of {split}, seed {config['seed']}"
    output.parent.mkdir(parents=True, exist_ok=True)
    _draw(batch["images"], batch["labels"], dataset.labels, title, output)
    print(f"{output}: the first {crops} of {dataset.name} {split}")


def _draw(
    images: "np.ndarray", labels: "np.ndarray", label_set: "LabelSet", title: str, path: Path
) -> None:
    """Draws pairs in a square of rows and columns, and a legend of the classes that they hold."""
    import numpy as np
    from matplotlib.figure import Figure  # not pyplot: no window, no state
    from matplotlib.patches import Patch

    from fcn_jax.ops.palette import full_palette

    palette = full_palette(np.array(label_set.colors))
    blended = (1 - _LABEL_OPACITY) * images + _LABEL_OPACITY * palette[labels]
    gap = math.ceil(images.shape[2] / 100)
    pairs = np.concatenate([_frame(images, right=gap), _frame(blended, right=3 * gap)], axis=2)
    columns = math.ceil(math.sqrt(len(pairs)))
    sheet = _tile(_frame(pairs, bottom=3 * gap), columns)

    counts = np.bincount(labels.ravel(), minlength=256)
    names = {**dict(enumerate(label_set.names)), label_set.ignore_label: "void"}
    handles = [
        Patch(
            facecolor=palette[value] / 255,
            edgecolor="#888888",
            linewidth=0.5,
            label=f"{names[value]}  {counts[value] / counts.sum():.1%}",
        )
        for value in np.flatnonzero(counts)
    ]
    width = max(_LEAST_INCHES, _INCHES_PER_PAIR * columns)
    names_per_line = int(width / _INCHES_PER_NAME)
    legend_height = 0.4 + 0.2 * math.ceil(len(handles) / names_per_line)
    height = width * sheet.shape[0] / sheet.shape[1] + legend_height
    figure = Figure((width, height), layout="constrained")
    axes = figure.subplots()
    axes.imshow(sheet)
    axes.set_axis_off()
    axes.set_title(title, loc="left", fontsize=9)
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=min(len(handles), names_per_line),
        fontsize=8,
        frameon=False,
    )
    with replacing(path) as beside:
        figure.savefig(beside, format="png", dpi=160, bbox_inches="tight", pad_inches=0.05)


def _frame(images: "np.ndarray", *, right: int = 0, bottom: int = 0) -> "np.ndarray":
    """Puts white space beside and below images [n, h, w, 3]."""
    import numpy as np

    space = ((0, 0), (0, bottom), (0, right), (0, 0))
    return np.pad(images.astype(np.uint8), space, constant_values=255)


def _tile(images: "np.ndarray", columns: int) -> "np.ndarray":
    """Lays images [n, h, w, 3] out in rows; the places that are left over are white."""
    import numpy as np

    missing = -len(images) % columns
    images = np.pad(images, ((0, missing), (0, 0), (0, 0), (0, 0)), constant_values=255)
    rows = [
        np.concatenate(list(row), axis=1) for row in images.reshape(-1, columns, *images.shape[1:])
    ]
    return np.concatenate(rows, axis=0)
