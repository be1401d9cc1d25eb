"""Experiments on VOC can be run, with a narrow network on small pictures.

Two make two steps and are scored; of the others a step is traced, one of each kind. That what they
say is taken, to the last pattern of a parameter, is what train/test_sections.py looks at.
"""

from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest

from fcn_jax.commands.experiments import load_experiment, resolve
from fcn_jax.data.datasets import DATASETS, Dataset
from fcn_jax.data.sets.voc import LABELS as VOC
from fcn_jax.models.zoo import MODELS
from fcn_jax.train import loop, parallel, setup

pytestmark = pytest.mark.usefixtures("plain_conv")

EXPERIMENTS = Path(__file__).parent.parent / "experiments"
NAMES = sorted(path.stem for path in EXPERIMENTS.glob("voc_*.py"))
# The most branches at a stride of 8, and gradients over several parts.
TRAINED = ("voc_deeplab_msc", "voc_fcn_alexnet")
NARROW = {"width": 1 / 32, "fc_channels": 8, "side_channels": 4, "head_channels": 8}


class Scenes:
    """Four pictures of all classes, with a void stripe."""

    def source(self, split):
        rng = np.random.default_rng(len(split))
        records = []
        for index in range(4):
            image = rng.integers(0, 256, (26, 33, 3), np.uint8)
            label = rng.integers(0, VOC.num_classes, (26, 33), np.uint8)
            label[:, 5] = VOC.ignore_label
            records.append({"id": f"{split}_{index}", "image": image, "label": label})
        return records


@pytest.fixture(autouse=True)
def one_device_and_small_pictures(monkeypatch):
    first = parallel.get_devices(count=1)
    monkeypatch.setattr(parallel, "get_devices", lambda count=None: first)
    splits = ("train", "val", "train_aug", "sbd_train", "seg11valid")
    voc = Dataset("voc", VOC, splits, builder=Scenes())
    monkeypatch.setitem(DATASETS, "voc", lambda source_dir, data_dir: voc)


@pytest.fixture(autouse=True)
def drawn_variables(monkeypatch, draw_variables):
    """Compiling the initialisation takes as long as compiling a step; test_zoo.py looks at it."""
    monkeypatch.setattr(setup, "init_variables", lambda key, model: draw_variables(model))


def _make_small(name):
    """An experiment as its file has it, with few channels, steps and pixels."""
    config = resolve(load_experiment(EXPERIMENTS / f"{name}.py", EXPERIMENTS)).config
    parts = min(2, config["train"]["iter_size"])
    crop_size = 34 if config["augment"]["crop_size"] == 306 else 33  # 8 k + 2 and 8 k + 1, as there
    config["augment"].update(crop_size=crop_size)
    # Half as deep, and of the same blocks.
    config["model"]["name"] = config["model"]["name"].replace("resnet101", "resnet50")
    config["model"].update({key: NARROW[key] for key in NARROW if config["model"].get(key)})
    config["init"] = {}
    config["train"].update(num_steps=2, batch_size=2 * parts, iter_size=parts, log_every=1)
    config["eval"].update(size_multiple=1, num_samples=1)
    return config


@pytest.mark.parametrize("name", TRAINED)
def test_voc_experiment_trains_and_evaluates(name, tmp_path):
    config = _make_small(name)
    report = loop.train(config, tmp_path / name, experiment=name, command="python launch.py train")
    counts = np.asarray(report["counts"])
    assert counts.shape == (len(report["class_names"]),) * 2
    scored = Scenes().source(config["eval"]["split"])
    known = [record["label"] for record in scored]
    table = [VOC.names.index(name) for name in report["class_names"]]
    assert counts.sum() == sum(int(np.isin(label, table).sum()) for label in known)
    assert np.isfinite(report["loss"]) or counts.sum() == 0


def _kinds():
    """An experiment of each kind: experiments alike in these parts differ in numbers.

    models/test_zoo.py has every head on every backbone, and train/test_steps.py several sizes.
    """
    kinds = {}
    others = sorted(set(NAMES) - set(TRAINED))
    for name in sorted(others, key=lambda name: "resnet101" not in name):  # which takes longest
        config = resolve(load_experiment(EXPERIMENTS / f"{name}.py", EXPERIMENTS)).config
        model = config["model"]
        head = partial(MODELS[model["name"]].head).func
        shrinks = model.get("label_shrink"), config["augment"]["crop_size"] % 8
        kinds[head, *shrinks, model["norm"], repr(config["loss"])] = name
    return sorted(kinds.values())


@pytest.mark.parametrize("name", _kinds())
def test_voc_experiment_begins(name):
    """A step is traced: its state comes out as it went in."""
    made = setup.make_setup(_make_small(name))
    batch = next(setup.make_batches(made.config, made.dataset))
    assert batch["images"].shape[:3] == batch["labels"].shape
    before = made.devices.replicate(made.state)
    after, sums = jax.eval_shape(made.make_train_step(), before, made.devices.shard(batch))
    shapes = jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), (before, after))
    assert shapes[0] == shapes[1] and set(sums) >= {"loss_sum", "count", "grad_norm"}
