"""The trained networks of the repository: small, described, and as good as their cards say."""

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import fcn_jax
from fcn_jax.commands import door

pytestmark = pytest.mark.usefixtures("plain_conv")

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "networks").glob("*.safetensors"))
MAX_BYTES = 20e6  # of all together
# Where the data of a network may be, and how much its score may be from the run's: 0.1 points.
DATA = {"camvid": "FCN_JAX_CAMVID", "voc": "FCN_JAX_VOC2012"}
TOLERANCE = 1e-3


def _card(file: Path) -> str:
    text = (ROOT / "networks" / "README.md").read_text()
    [card] = [part for part in text.split("\n## ")[1:] if part.startswith(f"{file.stem}:")]
    return card


def test_they_are_small():
    assert FILES and sum(file.stat().st_size for file in FILES) < MAX_BYTES


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_each_predicts_and_has_a_card_of_its_run(file):
    net, card = fcn_jax.load(file), _card(file)
    assert net.section["name"] in file.stem and net.origin["git_commit"][:7] in card
    assert all(name in card for name in net.labels.names)
    params = sum(array.size for leaf, array in net.arrays.items() if leaf.startswith("params/"))
    assert f"{params:,} parameters" in card
    for row in ("data", "start", "recipe", "score", "bad at", "licence"):
        assert f"| {row} |" in card
    [report] = (ROOT / "docs" / "results" / net.origin["run"] / "eval").glob("*.json")
    assert f"mean IoU {json.loads(report.read_text())['mean_iou']:.4f}" in card
    with Image.open(ROOT / "docs" / "photo.jpg") as photo:
        pred = net.predict(np.asarray(photo.reduce(3)))
    assert pred.ndim == 2 and pred.max() < net.labels.num_classes and len(np.unique(pred)) > 1


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_each_scores_what_its_run_scored(file, tmp_path):
    net = fcn_jax.load(file)
    where = os.environ.get(DATA[net.origin["dataset"]])
    if not where:
        pytest.skip("needs the real data")
    code = door.main(
        [
            "evaluate",
            f"--network={file}",
            f"--config={net.origin['experiment']}",
            f"--source_dir={where}",
            f"--data_dir={tmp_path / 'built'}",
            f"--output={tmp_path / 'scores'}",
        ],
        experiments_dir=ROOT / "experiments",
    )
    assert code == 0
    [report] = (tmp_path / "scores" / "eval").glob("*.json")
    said = float(re.search(r"mean IoU (0\.\d+)", _card(file))[1])
    assert abs(json.loads(report.read_text())["mean_iou"] - said) < TOLERANCE
