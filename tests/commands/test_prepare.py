"""Building ahead of training."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fcn_jax.commands import door

ROOT = Path(door.__file__).resolve().parents[2]


@pytest.fixture
def folder(tmp_path, rng) -> Path:
    """Forty images to train and two to validate."""
    folder = tmp_path / "mine"
    for kind in ("images", "labels"):
        for split in ("train", "val"):
            (folder / kind / split).mkdir(parents=True)
    (folder / "classes.txt").write_text("background\ncat\n")
    for index in range(42):
        split = "train" if index < 40 else "val"
        image = rng.integers(0, 256, (9, 8, 3), np.uint8)
        Image.fromarray(image).save(folder / "images" / split / f"{index:02d}.png")
        label = rng.integers(0, 2, (9, 8), np.uint8)
        Image.fromarray(label).save(folder / "labels" / split / f"{index:02d}.png")
    return folder


@pytest.fixture
def words(folder, tmp_path) -> list[str]:
    return [
        "prepare",
        "--config=custom_fcn8s",
        f"--config.data.source_dir={folder}",
        f"--config.data.data_dir={tmp_path / 'built'}",
    ]


@pytest.fixture
def prepare(words, capsys):
    """`prepare(*more)`: (exit code, stdout, stderr)."""

    def prepare(*more):
        code = door.main([*words, *more], experiments_dir=ROOT / "experiments")
        return code, *capsys.readouterr()

    return prepare


def test_prepare_builds_once_and_says_what_and_where(prepare, tmp_path):
    code, out, err = prepare()
    (built,) = (tmp_path / "built/custom").glob("*/1.0.0")
    assert code == 0 and err == f"building custom (42 images) in {built} ...\n"
    size = sum(file.stat().st_size for file in built.iterdir()) / 2**20
    assert out.splitlines() == [
        "data set custom, 2 classes",
        "  split by the folders images/train and images/val",
        "  train: 40 images, from 00 to 39",
        "  val: 2 images, from 40 to 41",
        f"in {built}  ({size:.0f} MiB)",
    ]
    assert prepare() == (0, out, "")


def test_prepare_shows_the_folder_that_it_expects(prepare, folder):
    (folder / "classes.txt").rename(folder / "names.txt")
    code, out, err = prepare()
    assert (code, out) == (2, "")
    assert "classes.txt is missing" in err and "holds images/, labels/, names.txt" in err
    assert "FOLDER/labels/*.png" in err


def test_prepare_needs_the_splits_of_the_experiment(prepare):
    code, _, err = prepare("--config.eval.split=test")
    assert code == 2
    assert err.endswith("error: data set 'custom' has no split 'test'; it has ['train', 'val']\n")


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_interrupted_build_is_never_read_and_made_anew(prepare, words, tmp_path, how):
    slow = (
        "import signal, sys, time; from pathlib import Path\n"
        # A shell starts what it runs in the background deaf to Ctrl-C.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from fcn_jax.commands import door; from fcn_jax.data.sets import builds\n"
        "encode = builds.encode_pair\n"
        "def encode_slowly(pair, reading):\n"
        "    print(pair.id, flush=True, file=sys.__stdout__) if pair.id == '41' else None\n"
        "    time.sleep(60 if pair.id == '41' else 0)\n"
        "    return encode(pair, reading)\n"
        "builds.encode_pair = encode_slowly\n"
        f"sys.exit(door.main({words!r}, experiments_dir=Path({str(ROOT / 'experiments')!r})))"
    )
    command = [sys.executable, "-c", slow]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as building:
        assert building.stdout.readline() == b"41\n"  # train is written, val is not
        os.kill(building.pid, how)
        start = time.monotonic()
        building.wait(30)
        assert time.monotonic() - start < 30
    assert not list((tmp_path / "built/custom").glob("*/1.0.0/dataset_info.json"))
    leftovers = list((tmp_path / "built/custom").glob("*/*incomplete*"))
    assert bool(leftovers) == (how == signal.SIGKILL)
    code, out, err = prepare()
    assert code == 0 and err.startswith("building custom")
    assert "train: 40 images" in out and "val: 2 images" in out
    assert ("left by a build that was killed" in out) == bool(leftovers)
