"""The report on a user's folder."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fcn_jax.commands import door
from fcn_jax.data.batches.loader import eval_batches
from fcn_jax.data.datasets import get_dataset

EXPERIMENTS = Path(door.__file__).resolve().parents[2] / "experiments"
CLASSES = ("background", "cat", "a class with a rather long name")


@pytest.fixture
def folder(tmp_path, rng) -> Path:
    """Six images to train and three to validate, of several sizes, mostly background."""
    folder = tmp_path / "mine"
    for kind in ("images", "labels"):
        for split in ("train", "val"):
            (folder / kind / split).mkdir(parents=True)
    (folder / "classes.txt").write_text("\n".join(CLASSES))
    for index in range(9):
        split = "train" if index < 6 else "val"
        size = (20 + 30 * (index % 2), 40 + index)
        label = (rng.random(size) < 0.2).astype(np.uint8) * (1 + index % 2)
        label[0] = 255
        save(folder, "images", split, index, rng.integers(0, 256, (*size, 3), np.uint8))
        save(folder, "labels", split, index, label)
    return folder


def save(folder, kind, split, index, array):
    Image.fromarray(array).save(folder / kind / split / f"{index}.png")


@pytest.fixture
def check(capsys, folder):
    """`check(*words)`: (exit code, stdout, stderr) of check_data on the folder."""

    def check(*words):
        line = ["check_data", "--config=custom_fcn8s", f"--config.data.source_dir={folder}"]
        code = door.main([*line, *map(str, words)], experiments_dir=EXPERIMENTS)
        return code, *capsys.readouterr()

    return check


def test_folder_without_problems(check, tmp_path, folder):
    code, out, err = check()
    assert (code, err) == (0, "")
    assert out.splitlines()[1] == "split by the folders images/train and images/val"
    assert all(name in " ".join(out.split()) for name in ("background", "cat", "a class with"))
    command = f"train --config=custom_fcn8s --config.data.source_dir={folder}"
    command += " --workdir=runs/custom_fcn8s"
    assert out.splitlines()[-1] == f"all is well; next: python launch.py {command}"
    code, out, _ = check("--output", tmp_path / "check.json")
    assert code == 0 and out.splitlines()[-1] == "all is well"


def test_numbers_are_those_of_the_labels(check, tmp_path, folder):
    check(f"--output={tmp_path / 'check.json'}")
    report = json.loads((tmp_path / "check.json").read_text())
    assert report["ok"] and report["splits"] == {"train": 6, "val": 3}
    source = get_dataset("custom", source_dir=str(folder), data_dir=str(tmp_path / "built"))
    for split in ("train", "val"):
        labels = [record["label"] for record in source.source(split)]
        counts = report["class_counts"][split]
        assert counts["pixels"] == [sum(int((x == k).sum()) for x in labels) for k in range(3)]
        assert counts["images"] == [sum(bool((x == k).any()) for x in labels) for k in range(3)]
        assert counts["void_pixels"] == sum(int((x == 255).sum()) for x in labels)
    pixels = np.array(report["class_counts"]["val"]["pixels"])
    share = pixels[0] / pixels.sum()
    assert report["baseline"]["class_name"] == "background"
    assert report["baseline"]["pixel_acc"] == pytest.approx(share)
    assert report["baseline"]["mean_iou"] == pytest.approx(share / (pixels > 0).sum())


@pytest.mark.parametrize("multiple", [1, 32])
def test_padded_shapes_are_those_of_evaluation(check, tmp_path, folder, multiple):
    check(f"--output={tmp_path / 'c.json'}", f"--config.eval.size_multiple={multiple}")
    evaluation = json.loads((tmp_path / "c.json").read_text())["evaluation"]
    dataset = get_dataset("custom", source_dir=str(folder), data_dir=str(tmp_path / "built"))
    batches = eval_batches(dataset.source("val"), batch_size=1, size_multiple=multiple)
    expected: dict[tuple, int] = {}
    padded = native = 0
    for batch in batches:
        shape = batch["labels"].shape[1:]
        expected[shape] = expected.get(shape, 0) + 1
        padded += np.prod(shape)
        native += batch["sizes"].prod()
    shapes = {(s["height"], s["width"]): s["images"] for s in evaluation["shapes"]}
    assert shapes == expected
    assert evaluation["padding_frac"] == pytest.approx(1 - native / padded)


def test_every_problem_is_told_and_the_exit_code_is_1(check, tmp_path, folder):
    for index in range(6):
        save(folder, "labels", "train", index, np.full((4, 4), 7, np.uint8))
    (folder / "images/val/6.png").write_bytes(b"GIF")
    code, out, err = check("--config.eval.split=test", "--output", tmp_path / "check.json")
    assert (code, err) == (1, "")
    assert "Problems, 8 in all: a build stops at the first." in out
    assert "label value outside the classes (6)" in out and "and 1 more\n" in out
    assert "val/6.png: cannot read this file as an image" in out
    assert "needs the split 'test'; this folder makes train, val" in out
    report = json.loads((tmp_path / "check.json").read_text())
    assert not report["ok"] and len(report["problems"]) == 8
    assert "all is well" not in out


def test_folder_that_is_not_there_is_a_problem_too(check, folder):
    folder.rename(folder.with_name("away"))
    code, out, _ = check()
    assert code == 1
    assert "there is no" in out and "FOLDER/classes.txt" in out


@pytest.mark.parametrize("columns", [80, 120])
def test_report_fits_into_the_terminal(check, folder, columns, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    _, out, _ = check()
    tables = out[: out.index("Remarks") if "Remarks" in out else out.index("all is well")]
    lines = [line for line in tables.splitlines() if str(folder) not in line]
    assert max(map(len, lines)) <= columns
    assert "…" not in out
    assert "Evaluation pads val to 1 shape (images): 64x64 (3); " in " ".join(out.split())


def test_data_set_that_is_drawn_has_nothing_to_check(capsys):
    code = door.main(["check_data", "--config=shapes_fcn8s"], experiments_dir=EXPERIMENTS)
    out, err = capsys.readouterr()
    assert (code, out) == (2, "")
    assert err == "error: data set 'shapes' is not built from files of yours: nothing to check\n"
