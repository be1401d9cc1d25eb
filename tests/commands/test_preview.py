"""The picture of what training will see."""

from itertools import islice

import numpy as np
import pytest
from PIL import Image

from fcn_jax.commands import preview
from fcn_jax.data.batches.loader import train_batches
from fcn_jax.data.datasets import DATASETS, Dataset
from fcn_jax.data.sets.voc import LABELS as VOC

EXPERIMENT = '''"""Tiny."""

from ml_collections import ConfigDict


def get_config():
    return ConfigDict(
        {
            "seed": 3,
            "data": {"name": "tiny"},
            "augment": {"crop_size": 20, "rotation_range": (-9.0, 9.0), "num_workers": 0},
            "model": {"name": "vgg16_fcn8s"},
            "optim": {"name": "sgd", "learning_rate": 1e-3},
            "train": {"num_steps": 9, "batch_size": 2},
        }
    )
'''


class Horses:
    """Seven pictures of a horse on background."""

    def source(self, split):
        rng = np.random.default_rng(0)
        label = np.zeros((24, 30), np.uint8)
        label[8:, 10:20] = VOC.names.index("horse")
        return [
            {"id": str(i), "image": rng.integers(0, 256, (24, 30, 3), np.uint8), "label": label}
            for i in range(7)
        ]


@pytest.fixture(autouse=True)
def tiny(experiments_dir, monkeypatch):
    (experiments_dir / "tiny.py").write_text(EXPERIMENT)
    dataset = Dataset("tiny", VOC, ("train",), builder=Horses())
    monkeypatch.setitem(DATASETS, "tiny", lambda source_dir, data_dir: dataset)


def test_preview_draws_the_crops_and_names_their_classes(launch, tmp_path):
    output = tmp_path / "pictures" / "preview.png"
    code, out, err = launch("preview", "--config=tiny", f"--output={output}", "--num=5")
    assert (code, err) == (0, "")
    assert out == f"{output}: the first 5 crops of tiny train\n"
    colors = {color[:3] for _, color in Image.open(output).convert("RGB").getcolors(1 << 24)}
    legend = {name for name, color in zip(VOC.names, VOC.colors, strict=True) if color in colors}
    assert legend - {"car"} == {"background", "horse"}  # a car is grey, as the rims of letters are


def test_preview_shows_the_first_crops_of_training(launch, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(preview, "_draw", lambda *arguments: drawn.append(arguments))
    output = tmp_path / "preview.png"
    assert launch("preview", "--config=tiny", f"--output={output}", "--num=6")[0] == 0
    images, labels, *_ = drawn[0]
    batches = train_batches(
        Horses().source("train"), batch_size=2, seed=3, crop_size=20, rotation_range=(-9.0, 9.0)
    )
    seen = list(islice(batches, 3))
    batches.close()
    np.testing.assert_array_equal(images, np.concatenate([batch["images"] for batch in seen]))
    np.testing.assert_array_equal(labels, np.concatenate([batch["labels"] for batch in seen]))


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("--num=0", "--num=0 must be positive"),
        ("--output=preview.jpg", "--output=preview.jpg must end in .png"),
        ("--config.augment.crop_size=0", "crop_size=0 must be"),
        ("--config.train.split=test", "no split 'test'"),
    ],
)
def test_mistake_is_answered_and_nothing_is_drawn(launch, tmp_path, word, message):
    code, _, err = launch("preview", "--config=tiny", f"--output={tmp_path / 'a.png'}", word)
    assert code == 2 and message in err and len(err.splitlines()) == 1
    assert not (tmp_path / "a.png").exists()
