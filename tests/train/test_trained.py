"""A trained network needs no data set, and says what its run said."""

import dataclasses
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fcn_jax.commands import door
from fcn_jax.data.labels import LabelSet
from fcn_jax.errors import UserError
from fcn_jax.inference import scoring
from fcn_jax.models.zoo import MODELS, get_model
from fcn_jax.train import loop
from fcn_jax.train.compilations import count_compilations
from fcn_jax.train.run_folder import RunFolder
from fcn_jax.train.trained import load, to_rgb
from fcn_jax.weights.files import write_safetensors
from fcn_jax.weights.network_file import make_metadata
from tests.data.picture_writers import png
from tests.train.conftest import SHAPES, make_config

pytestmark = pytest.mark.usefixtures("one_device", "plain_conv")

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def workdir(tmp_path_factory, one_device):
    """The folder of a trained run; look, do not touch."""
    folder = tmp_path_factory.mktemp("runs") / "tiny_fcn8s"
    config = make_config()
    config["eval"]["num_samples"] = 5
    loop.train(config, folder, experiment="tiny", command="python launch.py train")
    return folder


@pytest.fixture
def copy(workdir, tmp_path):
    """A copy of it."""
    return shutil.copytree(workdir, tmp_path / "copy")


@pytest.fixture(scope="module")
def net(workdir):
    return load(workdir, step="last")


@pytest.fixture
def image(rng):
    return rng.integers(0, 256, (37, 50, 3), np.uint8)


def edit(file, change):
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def test_a_loaded_run_predicts_what_its_evaluation_predicted(workdir):
    classes = set()
    for which in ("best", "last"):
        net = load(workdir, step=which)
        pictures = sorted((workdir / "samples" / "val").glob("*.image.png"))
        assert len(pictures) == 5
        for picture in pictures:
            name = picture.name.replace("image", f"pred-{net.origin['step']}")
            pred, stored = net.predict(picture), np.asarray(Image.open(picture.with_name(name)))
            np.testing.assert_array_equal(pred, stored, name)
            classes |= set(pred.ravel())
    assert len(classes) > 1


def test_a_loaded_run_says_what_it_is(net):
    assert net.labels == SHAPES and net.size_multiple == 16
    assert net.section["name"] == "tiny_fcn4s" and net.section["fc_channels"] == 8
    assert net.origin["step"] == 6 and net.origin["experiment"] == "tiny"
    assert net.origin["dataset"] == "tiny" and net.origin["run"] == "tiny_fcn8s"


def test_a_file_holds_everything(net, image, tmp_path, monkeypatch):
    net.save(tmp_path / "there" / "net.safetensors")
    (tmp_path / "there").rename(tmp_path / "elsewhere")
    monkeypatch.chdir(tmp_path)
    again = load("elsewhere/net.safetensors")
    np.testing.assert_array_equal(again.logits(image), net.logits(image))
    for name in ("labels", "section", "size_multiple", "origin"):
        assert getattr(again, name) == getattr(net, name), name


@pytest.mark.parametrize("size", [(1, 1), (33, 17), (48, 64)])
def test_images_of_any_size_are_predicted(net, rng, size):
    image = rng.integers(0, 256, (*size, 3), np.uint8)
    pred, logits, probabilities = net.predict(image), net.logits(image), net.probabilities(image)
    assert pred.shape == size and pred.dtype == np.uint8
    assert logits.shape == (*size, SHAPES.num_classes) and logits.dtype == np.float32
    np.testing.assert_array_equal(pred, logits.argmax(-1))
    np.testing.assert_array_equal(pred, probabilities.argmax(-1))
    np.testing.assert_allclose(probabilities.sum(-1), 1, rtol=1e-5)


def test_a_program_is_compiled_for_each_padded_shape(workdir, rng):
    net = load(workdir)
    with count_compilations() as compilations:
        for size in ((65, 33), (80, 48), (70, 40)):
            net.predict(rng.integers(0, 256, (*size, 3), np.uint8))
            net.logits(rng.integers(0, 256, (*size, 3), np.uint8))
    assert compilations.count == 1


def test_pictures_are_read_as_training_reads_them(image, tmp_path):
    grey = image[..., 0]
    np.testing.assert_array_equal(to_rgb(grey), np.stack([grey] * 3, axis=-1))
    alpha = np.dstack([image, grey])
    np.testing.assert_array_equal(to_rgb(alpha), image)
    Image.fromarray(alpha).save(tmp_path / "rgba.png")
    np.testing.assert_array_equal(to_rgb(tmp_path / "rgba.png"), image)
    np.testing.assert_array_equal(to_rgb(str(tmp_path / "rgba.png")), image)
    palette = Image.fromarray(image).quantize(8)
    np.testing.assert_array_equal(to_rgb(palette), np.asarray(palette.convert("RGB")))


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((4, 5, 3), np.float32), r"uint8 \[h, w, 3\] .* this one is float32 \[4, 5, 3\]"),
        (np.zeros((1, 4, 5, 3), np.uint8), r"this one is uint8 \[1, 4, 5, 3\]"),
        (np.zeros((4, 5, 2), np.uint8), r"this one is uint8 \[4, 5, 2\]"),
        (np.zeros((0, 5, 3), np.uint8), "has no pixel"),
        (Image.new("CMYK", (5, 4)), "mode CMYK is not supported"),
        (ROOT / "README.md", "cannot read this file as an image"),
    ],
)
def test_predict_rejects_what_is_no_image(net, image, message):
    with pytest.raises(ValueError, match=message):
        net.predict(image)


@pytest.mark.parametrize("decoded", [True, False])
def test_opened_file_is_refused_as_the_file_is(tmp_path, decoded):
    """Pillow drops 8 of 16 bits, and its picture looks like any other."""
    data = png(np.full((4, 5, 3), 257 * 7), 16)
    (tmp_path / "deep.png").write_bytes(data)
    opened = [Image.open(tmp_path / "deep.png")]
    if decoded:
        opened[0].load()
    else:
        opened.append(Image.open(io.BytesIO(data)))
    for picture in opened:
        with pytest.raises(UserError, match="mode RGB is not supported .more than 8 bits"):
            to_rgb(picture)


def test_opened_file_of_8_bits_is_read_as_the_file_is(image, tmp_path):
    for name in ("a.png", "a.webp", "a.bmp"):
        Image.fromarray(image).save(tmp_path / name, lossless=True)
        with Image.open(tmp_path / name) as opened:
            np.testing.assert_array_equal(to_rgb(opened), to_rgb(tmp_path / name))
        with Image.open(io.BytesIO((tmp_path / name).read_bytes())) as opened:
            np.testing.assert_array_equal(to_rgb(opened), to_rgb(tmp_path / name))


def test_kernels_are_saved_in_half_the_size(net, image, tmp_path):
    net.save(tmp_path / "whole.safetensors")
    net.save(tmp_path / "half.safetensors", float16=True)
    half = load(tmp_path / "half.safetensors")
    for leaf, array in net.arrays.items():
        expected = array.astype(np.float16) if array.ndim == 4 else array
        np.testing.assert_array_equal(half.arrays[leaf], expected.astype(np.float32))
        assert half.arrays[leaf].dtype == np.float32
    sizes = [(tmp_path / f"{name}.safetensors").stat().st_size for name in ("whole", "half")]
    assert sizes[1] < sizes[0]


def test_save_rejects_a_name_that_is_not_the_formats(net, tmp_path):
    with pytest.raises(ValueError, match="must end in .safetensors"):
        net.save(tmp_path / "net.npz")


def test_an_old_run_is_loaded_with_the_names_of_its_evaluations(copy):
    edit(copy / "run.json", lambda run: run.pop("labels"))
    shutil.copy(copy / "eval" / "val-6.json", copy / "eval" / "train-1.json")
    edit(copy / "eval" / "train-1.json", lambda report: report.update(class_names=["old"]))
    labels = load(copy).labels
    assert labels == LabelSet.in_voc_colors(SHAPES.names)
    assert labels.colors[:2] == ((0, 0, 0), (128, 0, 0)) and labels.ignore_label == 255
    shutil.rmtree(copy / "eval")
    with pytest.raises(ValueError, match=f"\npython launch.py evaluate --workdir={copy} notes"):
        load(copy)
    assert load(copy, labels=SHAPES).labels == SHAPES


def test_load_rejects_what_is_no_trained_network(copy, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is nothing at \S+no: give a run folder"):
        load(tmp_path / "no")
    mistyped = copy.with_name(f"{copy.name}s")
    with pytest.raises(FileNotFoundError, match=f"export_weights`; did you mean {copy}[?]$"):
        load(mistyped)
    with pytest.raises(FileNotFoundError, match="is no run folder"):
        load(ROOT / "docs")
    with pytest.raises(ValueError, match="no checkpoint '4' .*; there are: last, best"):
        load(copy, step=4)
    shutil.rmtree(copy / "checkpoints")
    with pytest.raises(FileNotFoundError, match="no checkpoint in .*; train first"):
        load(copy)


def test_load_rejects_a_backbone_and_says_how_to_use_it(tmp_path):
    file = tmp_path / "backbone.safetensors"
    preprocess = {"mean_rgb": [1, 2, 3], "std_rgb": [1, 1, 1], "bgr": True}
    metadata = {"format": "fcn_jax", "network": "vgg16", "preprocess": json.dumps(preprocess)}
    write_safetensors(file, {"params/backbone/conv1_1/bias": np.zeros(3, np.float32)}, metadata)
    with pytest.raises(
        ValueError, match=r'vgg16 and has no head: fcn_jax.make\("vgg16_fcn32s", num'
    ):
        load(file)


def test_load_rejects_variables_of_another_network(copy):
    edit(copy / "config.json", lambda config: config["model"].update(fc_channels=16))
    message = r"does not fit its own network tiny_fcn4s: .*fc6.* is \(8,\) there, and \(16,\) in"
    with pytest.raises(ValueError, match=message):
        load(copy)


@pytest.mark.parametrize("name", MODELS)
def test_a_backbone_has_the_name_that_its_weights_have(name):
    assert get_model(name, num_classes=2).backbone.weights_name == name.split("_")[0]


@pytest.fixture
def evaluate(capsys, tmp_path):
    """Runs `evaluate`; returns exit code, stdout and stderr."""
    (tmp_path / "tiny_fcn32s.py").write_text(
        '"""Tiny."""\n\nfrom ml_collections import ConfigDict\n\n\ndef get_config():\n'
        f"    return ConfigDict({make_config()!r})\n"
    )

    def run(*words):
        code = door.main(["evaluate", *map(str, words)], experiments_dir=tmp_path)
        return code, *capsys.readouterr()

    return run


def test_other_views_and_the_crf_are_filed_beside_the_plain_scores(copy, evaluate):
    before = (copy / "eval" / "val-6.json").read_bytes()
    code, out, err = evaluate(f"--workdir={copy}", "--flip", "--crf=num_iterations=1,bi_w=2")
    assert code == 0, err
    assert (copy / "eval" / "val-6.json").read_bytes() == before
    flipped = json.loads((copy / "eval" / "val-6.flip=True.json").read_text())
    refined_file = copy / "eval" / "val-6.flip=True+crf(num_iterations=1,bi_w=2).json"
    refined = json.loads(refined_file.read_text())
    assert "val, step 6, flip=True\n" in out
    assert "val, step 6, flip=True, crf(num_iterations=1,bi_w=2)\n" in out
    plain = json.loads(before)
    assert flipped["how"] == ["flip=True"] and flipped["num_images"] == refined["num_images"] == 5
    for other in (flipped, refined):
        assert np.sum(other["counts"], axis=1).tolist() == np.sum(plain["counts"], axis=1).tolist()
    assert flipped["counts"] != plain["counts"] != refined["counts"]
    assert RunFolder(copy).list_evals() == [("val", 3), ("val", 6)]  # which compare reads


def test_parameters_of_the_crf_are_searched_on_images_that_are_not_scored(
    copy, evaluate, monkeypatch
):
    monkeypatch.setattr(scoring, "CRF_GRID", {"bi_w": (0.0, 4.0)})
    code, out, err = evaluate(f"--workdir={copy}", "--crf", "--tune_crf=2")
    assert code == 0, err
    assert "on 2 images: mean IoU" in out and "with --crf=" in out
    refined = [file for file in (copy / "eval").glob("val-6.crf*.json")]
    both = [*refined, copy / "eval" / "val-6.without_2_images.json"]
    assert [json.loads(file.read_text())["num_images"] for file in both] == [3, 3]
    for words, answer in (
        (["--crf", "--tune_crf=5"], "leaves none of the 5 images to score"),
        (["--tune_crf=2"], "--tune_crf needs --crf"),
        (["--crf=bi_w=3", "--tune_crf=2"], "--tune_crf needs --crf, without parameters"),
        (["--config=tiny_fcn32s"], "--config goes with --network"),
    ):
        code, _, err = evaluate(f"--workdir={copy}", *words)
        assert code == 2 and answer in err


def test_a_file_is_scored_as_its_run(copy, net, evaluate, tmp_path):
    whole, imported = tmp_path / "whole.safetensors", tmp_path / "imported.safetensors"
    net.save(whole)
    backbone = net.model.backbone
    metadata = make_metadata(
        backbone.weights_name,
        model={},
        labels=None,
        preprocess=dataclasses.asdict(backbone.preprocess),
        requires={},
        origin={},
    )
    write_safetensors(imported, net.arrays, metadata)
    counts = json.loads((copy / "eval" / "val-6.json").read_text())["counts"]
    for file, step in ((whole, 6), (imported, 0)):
        out = tmp_path / file.stem
        code, _, err = evaluate(f"--network={file}", "--config=tiny_fcn32s", f"--output={out}")
        assert code == 0, err
        assert json.loads((out / "eval" / f"val-{step}.json").read_text())["counts"] == counts
    lacking = {key: value for key, value in net.arrays.items() if "score_fr" not in key}
    write_safetensors(tmp_path / "lacking.safetensors", lacking, metadata)
    more = {**net.arrays, "params/score_pool9/kernel": np.zeros((1, 1, 2, 2), np.float32)}
    write_safetensors(tmp_path / "more.safetensors", more, metadata)
    named = dataclasses.replace(SHAPES, names=(*SHAPES.names[:-1], "other"))
    dataclasses.replace(net, labels=named).save(tmp_path / "others.safetensors")
    for words, answer in (
        (["--network=NAME/lacking.safetensors"], "lacks score_fr of tiny_fcn4s"),
        (["--network=NAME/more.safetensors"], "holds score_pool9, for which tiny_fcn4s"),
        (["--network=NAME/others.safetensors"], "is 'other' in "),
        ([f"--network={whole}", f"--output={copy}"], "is a run folder"),
    ):
        words = [word.replace("NAME", str(tmp_path)) for word in words]
        code, out, err = evaluate(*words, "--config=tiny_fcn32s")
        assert code == 2 and answer in err and "Traceback" not in err, err
    code, _, err = evaluate(f"--network={whole}")
    assert code == 2 and "--network needs --config=EXPERIMENT" in err
