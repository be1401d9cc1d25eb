"""Weights in and out by command: what a run started from comes back as it was."""

import json

import numpy as np
import pytest
import safetensors.numpy
from flax.traverse_util import flatten_dict, unflatten_dict

from fcn_jax.models.zoo import get_model
from fcn_jax.train.checkpoint import Checkpoints
from fcn_jax.train.state import TrainState
from fcn_jax.weights.files import load_weights
from fcn_jax.weights.naming import PREPROCESS, mobilenet_v2
from tests.conftest import shapes_of
from tests.weights.test_exchange import draw


@pytest.fixture
def released(tmp_path, rng):
    """A made-up torchvision file of MobileNetV2."""
    path = tmp_path / "mobilenet_v2.safetensors"
    safetensors.numpy.save_file(draw(mobilenet_v2(first_expand=False), rng), path)
    return path


def save_run(workdir, arrays, **model):
    """Writes what export_weights reads of a run."""
    variables = unflatten_dict({k: np.array(v) for k, v in arrays.items()}, sep="/")
    variables = {"batch_stats": {}, **variables}
    state = TrainState(step=np.zeros((), np.int32), opt_state={}, **variables)
    checkpoints = Checkpoints(workdir / "checkpoints")
    checkpoints.save(7, state)
    checkpoints.close()
    (workdir / "config.json").write_text(json.dumps({"model": model}))


def test_weights_come_back_as_they_were(launch, released, tmp_path):
    ours, workdir = tmp_path / "deep" / "ours.safetensors", tmp_path / "run"
    code, out, err = launch("import_weights", released, "--network=mobilenetv2", f"--output={ours}")
    assert (code, err) == (0, "")
    assert "260 copied" in out and f"--config.init.weights={ours}" in out

    save_run(workdir, load_weights(ours).arrays, name="mobilenetv2_fcn8s")
    back = tmp_path / "back.safetensors"
    words = [f"--workdir={workdir}", "--names=torchvision", f"--output={back}"]
    code, out, err = launch("export_weights", *words)
    assert (code, err) == (0, "") and "of step 7" in out
    before, after = (safetensors.numpy.load_file(path) for path in (released, back))
    assert len(after) == 260 and not set(after) - set(before)
    for name, array in after.items():
        np.testing.assert_array_equal(array, before[name], name)


def test_an_exported_file_says_how_its_images_are_prepared(launch, tmp_path):
    """In the words of torchvision, and still prepared as Caffe does it."""
    shapes = shapes_of(get_model("resnet18_fcn32s", num_classes=3))
    arrays = {k: np.ones(v.shape, v.dtype) for k, v in flatten_dict(shapes, sep="/").items()}
    workdir, there, ours = tmp_path / "run", tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    save_run(workdir, arrays, name="resnet18_fcn32s", preprocess="caffe")
    words = [f"--workdir={workdir}", "--names=torchvision", f"--output={there}"]
    assert launch("export_weights", *words)[0] == 0
    words = [there, "--network=resnet18", "--head=own", f"--output={ours}"]
    assert launch("import_weights", *words)[0] == 0
    weights = load_weights(ours)
    assert weights.preprocess == PREPROCESS["caffe"] and set(weights.arrays) == set(arrays)


def test_export_leaves_a_training_that_writes_in_peace(launch, tmp_path):
    workdir = tmp_path / "run"
    save_run(workdir, {"params/score_fr/bias": np.ones(3)}, name="resnet18_fcn32s")
    half_written = workdir / "checkpoints" / "8.orbax-checkpoint-tmp"
    half_written.mkdir()
    words = [
        f"--workdir={workdir}",
        "--names=torchvision",
        f"--output={tmp_path / 'a.safetensors'}",
    ]
    launch("export_weights", *words)
    assert half_written.exists()


def test_mistakes_are_told_in_a_line_or_two_and_nothing_is_written(launch, released, tmp_path):
    output = tmp_path / "ours.safetensors"
    text = tmp_path / "deploy.prototxt"
    text.write_text('name: "VGG"')
    mistakes = {
        (released, "--network=vgg16", f"--output={output}"): "vgg16",
        (
            released,
            "--network=vgg19",
            f"--output={output}",
        ): "unknown network 'vgg19'; known: vgg16",
        (released, "--network=mobilenetv2", f"--output={tmp_path / 'ours.bin'}"): "must end in",
        (text, "--network=vgg16", f"--output={output}"): "a prototxt describes a network",
        (tmp_path / "no.caffemodel", "--network=vgg16", f"--output={output}"): "no file of weights",
        (released, f"--output={output}"): "required: --network",
    }
    for words, message in mistakes.items():
        code, _, err = launch("import_weights", *words)
        assert code == 2 and message in err and len(err.splitlines()) <= 2, err
    assert not output.exists()


def test_import_does_not_write_over_what_it_reads(launch, released):
    before = released.read_bytes()
    link = released.with_name("link.safetensors")
    link.symlink_to(released)
    around = released.parent / "folder" / ".." / released.name
    for file, output in ((released, released), (released, around), (link, released)):
        words = [file, "--network=mobilenetv2", f"--output={output}"]
        code, _, err = launch("import_weights", *words)
        assert code == 2 and f"is {file} itself; write to another file" in err, err
    words = ["a.caffemodel", "--network=vgg16", f"--output={released}", f"--mean={released}"]
    code, _, err = launch("import_weights", *words)
    assert code == 2 and f"is {released} itself" in err, err
    assert released.read_bytes() == before


def test_export_of_no_run_is_told(launch, tmp_path):
    words = [f"--workdir={tmp_path}", "--names=caffe", f"--output={tmp_path / 'a.safetensors'}"]
    code, _, err = launch("export_weights", *words)
    assert code == 2 and "is no run folder" in err
