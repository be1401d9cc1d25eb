"""Journeys of a run: stopped and resumed, repeated, finished, refused."""

import contextlib
import csv
import dataclasses
import json
import math
import os
import re
import shutil
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from fcn_jax.commands import door
from fcn_jax.data.class_weights import compute_class_weights
from fcn_jax.data.datasets import DATASETS
from fcn_jax.data.labels import LabelSet
from fcn_jax.data.sets.shapes import LABELS as SHAPES
from fcn_jax.errors import UserError
from fcn_jax.ops.losses import make_loss
from fcn_jax.ops.metrics import scores
from fcn_jax.reports.replay import describe
from fcn_jax.train import loop, parallel, record, setup
from fcn_jax.train import replay as replays
from fcn_jax.train.checkpoint import Checkpoints
from fcn_jax.train.evaluation import Evaluator
from fcn_jax.train.listener import Listener
from fcn_jax.train.lock import lock_folder
from fcn_jax.train.options import TrainOptions
from fcn_jax.train.progress import Progress
from fcn_jax.train.replay import replay
from fcn_jax.train.run_folder import RunFolder
from fcn_jax.train.setup import make_setup
from fcn_jax.train.warm_start import init_from
from tests.faults import PASSING
from tests.train.conftest import NUM_CLASSES, VOID, TinyDataset, last_state, make_config, run

pytestmark = pytest.mark.usefixtures("plain_conv", "one_device")


class Notes(Listener):
    """A tracker that keeps what it hears."""

    def __init__(self):
        self.notes = []

    def on_log(self, step, values):
        self.notes.append({"kind": "train", "split": "train", "step": step, **values})

    def on_eval(self, report, samples, labels):
        assert {sample.id for sample in samples} and labels.num_classes == NUM_CLASSES
        self.notes.append({"kind": "eval", **{key: report[key] for key in record._LOGGED}})


HEARD = Notes()


@pytest.fixture(scope="module")
def whole(tmp_path_factory, one_device):
    """The folder of a run that nothing disturbed; look, do not touch."""
    folder = tmp_path_factory.mktemp("whole")
    HEARD.notes.clear()
    run(make_config(), folder, listeners=[HEARD])
    return folder


@pytest.fixture
def finished(whole, tmp_path):
    """A copy of it."""
    return shutil.copytree(whole, tmp_path / "finished")


def newest_step(workdir):
    with contextlib.closing(Checkpoints(workdir / "checkpoints", read_only=True)) as checkpoints:
        return checkpoints.latest_step


def assert_same_bits(state, other):
    jax.tree.map(np.testing.assert_array_equal, state, other)


def read_log(workdir):
    """The lines of metrics.jsonl without what depends on the clock."""
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in PASSING} for line in lines]


def stop_at_step(monkeypatch, step, number):
    """Sends this process a signal while the batch of `step` is read: during the step before."""
    original = setup.train_batches

    def stopping(source, *, start_step=0, **options):
        for index, batch in enumerate(original(source, start_step=start_step, **options)):
            if start_step + index + 1 == step:
                os.kill(os.getpid(), number)
            yield batch

    monkeypatch.setattr(setup, "train_batches", stopping)


def test_resumed_run_equals_uninterrupted_run(config, whole, tmp_path, monkeypatch):
    """Stopped by every kind of signal; the last comes before the first step of its launch."""
    stops = [(3, signal.SIGHUP, 2), (5, signal.SIGUSR1, 4), (5, signal.SIGTERM, 4)]
    for step, number, kept_step in stops:
        with monkeypatch.context() as patch:
            stop_at_step(patch, step, number)
            with pytest.raises(KeyboardInterrupt):
                run(config, tmp_path / "parts")
        assert newest_step(tmp_path / "parts") == kept_step
    report = run(config, tmp_path / "parts")
    assert report["step"] == 6
    assert_same_bits(last_state(config, whole), last_state(config, tmp_path / "parts"))
    assert read_log(whole) == read_log(tmp_path / "parts")
    launches = json.loads((tmp_path / "parts" / "run.json").read_text())["launches"]
    steps = [(launch["start_step"], launch.get("end_step")) for launch in launches]
    assert steps == [(0, 2), (2, 4), (4, None), (4, 6)]


def test_listener_hears_every_line_of_the_log(whole):
    lines = (whole / "metrics.jsonl").read_text().splitlines()
    assert HEARD.notes and HEARD.notes == [json.loads(line) for line in lines]


def test_stop_leaves_an_evaluation(config, tmp_path, monkeypatch):
    original = Evaluator.score

    def score(self, variables, *, on_batch):
        def stop(num_images):
            os.kill(os.getpid(), signal.SIGTERM)
            on_batch(num_images)

        return original(self, variables, on_batch=stop)

    monkeypatch.setattr(Evaluator, "score", score)
    with pytest.raises(KeyboardInterrupt):
        run(config, tmp_path / "run")
    assert newest_step(tmp_path / "run") == 3
    assert not (tmp_path / "run" / "eval").exists()


def test_second_training_in_a_folder_is_refused_before_anything_slow(
    config, whole, tmp_path, monkeypatch
):
    monkeypatch.setattr(loop, "make_setup", lambda config: pytest.fail("too late"))
    folder = shutil.copytree(whole, tmp_path / "run")
    shutil.rmtree(folder / "checkpoints" / "6")
    with lock_folder(folder, say=print), pytest.raises(UserError, match="is being trained by"):
        run(config, folder)


def test_killed_run_repeats_the_steps_after_its_checkpoint(config, whole, finished):
    # As a kill would leave it: the newest checkpoint is of step 3, the log ends in half a line.
    shutil.rmtree(finished / "checkpoints" / "6")
    with (finished / "metrics.jsonl").open("a") as log:
        log.write('{"kind": "train", "st')
    run(config, finished)
    assert_same_bits(last_state(config, whole), last_state(config, finished))
    assert read_log(whole) == read_log(finished)


def test_another_seed_gives_another_run(config, whole, tmp_path):
    run({**config, "seed": 4}, tmp_path / "other")
    assert read_log(whole)[-1]["loss"] != read_log(tmp_path / "other")[-1]["loss"]


def test_finished_run_is_left_alone(config, whole, finished):
    assert run(config, finished) is None
    assert (finished / "metrics.jsonl").read_text() == (whole / "metrics.jsonl").read_text()
    assert (finished / "run.json").read_text() == (whole / "run.json").read_text()


def test_run_folder_of_another_config_is_refused(config, finished):
    config["optim"]["learning_rate"] = 0.5
    with pytest.raises(ValueError, match="optim.learning_rate is 0.01 there and 0.5 here"):
        run(config, finished)


def test_run_folder_may_look_more_often(config, finished):
    config["train"]["eval_every"] = 1
    assert run(config, finished) is None


def test_folder_of_something_else_is_refused(config, tmp_path):
    (tmp_path / "cat.jpg").write_bytes(b"")
    with pytest.raises(ValueError, match="is not empty and is no run folder"):
        run(config, tmp_path)


@pytest.mark.parametrize(
    ("log_every", "checkpoint_every", "kept"),
    [
        (0, 1, "checkpoint 1 is kept, its values are finite"),
        (6, 0, "there is no checkpoint yet"),
    ],
)
def test_step_that_is_not_finite_stops_the_run_with_its_facts(
    config, tmp_path, log_every, checkpoint_every, kept
):
    config["optim"]["learning_rate"] = 1e30  # its first update is finite, and nothing after it
    config["train"].update(
        log_every=log_every, checkpoint_every=checkpoint_every, eval_every=0, num_steps=6
    )
    made = make_setup(config)
    with contextlib.closing(setup.make_batches(config, made.dataset, start_step=1)) as batches:
        ids = next(batches)["ids"].tolist()
    with pytest.raises(UserError) as caught:
        run(config, tmp_path)
    first, second, third = str(caught.value).splitlines()
    rate = float(made.schedule(1))
    said = rf"step 2 of {tmp_path} is not finite: loss \S+, gradient norm (inf|nan), learning rate "
    assert re.fullmatch(said + re.escape(f"{rate:.5g}"), first)
    assert f"images: {', '.join(ids)}; {kept}; failure.json" in second
    assert re.match(r"gradient norms that are not finite: \w+.* of 4 layers\); images", second)
    assert f"replay --workdir={tmp_path} " in third and "lower optim.learning_rate" in third
    failure = RunFolder(tmp_path).read_failure()
    assert (failure.step, failure.ids, failure.learning_rate) == (2, ids, rate)
    assert replays.find_step(RunFolder(tmp_path), None) == 2
    assert newest_step(tmp_path) == failure.kept_step if checkpoint_every else not failure.kept_step


def test_largest_gradient_of_a_window_is_not_a_number_if_one_is_not():
    steps = [{"loss_sum": 1.0, "count": 1, "grad_norm": norm} for norm in (1.0, math.nan, 2.0)]
    assert math.isnan(loop._summarize(steps)["grad_norm"])


@pytest.mark.parametrize(
    ("owner", "method", "error", "at"),
    [
        (Evaluator, "score", KeyboardInterrupt, 3),  # of a second Ctrl-C
        (Checkpoints, "score", OSError, 6),
    ],
)
def test_evaluation_that_failed_is_made_up_for(
    config, whole, tmp_path, monkeypatch, owner, method, error, at
):
    """No step is lost, and the files are in the end those of a run that nothing disturbed."""
    original, calls = getattr(owner, method), []

    def fail(*args, **options):
        calls.append(0)
        if len(calls) == at // 3:
            raise error
        return original(*args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(owner, method, fail)
        with pytest.raises(error):
            run(config, tmp_path)
    assert newest_step(tmp_path) == at
    assert run(config, tmp_path)["step"] == 6
    assert_same_files(whole, tmp_path)
    assert run(config, tmp_path) is None


def assert_same_files(folder, other):
    """Compares all that a run leaves, less times and what the clock says."""
    assert_same_bits(last_state(make_config(), folder), last_state(make_config(), other))
    assert read_log(folder) == read_log(other)
    names, others = (sorted(p.relative_to(f) for p in f.rglob("*.*")) for f in (folder, other))
    assert names == others
    for name in names:
        if name.suffix in (".png", ".npz") or name.name == "config.json":
            assert (folder / name).read_bytes() == (other / name).read_bytes(), name
    for name in (name for name in names if name.match("eval/*.json")):
        ours, theirs = (json.loads((f / name).read_text()) for f in (folder, other))
        assert {**ours, "eval_s": 0} == {**theirs, "eval_s": 0}
    with (
        contextlib.closing(Checkpoints(folder / "checkpoints", read_only=True)) as ours,
        contextlib.closing(Checkpoints(other / "checkpoints", read_only=True)) as theirs,
    ):
        assert ours.find_step("best") == theirs.find_step("best")


def test_infinity_in_the_state_alone_is_not_saved(config, tmp_path, monkeypatch):
    """The loss may still be finite: statistics of batches are not in it."""
    original = setup.Setup.make_train_step

    def make_train_step(self):
        step = original(self)

        def spoil(state, batch):
            state, sums = step(state, batch)
            if int(state.step) == 3:
                stats = jax.tree.map(lambda leaf: leaf * np.float32(np.inf), state.batch_stats)
                state = state.replace(batch_stats=stats)
            return state, sums

        return spoil

    with monkeypatch.context() as patch:
        patch.setattr(setup.Setup, "make_train_step", make_train_step)
        with pytest.raises(UserError, match="step 3 .*: batch_stats/.* after it, .*\n.*2 is kept"):
            run(config, tmp_path)
    assert newest_step(tmp_path) == 2
    failure = RunFolder(tmp_path).read_failure()
    # Of the step itself all is finite, and on the same device it is made again bit by bit.
    with Progress() as progress:
        again = replay(RunFolder(tmp_path), config, progress, step=3)
    assert (again.start_step, again.is_reproduced, again.first_not_finite) == (2, True, None)
    norms = {layer.name: layer.grad_norm for layer in again.layers if layer.grad_norm is not None}
    assert norms == failure.grad_norms and [image.id for image in again.images] == failure.ids
    run(config, tmp_path)
    assert RunFolder(tmp_path).read_failure() is None


def test_address_is_refused_before_anything_is_read(config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config["data"]["name"] = "no such set"
    with pytest.raises(UserError, match="gs://bucket/run is no path of this machine"):
        run(config, "gs://bucket/run")
    assert not any(tmp_path.iterdir())


def test_corrected_command_takes_the_folder_of_one_that_failed(config, tmp_path, monkeypatch):
    monkeypatch.setattr(setup.Setup, "make_train_step", lambda self: 1 / 0)
    for seed in (8, 3):
        with pytest.raises(ZeroDivisionError):
            run({**config, "seed": seed}, tmp_path)
        assert RunFolder(tmp_path).read_config()["seed"] == seed


def test_run_says_what_it_is(whole):
    info = json.loads((whole / "run.json").read_text())
    assert LabelSet.from_dict(info["labels"]) == SHAPES
    assert info["num_classes"] == SHAPES.num_classes
    assert info["num_params"] == sum(
        leaf.size for leaf in jax.tree.leaves(make_setup(make_config()).state.params)
    )
    assert (info["output_stride"], info["finest_stride"]) == (4, 4)
    (launch,) = info["launches"]
    assert launch["devices"] == parallel.get_devices(count=1).names
    assert launch["train_s"] > 0 and launch["eval_s"] > 0


def test_config_of_a_run_is_resolved(whole):
    config = json.loads((whole / "config.json").read_text())
    assert config["loss"]["dice_weight"] == 0.0 and config["loss"]["divide_by"] == "pixels"


def test_run_that_is_older_than_a_key_goes_on(config, whole, finished):
    """Such a key has its default there, and an old name of a key is understood."""
    file = finished / "config.json"
    old = json.loads(file.read_text())
    del old["loss"]["dice_weight"], old["loss"]["divide_by"], old["eval"]["boundary_px"]
    old["train"]["normalize"] = True
    file.write_text(json.dumps(old))
    shutil.rmtree(finished / "checkpoints" / "6")
    run(config, finished)
    assert_same_bits(last_state(config, whole), last_state(config, finished))
    config["loss"]["dice_weight"] = 0.5
    with pytest.raises(ValueError, match="loss.dice_weight is 0.0 there and 0.5 here"):
        run(config, finished)


def test_run_that_divided_by_images_is_refused_to_one_that_does_not(config, finished):
    file = finished / "config.json"
    old = json.loads(file.read_text())
    del old["loss"]["divide_by"]
    old["train"]["normalize"] = False
    file.write_text(json.dumps(old))
    with pytest.raises(ValueError, match="loss.divide_by is 'images' there and 'pixels' here"):
        run(config, finished)


def test_evaluate_scores_a_run_again(whole, tmp_path, capsys):
    folder = shutil.copytree(whole, tmp_path / "run[seed3]")
    config = json.loads((folder / "config.json").read_text())
    config["train"]["iter_size"] = 20  # of training: no matter here
    (folder / "config.json").write_text(json.dumps(config))
    scored = json.loads((folder / "eval" / "val-6.json").read_text())
    (folder / "eval" / "val-6.json").unlink()
    assert door.main(["evaluate", f"--workdir={folder}"], experiments_dir=tmp_path) == 0
    told = capsys.readouterr().out
    assert "run[seed3]: tiny val, step 6" in told
    again = json.loads((folder / "eval" / "val-6.json").read_text())
    assert again["counts"] == scored["counts"]
    lines = list(csv.DictReader((folder / "eval" / "val-6.csv").open()))
    assert sum(int(line["pixels"]) for line in lines) == np.sum(scored["counts"])
    worst = min(lines, key=lambda line: float(line["mean_iou"]))
    assert f"worst images by mean IoU: {worst['id']} {float(worst['mean_iou']):.4f}, " in told
    assert Image.open(folder / "eval" / "val-6.png").size[0] > 300


def test_predictions_of_all_evaluations_are_kept(whole):
    predictions = [file.stem for file in (whole / "samples" / "val").glob("*.pred-*.png")]
    assert sorted(name.partition(".")[2] for name in predictions) == 2 * ["pred-3"] + 2 * ["pred-6"]


def test_evaluation_files_say_what_was_counted(whole):
    saved = json.loads((whole / "eval" / "val-6.json").read_text())
    rescored = scores(np.array(saved["counts"]), convention="caffe")
    assert saved["num_images"] == 5 and saved["mean_iou"] == rescored["mean_iou"]
    images = RunFolder(whole).read_image_counts("val", 6)
    assert len(images.ids) == 5 and images.loss == saved["loss"]


def test_images_that_are_trained_on_are_not_scored(config, tiny_dataset, tmp_path, monkeypatch):
    leaky = dataclasses.replace(tiny_dataset, ids={"train": ["a", "b"], "val": ["b"]})
    monkeypatch.setitem(DATASETS, "tiny", lambda source_dir, data_dir: leaky)
    with pytest.raises(ValueError, match="eval.split=val: val shares 1 image, such as b"):
        run(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_evaluation_that_no_memory_holds_is_refused_before_training(config, tmp_path):
    config["eval"]["size_multiple"] = 100_000
    with pytest.raises(
        ValueError, match=r"padded to 100000 x 100000, need more than .*\ntake small"
    ):
        run(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("section", "key", "value", "message"),
    [
        ("train", "num_steps", 0, "train.num_steps=0 must be positive"),
        ("loss", "divide_by", "pixel", "unknown loss.divide_by 'pixel'; known: pixels, images"),
        ("train", "batch_size", 0, "train.batch_size=0 must be a positive multiple"),
        ("optim", "learning_rate", -1.0, "optim.learning_rate=-1.0 must not be negative"),
        ("optim", "weight_decay", -3.0, "optim.weight_decay=-3.0 must not be negative"),
        ("optim", "beta2", 5.0, r"optim.beta2=5.0 must lie in \[0, 1\)"),
        ("train", "log_every", -1, "train.log_every=-1 must not be negative"),
        ("augment", "crop_size", 0, "crop_size=0 must be"),
        ("eval", "size_multiple", 0, "eval.size_multiple=0 must be 1 or more"),
        ("eval", "num_samples", -1, "eval.num_samples=-1 must be 0 or more"),
        ("eval", "convention", "median", "unknown eval.convention 'median'; known: caffe"),
        ("model", "name", "vgg17", "unknown model.name 'vgg17'"),
        ("optim", "schedule", "cosine", "unknown optim.schedule 'cosine'"),
        ("data", "name", "tinny", "unknown data set 'tinny'"),
        ("augment", "crop_size", 100_000, r"need more than [\d,]+\.\d GiB on each of 1 x cpu"),
        ("train", "batch_size", 10**8, r"need more than [\d,]+\.\d GiB on each of 1 x cpu"),
        ("train", "split", "trian", "has no split 'trian'; it has"),
        ("eval", "split", "vall", "has no split 'vall'; it has"),
        ("init", "weights", "no.safetensors", "init.weights=no.safetensors is not there"),
        ("init", "workdir", "runs/no", "init.workdir=runs/no has no checkpoint"),
    ],
)
def test_mistakes_are_found_before_the_folder_is_touched(
    config, tmp_path, monkeypatch, section, key, value, message
):
    """And before the data set is built, which happens when a split is first opened."""
    monkeypatch.setattr(TinyDataset, "source", lambda self, split: pytest.fail("too late"))
    config[section][key] = value
    with pytest.raises(ValueError, match=message):
        run(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("crop_size", [32, 80])
def test_crop_that_is_mostly_padding_is_remarked_on(config, crop_size):
    config["augment"]["crop_size"] = crop_size
    remarks = [line for line in make_setup(config).describe() if line.startswith("remark")]
    assert bool(remarks) == (crop_size == 80)
    assert all("of a crop is padding" in line and len(line) <= 80 for line in remarks)


def test_evaluations_to_come_are_counted():
    for every in (0, 1, 2, 5, 7):
        options = TrainOptions(num_steps=10, batch_size=1, eval_every=every)
        due = [step for step in range(1, 11) if step == 10 or (every and step % every == 0)]
        for step in range(11):
            assert loop._count_evals(options, step) == sum(later > step for later in due)


@pytest.mark.parametrize("seed", [-1, 2**32, 10**20])
def test_seed_that_no_generator_takes_is_refused(config, tmp_path, seed):
    with pytest.raises(UserError, match=rf"seed={seed} must lie in 0\.\.4294967295"):
        run({**config, "seed": seed}, tmp_path / "run")


# --- replay -----------------------------------------------------------------------------------


def list_files(folder):
    return {path: path.stat().st_mtime_ns for path in sorted(folder.rglob("*"))}


def launch_replay(folder, *words):
    return door.main(["replay", f"--workdir={folder}", *words], experiments_dir=folder)


def test_replayed_step_is_the_step_of_the_run(whole, tmp_path, capsys):
    before = list_files(whole)
    assert launch_replay(whole, "--step=5", f"--output={tmp_path / 'step.json'}") == 0
    assert list_files(whole) == before
    out = capsys.readouterr().out
    assert "are reproduced to the last digit" in out and "everything is finite" in out
    assert max(map(len, out.splitlines()[:-1])) <= 80
    result = json.loads((tmp_path / "step.json").read_text())
    (noted,) = [e for e in RunFolder(whole).read_metrics("train") if e["step"] == 5]
    assert (result["loss"], result["grad_norm"]) == (noted["loss"], noted["grad_norm"])
    assert result["is_reproduced"] and result["first_not_finite"] is None
    norms = [layer["grad_norm"] for layer in result["layers"] if layer["grad_norm"] is not None]
    np.testing.assert_allclose(np.linalg.norm(norms), noted["grad_norm"], rtol=1e-6)
    assert all(image["id"].startswith("picture_") for image in result["images"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--step=7"], r"--step=7: the newest step of .* is 6; give one of 1\.\.6"),
        (["--step=0"], r"--step=0: the newest step of .* is 6; give one of 1\.\.6"),
        (["--step=five"], "argument --step: invalid int value: 'five'"),
        (["--output=step.txt"], r"step.txt must be a .json"),
        (["--output=no/step.json"], "in a folder that exists"),
    ],
)
def test_what_cannot_be_replayed_is_answered_in_a_line(whole, capsys, words, message):

    assert launch_replay(whole, *words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(message, line)


def test_folder_without_a_step_is_answered(tmp_path, capsys):
    assert launch_replay(tmp_path) == 2
    assert "is no run folder" in capsys.readouterr().err
    run_folder = RunFolder(tmp_path / "run")
    run_folder.open(make_config(), has_steps=False)
    with pytest.raises(UserError, match="there is no step to replay"):
        replays.find_step(run_folder, None)


@pytest.mark.parametrize(
    ("value", "place"), [(np.nan, ("conv2", "params")), (3e38, ("conv2", "activations"))]
)
def test_first_layer_that_is_not_finite_is_named(config, tmp_path, monkeypatch, value, place):
    """The layers behind it, and all gradients, are not finite either."""

    def plant(state, model, **init):
        def change(path, leaf):
            at = jax.tree_util.keystr(path, simple=True, separator="/")
            return np.full_like(leaf, value) if at == "backbone/conv2/kernel" else leaf

        state = init_from(state, model, **init)
        return state.replace(params=jax.tree_util.tree_map_with_path(change, state.params))

    monkeypatch.setattr(replays, "init_from", plant)
    launched = RunFolder(tmp_path)
    launched.begin_launch("python launch.py train", devices=[], start_step=0, config={})
    with Progress() as progress:
        result = replay(launched, config, progress, step=1)
    assert math.isnan(result.loss) and result.is_reproduced is None  # there was no step
    assert result.first_not_finite == place
    marked = [line for line in describe(result) if line.startswith(">")]
    assert len(marked) == 1 and "conv2" in marked[0]


def test_word_for_class_weights_stands_for_those_of_the_training_labels(
    config, tiny_dataset, draw_variables, monkeypatch
):
    monkeypatch.setattr(setup, "init_variables", lambda key, model: draw_variables(model))
    formula = {"class_weights": "median"}
    made = make_setup(config | {"loss": formula})
    train = tiny_dataset.source("train")
    expected = compute_class_weights("median", train, num_classes=NUM_CLASSES)
    assert made.class_weights == expected and len({*expected}) > 1
    assert made.config["loss"]["class_weights"] == "median"  # the run keeps the word
    assert f"background {expected[0]:.3g}, " in "\n".join(made.describe())
    labels = jnp.asarray(train[0]["label"][None])
    logits = jax.random.normal(jax.random.key(0), (*labels.shape, NUM_CLASSES))
    options = {"num_classes": NUM_CLASSES, "ignore_label": VOID, "class_weights": expected}
    for ours, theirs in zip(
        *(jax.tree.leaves(loss.sums(logits, labels)) for loss in (made.loss, make_loss(**options))),
        strict=True,
    ):
        np.testing.assert_array_equal(ours, theirs)
