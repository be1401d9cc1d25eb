"""Made-up experiments and run folders, small enough to write in a few milliseconds."""

import dataclasses
import json
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fcn_jax.commands import door, experiments
from fcn_jax.ops.metrics import band_counts, scores
from fcn_jax.ops.palette import save_label_png, voc_palette
from fcn_jax.reports.comparison import Comparison
from fcn_jax.reports.intervals import find_intervals
from fcn_jax.reports.runs import read_run
from fcn_jax.train.image_counts import ImageCounts

CLASS_NAMES = ["sky", "building", "road", "pavement", "tree", "car", "bicyclist"]
_COLORS = np.array(
    [(70, 130, 180), (128, 0, 0), (128, 64, 128), (60, 40, 222), (128, 128, 0), (64, 0, 128)]
    + [(0, 128, 192)],
    np.uint8,
)

EXPERIMENT = '''"""{title}.

Source:  made up.
"""

from ml_collections import ConfigDict


def get_config():
    config = ConfigDict()
    config.data = dict(name="{dataset}", source_dir="")
    config.augment = dict(crop_size=48, scale_range=(0.5, 2.0))
    config.model = dict(name="vgg16_fcn8s", fc6_kernel=3, padding="same")
    config.optim = dict(name="sgd", learning_rate=0.01)
    config.train = dict(num_steps=2000, batch_size=4)
    config.seed = 0
    return config.lock()
'''


@pytest.fixture
def experiments_dir(tmp_path) -> Path:
    """A folder `experiments` with three experiments of two data sets."""
    folder = tmp_path / "experiments"
    folder.mkdir()
    for name, title in [
        ("camvid_fcn8s", "FCN-8s on CamVid"),
        ("shapes_fcn32s", "FCN-32s on shapes"),
        ("shapes_deeplab_msc_largefov", "DeepLab with a large field of view and middle layers"),
    ]:
        dataset = name.split("_")[0]
        (folder / f"{name}.py").write_text(EXPERIMENT.format(title=title, dataset=dataset))
    return folder


@pytest.fixture
def launch(experiments_dir, capsys):
    """Runs a command line in this process; returns (exit code, stdout, stderr)."""

    def launch(*argv) -> tuple[int, str, str]:
        code = door.main([str(word) for word in argv], experiments_dir=experiments_dir)
        return code, *capsys.readouterr()

    return launch


@pytest.fixture
def train_calls(monkeypatch) -> list:
    """Puts a command in the place of `train` that only keeps its arguments."""
    calls = []
    command = types.ModuleType("train")
    command.HELP, command.EXAMPLES = "train", "python launch.py train --config=a"
    command.run = calls.append

    def add_arguments(parser):
        experiments.add_config_argument(parser)
        parser.add_argument("--workdir")

    command.add_arguments = add_arguments
    monkeypatch.setitem(sys.modules, "fcn_jax.commands.train", command)
    return calls


def make_scene(rng: np.random.Generator, height: int, width: int):
    """Draws a street: (image [h, w, 3], label [h, w]), void on a thin line under the houses."""
    rows, columns = np.mgrid[:height, :width] / np.array([height, width])[:, None, None]
    label = np.zeros((height, width), np.uint8)
    skyline = 0.25 + 0.15 * np.sin(rng.uniform(3, 9) * columns + rng.uniform(0, 6))
    label[rows > skyline] = 1
    label[rows > 0.6] = 3
    label[np.abs(columns - 0.5) < (rows - 0.5) * rng.uniform(0.8, 1.1)] = 2
    label[(rows - 0.4) ** 2 + (columns - rng.uniform(0.1, 0.9)) ** 2 < 0.02] = 4
    for kind, tall, wide in [(5, 0.14, 0.12), (6, 0.2, 0.03)]:
        y, x = rng.uniform(0.5, 0.7), rng.uniform(0.1, 0.8)
        label[(np.abs(rows - y) < tall / 2) & (np.abs(columns - x) < wide / 2)] = kind
    image = _COLORS[label] * 0.5 + rng.normal(70, 14, (height, width, 1))
    label[np.abs(rows - 0.6) < 1.5 / height] = 255
    return image.clip(0, 255).astype(np.uint8), label


def predict(rng: np.random.Generator, label: np.ndarray, *, stride: int) -> np.ndarray:
    """Gives back a label map as coarse as the stride, with a few wrong blobs."""
    stride = min(stride, *label.shape)
    pred = np.where(label == 255, 1, label)
    pred = pred[stride // 2 :: stride, stride // 2 :: stride]
    wrong = rng.random(pred.shape) < 0.08
    pred = np.where(wrong, rng.integers(0, len(CLASS_NAMES) - 1, pred.shape), pred)
    rows, columns = (
        np.minimum(np.arange(n) // stride, s - 1)
        for n, s in zip(label.shape, pred.shape, strict=True)
    )
    return pred[np.ix_(rows, columns)].astype(np.uint8)


def count(label: np.ndarray, pred: np.ndarray, num_classes: int) -> np.ndarray:
    counts = np.zeros((num_classes, num_classes), np.int64)
    valid = label != 255
    np.add.at(counts, (label[valid], pred[valid]), 1)
    return counts


@pytest.fixture
def make_run(tmp_path):
    return lambda name, **options: write_run(tmp_path / "runs" / name, **options)


@pytest.fixture
def read():
    """Reads a run folder; the last evaluation of val, if nothing else is said."""

    def read(folder: Path, *, step: str = "last"):
        return read_run(folder, name=folder.name, split="val", step=step)

    return read


@pytest.fixture
def edit():
    """Changes some keys of a JSON file."""

    def edit(path: Path, **changes):
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return edit


def write_run(
    folder: Path,
    *,
    stride: int = 8,
    height: int = 48,
    width: int = 64,
    num_steps: int = 1000,
    num_images: int = 4,
    num_samples: int = 2,
    batch_size: int = 4,
    seed: int = 0,
    flip_prob: float = 0.5,
    num_threads: int = 2,
    train_split: str = "train",
    has_images: bool = False,
) -> Path:
    """Writes the folder of a run whose predictions are as coarse as its stride.

    `has_images` adds the counts of each image, which older versions did not keep.
    """
    (folder / "eval").mkdir(parents=True)
    samples = folder / "samples" / "val"
    samples.mkdir(parents=True)
    num_classes = len(CLASS_NAMES) + 1  # one class that no image has
    colors = np.concatenate([_COLORS, voc_palette(num_colors=8)[7:]])
    model = {"name": f"vgg16_fcn{stride}s"}
    config = {
        "data": {"name": "camvid"},
        "augment": {"flip_prob": flip_prob, "crop_size": 48, "num_threads": num_threads},
        "model": model,
        "optim": {"name": "sgd", "learning_rate": 0.01},
        "train": {"split": train_split, "num_steps": num_steps, "batch_size": batch_size},
        "seed": seed,
    }
    launch = {
        "command": f"python launch.py train --config=camvid_fcn{stride}s "
        f"--workdir=runs/{folder.name}",
        "git_commit": "0123abc",
        "git_dirty": False,
        "python": "3.12.1",
        "versions": {"jax": "0.12.0", "flax": "0.13.0"},
        "devices": ["cpu:0"],
        "machine": "Linux x86_64, laptop",
        "started": "2025-01-01T00:00:00",
        "start_step": 0,
        "end_step": num_steps,
        "train_s": 60.0 * (40 - stride),
    }
    info = {
        "experiment": f"camvid_fcn{stride}s",
        "seed": seed,
        "num_classes": num_classes,
        "num_params": 134_000_000 + stride,
        "output_stride": 32,
        "finest_stride": stride,
        "launches": [launch],
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "run.json").write_text(json.dumps(info))

    rng = np.random.default_rng(stride)
    lines = []
    for step in range(num_steps // 50, num_steps + 1, num_steps // 50):
        loss = 0.2 + stride / 80 + 1.8 * np.exp(-4 * step / num_steps) + rng.normal(0, 0.06)
        line = {"kind": "train", "step": step, "loss": loss, "images_per_s": stride + rng.random()}
        lines.append(line)
    for step in range(num_steps // 5, num_steps + 1, num_steps // 5):
        of_images, bands = [], 0
        scenes = np.random.default_rng(1)
        for i in range(num_images):
            image, label = make_scene(scenes, height, width)
            pred = predict(rng, label, stride=max(1, stride * num_steps // (step + 1)))
            of_images.append(count(label, pred, num_classes))
            bands += band_counts(label, pred, num_classes=num_classes, ignore_label=255)
            if i < num_samples and step == num_steps:
                Image.fromarray(image).save(samples / f"street{i}.image.png")
                save_label_png(samples / f"street{i}.label.png", label, colors)
                save_label_png(samples / f"street{i}.pred-{step}.png", pred, colors)
        counts, boundary_counts = sum(of_images), bands[4]
        report = scores(counts)
        class_iou = report.pop("class_iou")
        evaluation = {
            "dataset": "camvid",
            "split": "val",
            "step": step,
            "num_images": num_images,
            "convention": "caffe",
            "class_names": [*CLASS_NAMES, "fence"],
            "counts": counts.tolist(),
            "boundary_px": 5,
            "boundary_counts": boundary_counts.tolist(),
            "boundary_iou": scores(boundary_counts)["mean_iou"],
            **report,
            "class_iou": [None if np.isnan(value) else value for value in class_iou],
            "loss": 0.5,
            "eval_s": 1.0,
        }
        (folder / "eval" / f"val-{step}.json").write_text(json.dumps(evaluation))
        if has_images and step == num_steps:
            ImageCounts(
                ids=tuple(f"street{i}" for i in range(num_images)),
                counts=np.array(of_images, np.int32),
                num_pixels=np.sum(of_images, axis=(1, 2)),
                loss_sums=evaluation["loss"] * np.sum(of_images, axis=(1, 2)),
                band_counts=bands,
            ).save(folder / "eval" / f"val-{step}.npz")
        lines.append({"kind": "eval", "split": "val", "step": step, **report})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def make_comparison(groups, **changes) -> Comparison:
    """Makes what a report of these groups is made from, without multiply-adds and pictures."""
    of = Comparison(
        title="",
        step="last",
        groups=groups,
        differences="",
        intervals=find_intervals(groups, num_resamples=100),
        ids=[],
        note="",
        multiply_adds=[None] * len(groups),
        size=(48, 64),
    )
    return dataclasses.replace(of, **changes)
