"""Weights in and out by command: what a run started from comes back as it was."""

import json

import numpy as np
import pytest
import safetensors.numpy
from flax.traverse_util import flatten_dict, unflatten_dict
from PIL import Image

import fcn_jax
from fcn_jax.data.labels import LabelSet
from fcn_jax.models.zoo import get_model
from fcn_jax.train.checkpoint import Checkpoints
from fcn_jax.train.state import TrainState
from fcn_jax.weights.backbone_names import mobilenet_v2, torchvision_alexnet
from fcn_jax.weights.naming import PREPROCESS
from fcn_jax.weights.network_file import load_weights
from tests.conftest import shapes_of
from tests.train.conftest import make_config
from tests.weights.test_exchange import draw


@pytest.fixture
def released(tmp_path, rng):
    """A made-up torchvision file of MobileNetV2."""
    path = tmp_path / "mobilenet_v2.safetensors"
    safetensors.numpy.save_file(draw(mobilenet_v2(first_expand=False), rng), path)
    return path


def save_run(workdir, arrays, *, num_classes=3, **model):
    """Writes what export_weights reads of a run; all else in the network is ones."""
    shapes = shapes_of(get_model(**model, num_classes=num_classes))
    ones = {k: np.ones(v.shape, v.dtype) for k, v in flatten_dict(shapes, sep="/").items()}
    arrays = ones | {k: np.array(v) for k, v in arrays.items()}
    variables = {"batch_stats": {}, **unflatten_dict(arrays, sep="/")}
    state = TrainState(step=np.zeros((), np.int32), opt_state={}, **variables)
    checkpoints = Checkpoints(workdir / "checkpoints")
    checkpoints.save(7, state)
    checkpoints.close()
    config = {**make_config(), "data": {"name": "shapes"}, "model": model}
    (workdir / "config.json").write_text(json.dumps(config))
    names = [f"class_{number}" for number in range(num_classes)]
    run = {"labels": LabelSet.in_voc_colors(names).to_dict(), "launches": []}
    (workdir / "run.json").write_text(json.dumps(run))


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
    assert len(set(after) & set(before)) == 260
    assert all(name.startswith("score_") for name in set(after) - set(before))
    for name in set(after) & set(before):
        np.testing.assert_array_equal(after[name], before[name], name)


def test_an_exported_file_says_what_its_network_has_to_be_like(launch, tmp_path):
    """In torchvision's names, in which nothing else shows the plan of the strides."""
    workdir, there, ours = tmp_path / "run", tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    plan = {"first_expand": True, "strides": (1, 2, 2, 1, 2, 2, 1), "activation": "relu"}
    save_run(workdir, {}, name="mobilenetv2_fcn8s", **plan)
    words = [f"--workdir={workdir}", "--names=torchvision", f"--output={there}"]
    assert launch("export_weights", *words)[0] == 0
    words = [there, "--network=mobilenetv2", f"--output={ours}"]
    assert launch("import_weights", *words)[0] == 0
    assert load_weights(ours).requires == plan


def test_an_exported_file_says_how_its_images_are_prepared(launch, tmp_path):
    """In the words of torchvision, and still prepared as Caffe does it."""
    workdir, there, ours = tmp_path / "run", tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    save_run(workdir, {}, name="resnet18_fcn32s", preprocess="caffe")
    words = [f"--workdir={workdir}", "--names=torchvision", f"--output={there}"]
    assert launch("export_weights", *words)[0] == 0
    words = [there, "--network=resnet18", "--head=own", f"--output={ours}"]
    assert launch("import_weights", *words)[0] == 0
    weights = load_weights(ours)
    assert weights.preprocess == PREPROCESS["caffe"]
    assert set(weights.arrays) == set(fcn_jax.load(workdir).arrays)


def test_one_file_holds_all_that_a_trained_network_is(launch, tmp_path):
    """The message says how to use it, and what it says is true."""
    workdir, output = tmp_path / "tiny_run", tmp_path / "net.safetensors"
    bias = np.arange(3, dtype=np.float32)
    save_run(workdir, {"params/score_fr/bias": bias}, name="vgg16_fcn32s", width=1 / 64)
    code, out, err = launch("export_weights", f"--workdir={workdir}", f"--output={output}")
    assert (code, err) == (0, "")
    first, second = out.splitlines()
    assert first == f"wrote vgg16_fcn32s of step 7 to {output}"
    assert second == f'use it: fcn_jax.load("{output}"), or --config.init.weights={output}'
    net = fcn_jax.load(output)
    np.testing.assert_array_equal(net.arrays["params/score_fr/bias"], bias)
    assert net.labels.names == ("class_0", "class_1", "class_2")
    assert net.origin["step"] == 7 and net.origin["run"] == "tiny_run"


def test_export_writes_only_what_its_name_says(launch, tmp_path):
    words = [f"--workdir={tmp_path}", f"--output={tmp_path / 'net.onnx'}"]
    code, _, err = launch("export_weights", *words)
    assert code == 2 and "must end in .safetensors" in err


def test_export_leaves_a_training_that_writes_in_peace(launch, tmp_path):
    workdir = tmp_path / "run"
    save_run(workdir, {}, name="resnet18_fcn32s")
    half_written = workdir / "checkpoints" / "8.orbax-checkpoint-tmp"
    half_written.mkdir()
    words = [
        f"--workdir={workdir}",
        "--names=torchvision",
        f"--output={tmp_path / 'a.safetensors'}",
    ]
    assert launch("export_weights", *words)[0] == 0
    assert half_written.exists()


def test_mistakes_are_told_in_a_line_or_two_and_nothing_is_written(launch, released, tmp_path):
    output = tmp_path / "ours.safetensors"
    text = tmp_path / "deploy.prototxt"
    text.write_text('name: "VGG"')
    mistakes = {
        (
            released,
            "--network=vgg16",
            f"--output={output}",
        ): "this is MobileNetV2 in torchvision's names, and no VGG16; give --network=mobilenetv2",
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


@pytest.fixture
def photos(tmp_path, rng):
    """A folder of two photos, of noise."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(2):
        picture = Image.fromarray(rng.integers(0, 256, (60, 80, 3), np.uint8))
        picture.save(folder / f"{number}.jpg")
    return folder


@pytest.mark.usefixtures("plain_conv")
def test_check_shows_every_layer_and_the_first_that_disagrees(launch, released, photos, tmp_path):
    words = ["--network=mobilenetv2", f"--output={tmp_path / 'a.safetensors'}", f"--check={photos}"]
    code, out, err = launch("import_weights", released, *words)
    assert (code, err) == (1, "")
    assert "first_expand=False, strides=(1, 2, 2, 2, 1, 2, 1), activation=relu6 on 2 photos" in out
    assert len([line for line in out.splitlines() if line.startswith("bottleneck")]) == 50
    assert "the batch norms disagree: conv0 is the first layer" in out.splitlines()[-1]


def test_check_of_weights_without_batch_norm_says_so(launch, photos, rng, tmp_path):
    safetensors.numpy.save_file(draw(torchvision_alexnet(), rng), tmp_path / "alexnet")
    words = ["--network=alexnet", f"--output={tmp_path / 'a.safetensors'}", f"--check={photos}"]
    code, out, _ = launch("import_weights", tmp_path / "alexnet", *words)
    assert code == 0 and out.splitlines()[-1].startswith("there is nothing to check: ")


def test_check_without_photos_is_told_before_anything_is_written(launch, released, tmp_path):
    output = tmp_path / "a.safetensors"
    words = ["--network=mobilenetv2", f"--output={output}", f"--check={tmp_path / 'nowhere'}"]
    code, _, err = launch("import_weights", released, *words)
    assert code == 2 and "nowhere is no folder" in err and not output.exists()


def test_export_of_no_run_is_told(launch, tmp_path):
    words = [f"--workdir={tmp_path}", "--names=caffe", f"--output={tmp_path / 'a.safetensors'}"]
    code, _, err = launch("export_weights", *words)
    assert code == 2 and "is no run folder" in err
