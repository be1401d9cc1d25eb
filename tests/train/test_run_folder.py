"""What a run folder gives back, and what it says of what it cannot."""

import contextlib
import errno
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from fcn_jax import atomic_file
from fcn_jax.data.sets.shapes import LABELS as SHAPES
from fcn_jax.errors import MissingError, UserError
from fcn_jax.train.conditions import ENDLESS_SCHEDULES
from fcn_jax.train.optimizer import make_optimizer
from fcn_jax.train.run_folder import RunFolder
from fcn_jax.train.sections import resolve
from fcn_jax.train.tally import Prediction
from tests.mutations import mutations
from tests.train.conftest import count_one_image, make_config


@pytest.fixture
def folder(tmp_path) -> RunFolder:
    return RunFolder(tmp_path)


def test_what_is_missing_is_told_in_one_way(folder):
    for read, name in ((folder.read_config, "config.json"), (folder.read_run, "run.json")):
        with pytest.raises(MissingError, match=f"is no run folder: it has no {name}\n.*makes one"):
            read()
    assert folder.read_metrics("train") == folder.list_evals() == []
    assert folder.read_evals("val") == {} and folder.samples.list_ids("val", 3) == []


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[1]", b"3", b"[" * 100_000, b"9" * 5000])
def test_what_is_damaged_is_told_in_one_way(folder, content):
    (folder.path / "eval").mkdir()
    for name in ("config.json", "run.json", "eval/val-3.json"):
        (folder.path / name).write_bytes(content)
    for read in (folder.read_config, folder.read_run, lambda: folder.read_evals("val")):
        with pytest.raises(UserError, match=r"\.json is damaged: "):
            read()


def test_a_value_that_changed_since_the_launch_is_told(folder, capsys):
    config = make_config()
    folder.open(config, has_steps=False)
    folder.begin_launch("train", devices=[], start_step=0, config=config)
    file = folder.path / "config.json"
    config = json.loads(file.read_text())
    config["data"]["source_dir"] = "elsewhere"  # no number hangs on it
    file.write_text(json.dumps(config))
    assert folder.read_config() == config and not capsys.readouterr().err
    file.write_text(json.dumps({**config, "seed": 5}))
    for _ in range(2):  # told once in a process
        assert folder.read_config()["seed"] == 5
    assert capsys.readouterr().err.splitlines() == [
        f"warning: {file} was changed since the run was launched: seed is 5 and was 3"
    ]


def test_damaged_line_is_named(folder):
    (folder.path / "metrics.jsonl").write_text('{"kind": "train", "step": 1}\n{"ki\n{}\n')
    with pytest.raises(UserError, match="metrics.jsonl, line 2 is damaged"):
        folder.read_metrics("train")


def test_metrics_come_back_by_kind_and_step(folder):
    for step in (1, 2):
        folder.log(kind="train", step=step, loss=1 / step)
        folder.log(kind="eval", step=step, loss=float("nan"))
    folder.rewind_log(1, is_scored=True)
    folder.log(kind="train", step=2, loss=0.25)
    assert [line["loss"] for line in folder.read_metrics("train")] == [1, 0.25]
    assert [line["loss"] for line in folder.read_metrics("eval")] == [None]


ONE_IMAGE = count_one_image(np.eye(2))


def make_report(split: str, step: int) -> dict:
    return {"split": split, "step": step, "counts": np.eye(2, dtype=np.int64), "loss": np.nan}


def test_evaluations_come_back_by_split_in_order_of_steps(folder):
    for split, step in (("val", 10), ("val", 9), ("val-b", 3), ("b-val", 4)):
        folder.write_eval(
            make_report(split, step), [], images=ONE_IMAGE, colors=np.zeros((2, 3), np.uint8)
        )
    evals = folder.read_evals("val")
    assert list(evals) == [9, 10] and list(folder.read_evals("val-b")) == [3]
    assert evals[9] == {"split": "val", "step": 9, "counts": [[1, 0], [0, 1]], "loss": None}
    assert folder.list_evals() == [("b-val", 4), ("val", 9), ("val", 10), ("val-b", 3)]


def test_counts_of_each_image_come_back(folder):
    colors = np.zeros((2, 3), np.uint8)
    folder.write_eval(make_report("val", 3), [], images=ONE_IMAGE, colors=colors)
    images = folder.read_image_counts("val", 3)
    assert images.ids == ONE_IMAGE.ids and images.loss == 0.25
    np.testing.assert_array_equal(images.counts, ONE_IMAGE.counts)
    np.testing.assert_array_equal(images.band_counts, ONE_IMAGE.band_counts)
    folder.eval_file("val", 3).with_suffix(".npz").unlink()
    assert folder.read_image_counts("val", 3) is None  # an old run


@pytest.mark.parametrize(
    "name, value, answer",
    [
        ("counts", np.ones((1, 2, 2), np.int32), "counts do not sum to those of the JSON file"),
        ("counts", np.ones((1, 2, 2)), r"its counts are float64 of shape \(1, 2, 2\)"),
        ("num_pixels", np.array([3]), "counts do not sum"),
        ("ids", np.array(["a", "b"]), r"counts are of shape \(1, 2, 2\) for 2 images"),
        ("loss_sums", np.zeros(2), "arrays are of different lengths"),
        ("loss_sums", np.array([0.4]), "loss_sums do not sum to the loss of the JSON file"),
        ("band_counts", np.ones((40, 2, 2), np.int64), "band_counts are not of these pixels"),
        ("band_counts", np.eye(2, dtype=np.int64)[None], "not the boundary_counts of the JSON"),
    ],
)
def test_counts_of_each_image_that_do_not_belong_are_refused(folder, name, value, answer):
    report = {**make_report("val", 3), "loss": ONE_IMAGE.loss}
    report |= {"boundary_px": 1, "boundary_counts": np.zeros((2, 2), int)}
    folder.write_eval(report, [], images=ONE_IMAGE, colors=np.zeros((2, 3), np.uint8))
    file = folder.eval_file("val", 3).with_suffix(".npz")
    np.savez(file, **{**np.load(file), name: value})
    with pytest.raises(UserError, match=rf"val-3.npz is damaged: .*{answer}.*; evaluate again"):
        folder.read_image_counts("val", 3)


@pytest.mark.parametrize(
    ("key", "value", "answer"),
    [
        ("num_images", 2, "it has 1 images, and the JSON file 2"),
        ("loss", 0.26, "loss_sums do not sum to the loss"),
    ],
)
def test_evaluation_whose_digit_flipped_does_not_fit_its_images(folder, key, value, answer):
    report = {**make_report("val", 3), "num_images": 1, "loss": ONE_IMAGE.loss}
    colors = np.zeros((2, 3), np.uint8)
    folder.write_eval(report, [], images=ONE_IMAGE, colors=colors)
    assert folder.read_image_counts("val", 3).loss == report["loss"]
    folder.write_eval({**report, key: value}, [], images=ONE_IMAGE, colors=colors)
    with pytest.raises(UserError, match=answer):
        folder.read_image_counts("val", 3)


def test_samples_come_back_as_they_were(folder, rng):
    image = rng.integers(0, 256, (4, 5, 3), np.uint8)
    label, pred = rng.integers(0, 2, (2, 4, 5), np.uint8)
    sample = Prediction("seq/0001", image, label, pred)
    colors = np.array([[1, 2, 3], [4, 5, 6]], np.uint8)
    folder.write_eval(make_report("val", 3), [sample], images=ONE_IMAGE, colors=colors)
    (image_id,) = folder.samples.list_ids("val", 3)
    assert folder.samples.list_ids("val", 4) == []  # no prediction of that step
    files = folder.samples.files(image_id, split="val", step=3)
    assert files == folder.samples.files("seq/0001", split="val", step=3)
    for file, array in zip(files, (image, label, pred), strict=True):
        np.testing.assert_array_equal(np.asarray(Image.open(file)), array)


def test_samples_of_images_in_folders_never_meet(folder):
    ids = ["a/b", "a_b", "b", "c/b"]
    black = np.zeros((4, 5, 3), np.uint8)
    samples = [Prediction(name, black, black[..., 0], black[..., 0]) for name in ids]
    folder.write_eval(make_report("val", 3), samples, images=ONE_IMAGE, colors=black[0, :2])
    assert folder.samples.list_ids("val", 3) == ids


def test_launches_add_up(folder):
    for start, seed in ((0, 1), (5, 1)):
        folder.begin_launch("train", devices=["cpu:0"], start_step=start, config={}, seed=seed)
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
    files = [folder.samples.files(name, split="val", step=12345)[2].name for name in names]
    assert len(set(files)) == 4 and all(len(name.encode()) < 230 for name in files)
    # The name that a file has leads to the file.
    again = [folder.samples.files(name.split(".")[0], split="val", step=12345)[2] for name in files]
    assert [file.name for file in again] == files


# --- whose folder it is -----------------------------------------------------------------------


def test_folder_of_a_launch_that_made_no_step_is_free(folder):
    folder.open(resolve(make_config()), has_steps=False)
    folder.begin_launch("train", devices=["cpu:0"], start_step=0, config={})
    other = {**resolve(make_config()), "seed": 4}
    folder.open(other, has_steps=False)
    assert folder.read_config()["seed"] == 4
    for has_steps, line in ((True, ""), (False, '{"kind": "train", "step": 1}\n')):
        (folder.path / "metrics.jsonl").write_text(line)
        with pytest.raises(UserError, match="belongs to another experiment: seed is 4 there and 3"):
            folder.open(resolve(make_config()), has_steps=has_steps)


def open_changed(folder, key, value, **said):
    """Opens a run of `make_config`, changed by `said`, for one that says another value."""
    section, name = key.split(".")
    config = resolve(make_config())
    for there, changed in said.items():
        config[there].update(changed)
    folder.write_config(config)
    config[section][name] = value
    folder.open(config, has_steps=True)


@pytest.mark.parametrize(
    ("key", "value", "ways"),
    [
        ("optim.learning_rate", 0.5, ("--config.optim.learning_rate=0.01", "init.workdir={}")),
        ("augment.scales", (0.5, 2.0), ("--config.augment.scales='()'", "init.workdir={}")),
        ("model.width", 0.5, ("--config.model.width=1.0", "takes --workdir=NEW")),
        ("init.weights", "a b.safetensors", ("--config.init.weights=''", "takes --workdir=NEW")),
        ("train.num_steps", 3, ("--config.train.num_steps=6", "init.workdir={}")),
        ("train.num_steps", 9, ("optim.schedule=poly falls to its end there", "init.workdir={}")),
    ],
)
def test_refusal_names_the_ways_on(folder, key, value, ways):
    with pytest.raises(UserError, match=f"another experiment: {key} is ") as error:
        open_changed(folder, key, value)
    for way in ways:
        assert way.format(folder.path) in str(error.value)
    assert len(str(error.value).splitlines()) == 2


def test_keys_of_another_network_come_behind_its_name(folder):
    config = resolve(make_config())
    folder.write_config(config)
    other = make_config()
    other["model"] = {"name": "mobilenetv2_fcn32s"}
    with pytest.raises(UserError, match="model.name is 'tiny_fcn4s' there and 'mobilenetv2"):
        folder.open(resolve(other), has_steps=True)


def schedule_of(num_steps, **optim):
    _, schedule = make_optimizer({"kernel": np.zeros(1)}, num_steps=num_steps, **optim)
    return schedule


@pytest.mark.parametrize("schedule", ENDLESS_SCHEDULES)
def test_run_may_become_longer_where_no_rate_depends_on_it(folder, schedule):
    optim = {"name": "sgd", "learning_rate": 0.5, "schedule": schedule, "step_size": 2}
    rates = [
        [float(schedule_of(num_steps, **optim)(step)) for step in range(6)] for num_steps in (6, 9)
    ]
    assert rates[0] == rates[1]
    open_changed(folder, "train.num_steps", 9, optim={"schedule": schedule})
    with pytest.raises(UserError, match="train.num_steps is 6 there and 3 here"):
        open_changed(folder, "train.num_steps", 3, optim={"schedule": schedule})


def test_one_place_may_be_written_in_two_ways(folder, monkeypatch):
    monkeypatch.chdir(folder.path)
    (folder.path / "link").symlink_to(folder.path)
    for other in (str(folder.path / "a"), "./a", "link/a"):
        open_changed(folder, "init.workdir", other, init={"workdir": "a"})
        open_changed(folder, "data.source_dir", other, data={"source_dir": "b"})
    with pytest.raises(UserError, match="init.workdir is 'a' there and 'b' here"):
        open_changed(folder, "init.workdir", "b", init={"workdir": "a"})


@pytest.mark.parametrize("name", ["config.tmp", ".12-ab.tmp"])
def test_half_a_file_of_a_kill_does_not_take_the_folder(folder, name):
    (folder.path / name).write_text("{")
    folder.open(resolve(make_config()), has_steps=False)
    assert folder.read_config()["seed"] == 3


def test_damaged_config_of_a_run_with_steps_is_told(folder):
    (folder.path / "config.json").write_text("[]")
    with pytest.raises(UserError, match=r"config.json is damaged: it holds \[\]"):
        folder.open(resolve(make_config()), has_steps=True)
    folder.open(resolve(make_config()), has_steps=False)


@pytest.mark.parametrize("path", ["gs://bucket/run", "s3://b/r", "file:///tmp/run", "gs:/bucket"])
def test_address_is_no_path(path):
    with pytest.raises(UserError, match="is no path of this machine"):
        RunFolder(path)


# --- files are there whole or not at all ------------------------------------------------------


def test_files_outlive_a_full_disk(folder, rng, monkeypatch):
    """Every file that is written again: the one of before stays, and nothing else is left."""
    picture = rng.integers(0, 256, (4, 5, 3), np.uint8)
    label = rng.integers(0, 2, (4, 5), np.uint8)
    sample = Prediction("a", picture, label, label)
    colors = np.array([[1, 2, 3], [4, 5, 6]], np.uint8)
    writes = [
        lambda: folder.write_eval(make_report("val", 3), [sample], images=ONE_IMAGE, colors=colors),
        lambda: folder.write_eval(make_report("val", 3), [], images=ONE_IMAGE, colors=colors),
        lambda: folder.rewind_log(1, is_scored=True),
        lambda: folder.begin_launch("train", devices=[], start_step=0, config={}),
        lambda: folder.end_launch(end_step=3),
        lambda: folder.open({**resolve(make_config()), "seed": 9}, has_steps=False),
    ]
    folder.open(resolve(make_config()), has_steps=False)
    for write in (writes[0], writes[3]):
        write()
    (folder.path / "metrics.jsonl").write_text("")
    before = {p: p.read_bytes() for p in folder.path.rglob("*") if p.is_file()}

    def refuse(path):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(atomic_file, "sync", refuse)
    for write in writes:
        with pytest.raises(OSError, match="No space left on device"):
            write()
        assert {p: p.read_bytes() for p in folder.path.rglob("*") if p.is_file()} == before


def test_error_names_the_file_that_the_user_knows(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        atomic_file.write_text(tmp_path / "nowhere" / "a.json", "")
    assert caught.value.filename == str(tmp_path / "nowhere" / "a.json")


def test_what_is_no_file_is_written_to_and_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    atomic_file.write_text(tmp_path / "pipe", "text")
    assert os.read(reader, 9) == b"text" and [p.name for p in tmp_path.iterdir()] == ["pipe"]
    os.close(reader)


def test_mode_of_a_new_file_is_that_of_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        atomic_file.write_text(tmp_path / "a", "")
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


def test_evaluation_that_was_not_completed_is_dropped_from_the_log(folder):
    for kind, step in (("train", 3), ("eval", 3), ("train", 6), ("eval", 6), ("train", 7)):
        folder.log(kind=kind, step=step, loss=1.0, images_per_s=1.0, mean_iou=0.5)
    folder.rewind_log(6, is_scored=False)
    assert list(folder.read_metrics("train")[-1].items())[1] == ("step", 6)
    assert [line["step"] for line in folder.read_metrics("eval")] == [3]


def test_damaged_line_in_the_middle_is_not_dropped_from_the_log(folder):
    (folder.path / "metrics.jsonl").write_text('{"ki\n{"kind": "x", "step": 1}\n')
    with pytest.raises(UserError, match="metrics.jsonl, line 1 is damaged"):
        folder.rewind_log(5, is_scored=True)


def test_damaged_files_are_read_or_told(folder, capsys, monkeypatch):
    """Whatever happens to its bytes, a file is read or the user gets an answer."""
    monkeypatch.setattr("fcn_jax.train.run_folder.PATHS", ())  # here they stay where they are
    config = resolve(make_config())
    folder.open(config, has_steps=False)
    folder.begin_launch(
        "train", devices=["cpu:0"], start_step=0, config=config, labels=SHAPES.to_dict()
    )
    conditions = folder.read_conditions()
    for step in (1, 2):
        folder.log(kind="train", step=step, loss=1 / step, images_per_s=2.0)
        folder.log(kind="eval", step=step, mean_iou=0.5)
    folder.write_eval(
        make_report("val", 2), [], images=ONE_IMAGE, colors=np.zeros((2, 3), np.uint8)
    )
    reads = [
        folder.read_conditions,
        folder.read_run,
        folder.read_labels,
        lambda: folder.read_metrics("train"),
        lambda: folder.read_evals("val"),
        lambda: folder.read_image_counts("val", 2),
        lambda: folder.open(resolve(make_config()), has_steps=True),
        lambda: folder.end_launch(),
    ]
    for _ in mutations(folder.path):
        for read in reads:
            with contextlib.suppress(UserError):
                read()
        told = capsys.readouterr().err
        monkeypatch.setattr("fcn_jax.train.conditions._told", set())
        with contextlib.suppress(UserError):
            assert folder.read_conditions() == conditions or "was changed since" in told
