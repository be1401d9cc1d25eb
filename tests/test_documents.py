"""What documents show: the examples of docs/extending.md are added to the house, and work."""

import re
import sys
import types
from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from fcn_jax.data import datasets
from fcn_jax.models import networks, zoo
from fcn_jax.models.zoo import MODELS, build, get_model
from tests.conftest import shapes_of

ROOT = Path(__file__).parent.parent
BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "docs/extending.md").read_text(), re.DOTALL)


def _block(start: str) -> str:
    (found,) = (block for block in BLOCKS if block.startswith(start))
    return found


def _module(name: str, block: str) -> types.ModuleType:
    module = types.ModuleType(name)
    exec(block, module.__dict__)  # noqa: S102 (an example of our own document)
    return module


def _lines(block: str, names: dict) -> dict:
    """Reads lines of the table of networks."""
    return eval("{" + block + "}", vars(zoo) | names)


def _logits_shape(model, height, width):
    images = jax.ShapeDtypeStruct((2, height, width, 3), "uint8")
    apply = partial(model.apply, train=False)
    return jax.eval_shape(apply, shapes_of(model), images).shape


@pytest.mark.parametrize("norm", ["batch", "none"])
def test_the_toy_backbone_stands_under_both_heads(monkeypatch, norm):
    backbone = _module("toy", _block('"""A toy backbone'))
    for name, network in _lines(_block('    "toy_fcn8s"'), {"Toy": backbone.Toy}).items():
        monkeypatch.setitem(MODELS, name, network)
        model = get_model(name, num_classes=5, channels=4, norm=norm)
        assert _logits_shape(model, 65, 97) == (2, 65, 97, 5)


def test_the_toy_head_stands_on_its_backbone():
    head = _module("toy_head", _block('"""A toy head'))
    join = _module("join", _block("def toy(backbone"))
    names = {"ToyHead": head.ToyHead, "toy": join.toy, "Network": networks.Network}
    (network,) = _lines(_block('    "resnet18_toy"'), names).values()
    model = build(network, num_classes=5, rate=2, output_stride=16, width=1 / 8)
    assert _logits_shape(model, 60, 91) == (2, 60, 91, 5)


def test_the_toy_data_set_is_built_and_read(monkeypatch, tmp_path, rng):
    module = _module("fcn_jax.data.sets.toy", _block('"""A toy set'))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(datasets.DATASETS, "toy", datasets.LazySet("toy"))
    source = tmp_path / "toy"
    for folder in ("images", "labels"):
        (source / folder).mkdir(parents=True)
    labels = {}
    for index in range(8):
        label = labels[f"p{index}"] = rng.integers(0, 2, (9, 12), np.uint8)
        Image.fromarray(label).save(source / f"labels/p{index}.png")
        Image.fromarray(np.stack([label] * 3, -1) * 200).save(source / f"images/p{index}.png")
    (source / "train.txt").write_text("".join(f"p{index}\n" for index in range(6)))
    (source / "val.txt").write_text("p6\np7\n")
    toy = datasets.get_dataset("toy", source_dir=str(source), data_dir=str(tmp_path / "built"))
    record = toy.source("val")[1]
    assert (len(toy.source("train")), record["id"]) == (6, "p7")
    np.testing.assert_array_equal(record["label"], labels["p7"])


def test_the_experiment_resolves(tmp_path):
    from fcn_jax.commands import experiments

    path = tmp_path / "mine.py"
    path.write_text(_block('"""FCN-8s on my photos'))
    config = experiments.resolve(experiments.load_experiment(path, ROOT / "experiments")).config
    assert config["model"]["upsampling"] == "learned"
    assert config["loss"]["divide_by"] == "pixels"
