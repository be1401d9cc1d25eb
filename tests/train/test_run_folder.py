"""What a run folder gives back, and what it says of what it cannot."""

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from fcn_jax.errors import MissingError, UserError
from fcn_jax.train.evaluation import Prediction
from fcn_jax.train.run_folder import RunFolder


@pytest.fixture
def folder(tmp_path) -> RunFolder:
    return RunFolder(tmp_path)


def test_what_is_missing_is_told_in_one_way(folder):
    for read, name in ((folder.read_config, "config.json"), (folder.read_run, "run.json")):
        with pytest.raises(MissingError, match=f"is no run folder: it has no {name}\n.*makes one"):
            read()
    assert folder.read_metrics("train") == folder.list_evals() == []
    assert folder.read_evals("val") == {} and folder.list_samples("val", 3) == []


@pytest.mark.parametrize("content", [b"{", b"\xff"])
def test_what_is_damaged_is_told_in_one_way(folder, content):
    (folder.path / "eval").mkdir()
    for name in ("config.json", "run.json", "eval/val-3.json"):
        (folder.path / name).write_bytes(content)
    for read in (folder.read_config, folder.read_run, lambda: folder.read_evals("val")):
        with pytest.raises(UserError, match=r"\.json is damaged: "):
            read()


def test_damaged_line_is_named(folder):
    (folder.path / "metrics.jsonl").write_text('{"kind": "train", "step": 1}\n{"ki\n{}\n')
    with pytest.raises(UserError, match="metrics.jsonl, line 2 is damaged"):
        folder.read_metrics("train")


def test_metrics_come_back_by_kind_and_step(folder):
    for step in (1, 2):
        folder.log(kind="train", step=step, loss=1 / step)
        folder.log(kind="eval", step=step, loss=float("nan"))
    folder.rewind_log(1)
    folder.log(kind="train", step=2, loss=0.25)
    assert [line["loss"] for line in folder.read_metrics("train")] == [1, 0.25]
    assert [line["loss"] for line in folder.read_metrics("eval")] == [None]


def make_report(split: str, step: int) -> dict:
    return {"split": split, "step": step, "counts": np.eye(2, dtype=np.int64), "loss": np.nan}


def test_evaluations_come_back_by_split_in_order_of_steps(folder):
    for split, step in (("val", 10), ("val", 9), ("val-b", 3), ("b-val", 4)):
        folder.write_eval(make_report(split, step), [], colors=np.zeros((2, 3), np.uint8))
    evals = folder.read_evals("val")
    assert list(evals) == [9, 10] and list(folder.read_evals("val-b")) == [3]
    assert evals[9] == {"split": "val", "step": 9, "counts": [[1, 0], [0, 1]], "loss": None}
    assert folder.list_evals() == [("b-val", 4), ("val", 9), ("val", 10), ("val-b", 3)]


def test_samples_come_back_as_they_were(folder, rng):
    image = rng.integers(0, 256, (4, 5, 3), np.uint8)
    label, pred = rng.integers(0, 2, (2, 4, 5), np.uint8)
    sample = Prediction("seq/0001", image, label, pred)
    colors = np.array([[1, 2, 3], [4, 5, 6]], np.uint8)
    folder.write_eval(make_report("val", 3), [sample], colors=colors)
    (image_id,) = folder.list_samples("val", 3)
    assert folder.list_samples("val", 4) == []  # no prediction of that step
    files = folder.sample_files(image_id, split="val", step=3)
    assert files == folder.sample_files("seq/0001", split="val", step=3)
    for file, array in zip(files, (image, label, pred), strict=True):
        np.testing.assert_array_equal(np.asarray(Image.open(file)), array)


def test_launches_add_up(folder):
    for start, seed in ((0, 1), (5, 1)):
        folder.begin_launch("train", devices=["cpu:0"], start_step=start, seed=seed)
        folder.end_launch(end_step=start + 5)
    info = folder.read_run()
    assert info["seed"] == 1
    assert [(run["start_step"], run["end_step"]) for run in info["launches"]] == [(0, 5), (5, 10)]
    assert json.loads((folder.path / "run.json").read_text()) == info


def test_reports_read_run_folders_without_jax():
    code = "import sys, fcn_jax.reports.comparison; print('jax' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_names_of_pictures_fit_into_a_file_system(tmp_path):
    folder = RunFolder(tmp_path)
    long = "ä" * 125  # 250 bytes, which a file system takes
    names = [f"{long}", f"{long[:-1]}ö", "short", "a/b"]
    files = [folder.sample_files(name, split="val", step=12345)[2].name for name in names]
    assert len(set(files)) == 4 and all(len(name.encode()) < 230 for name in files)
    # The name that a file has leads to the file.
    again = [folder.sample_files(name.split(".")[0], split="val", step=12345)[2] for name in files]
    assert [file.name for file in again] == files
