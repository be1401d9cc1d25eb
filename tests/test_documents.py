"""What documents show works: the examples of docs/extending.md in the house, and the notebook."""

import contextlib
import json
import re
import shlex
import sys
import types
from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

import fcn_jax
from fcn_jax.commands import door, experiments
from fcn_jax.data import datasets
from fcn_jax.data.batches import loader
from fcn_jax.data.sets.shapes import LABELS as SHAPES
from fcn_jax.errors import UserError
from fcn_jax.models import networks, zoo
from fcn_jax.models.zoo import MIN_WIDTH, MODELS, build, get_model
from fcn_jax.ops import losses
from fcn_jax.train import sections, warm_start
from tests.conftest import shapes_of

ROOT = Path(__file__).parent.parent
BLOCKS = re.findall(
    r"```(?:python|diff)\n(.*?)```", (ROOT / "docs/extending.md").read_text(), re.DOTALL
)


def _block(start: str) -> str:
    (found,) = (block for block in BLOCKS if block.startswith(start))
    return found


def _module(name: str, block: str) -> types.ModuleType:
    module = types.ModuleType(name)
    exec(block, module.__dict__)  # noqa: S102 (an example of our own document)
    return module


def _patched(path: str, block: str) -> str:
    """Returns the text of a file with the hunks of a diff, each of which fits one place in it."""
    text = (ROOT / path).read_text()
    for hunk in block.split("@@\n"):
        lines = hunk.splitlines(keepends=True)
        before = "".join(line[1:] for line in lines if line[0] != "+")
        assert text.count(before) == 1, before
        text = text.replace(before, "".join(line[1:] for line in lines if line[0] != "-"))
    return text


def _lines(block: str, names: dict) -> dict:
    """Reads lines of the table of networks."""
    return eval("{" + block + "}", vars(zoo) | names)


def _logits_shape(model, height, width):
    images = jax.ShapeDtypeStruct((2, height, width, 3), "uint8")
    apply = partial(model.apply, train=False)
    return jax.eval_shape(apply, shapes_of(model), images).shape


@pytest.mark.parametrize("norm", ["batch", "none"])
def test_the_toy_backbone_stands_under_both_heads(monkeypatch, norm):
    backbone = _module("toy", _block('"""A toy backbone'))
    for name, network in _lines(_block('    "toy_fcn8s"'), {"Toy": backbone.Toy}).items():
        monkeypatch.setitem(MODELS, name, network)
        model = get_model(name, num_classes=5, width=MIN_WIDTH, norm=norm)
        assert _logits_shape(model, 65, 97) == (2, 65, 97, 5)


@pytest.mark.parametrize(("line", "fine_stride"), [(0, 4), (1, 8)])
def test_the_toy_head_stands_on_two_backbones(line, fine_stride):
    head = _module("toy_head", _block('"""A toy head'))
    join = _module("join", _block("def toy(backbone"))
    names = {"ToyHead": head.ToyHead, "toy": join.toy, "Network": networks.Network}
    network = [*_lines(_block('    "resnet18_toy"'), names).values()][line]
    model = build(network, num_classes=5, fine_stride=fine_stride, width=1 / 8)
    assert _logits_shape(model, 60, 91) == (2, 60, 91, 5)
    with pytest.raises(UserError, match="fine_stride=5; known: 1, .*4, 8, 16"):
        shapes_of(model.clone(fine_stride=5))


def test_the_toy_data_set_is_built_and_read(monkeypatch, tmp_path, rng):
    module = _module("fcn_jax.data.sets.toy", _block('"""A toy set'))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(datasets.DATASETS, "toy", datasets.LazySet("toy"))
    source = tmp_path / "Toy2020"
    for folder in ("images", "labels", "lists"):
        (source / folder).mkdir(parents=True)
    labels = {}
    for index in range(8):
        label = labels[f"p{index}"] = rng.integers(0, 3, (9, 12), np.uint8)
        Image.fromarray(label).save(source / f"labels/p{index}_mask.png")
        Image.fromarray(np.stack([label] * 3, -1) * 80).save(source / f"images/p{index}.jpg")
    (source / "lists/training.txt").write_text("".join(f"p{index}\n" for index in range(6)))
    (source / "lists/validation.txt").write_text("p6\np7\n")
    toy = datasets.get_dataset("toy", source_dir=str(tmp_path), data_dir=str(tmp_path / "built"))
    record = toy.source("val")[1]
    assert (len(toy.source("train")), record["id"]) == (6, "p7")
    np.testing.assert_array_equal(record["label"], labels["p7"] - np.uint8(1))  # 0 is 255


def test_the_loss_is_the_focal_loss_and_off_by_default(monkeypatch, rng):
    patched = _module("losses", _patched("fcn_jax/ops/losses.py", _block("     dice_weight")))
    monkeypatch.setattr(losses, "make_loss", patched.make_loss)
    assert sections.find_keys("loss")["focal_gamma"].meaning.startswith("Exponent, 0 or at least")
    logits = rng.normal(size=(1, 4, 5, 3)).astype(np.float32)
    labels = np.where(rng.random((1, 4, 5)) < 0.2, 255, rng.integers(0, 3, (1, 4, 5)))
    probs = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    true = np.take_along_axis(probs, np.minimum(labels, 2)[..., None], -1)[..., 0][labels != 255]

    @partial(jax.jit, static_argnames="focal_gamma")
    def total(logits, **options):
        loss = losses.make_loss(num_classes=3, ignore_label=255, **options)
        return loss.total(*loss.sums(logits, labels))

    for gamma in (0.0, 2.5):
        expected = np.sum((1 - true) ** gamma * -np.log(true))
        np.testing.assert_allclose(total(logits, focal_gamma=gamma), expected, rtol=1e-5)
        slopes = jax.grad(partial(total, focal_gamma=gamma))(logits)
        assert np.isfinite(slopes).all() and not slopes[labels == 255].any()
    with pytest.raises(UserError, match=r"focal_gamma=0.5 must be 0 or at least 1"):
        total(logits, focal_gamma=0.5)


def test_the_augmentation_takes_colours_out_and_is_off_by_default(monkeypatch, rng):
    photometric = ROOT / "fcn_jax/data/batches/photometric.py"
    module = _module("photometric", photometric.read_text() + _block("def random_grey"))
    monkeypatch.setitem(sys.modules, "fcn_jax.data.batches.photometric", module)
    block = _block("-from fcn_jax.data.batches.photometric")
    patched = _module("loader", _patched("fcn_jax/data/batches/loader.py", block))
    image, label = rng.integers(0, 256, (9, 9, 3), np.uint8), np.zeros((9, 9), np.uint8)
    pair = {"id": "a", "image": image, "label": label}

    def first(train_batches, **options):
        batches = train_batches([pair], batch_size=4, seed=0, crop_size=8, **options)
        with contextlib.closing(batches):
            return next(batches)["images"]

    np.testing.assert_array_equal(first(patched.train_batches), first(loader.train_batches))
    assert not np.ptp(first(patched.train_batches, grey_prob=1.0), axis=-1).any()
    with pytest.raises(UserError, match="augment.grey_prob=2.0 must lie in"):
        patched.train_batches([pair], batch_size=4, seed=0, crop_size=8, grey_prob=2.0)


def test_the_command_lists_the_classes(monkeypatch, capsys):
    module = _module("fcn_jax.commands.classes", _block('"""`classes`'))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(door, "COMMANDS", (*door.COMMANDS, "classes"))
    words = ["classes", "--config=shapes_fcn8s", "--config.data.classes=ring,star"]
    assert door.main(words, experiments_dir=ROOT / "experiments") == 0
    assert [line.split()[:2] for line in capsys.readouterr().out.splitlines()] == [
        ["0", "ring"],
        ["1", "star"],
        ["255", "void"],
    ]


def test_the_tracker_writes_what_it_hears(tmp_path):
    tracker = _module("tracker", _block('"""A tracker')).TextTracker(tmp_path / "run.txt")
    tracker.on_log(20, {"loss": 0.5})
    tracker.on_eval({"step": 20, "mean_iou": 0.25}, [], None)
    assert (tmp_path / "run.txt").read_text() == "20 loss 0.5000\n20 mean IoU 0.2500\n"


def test_the_experiment_resolves(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(_block('"""FCN-8s on my photos'))
    config = experiments.resolve(experiments.load_experiment(path, ROOT / "experiments")).config
    assert config["model"]["upsampling"] == "learned"
    assert config["loss"]["divide_by"] == "pixels"


def commands_of(path: str) -> list[list[str]]:
    """Lists the words after `python launch.py` of each command that a document shows."""
    lines = (ROOT / path).read_text().replace("\\\n", " ").splitlines()
    shown = (line.strip() for line in lines)
    return [shlex.split(line)[2:] for line in shown if line.startswith("python launch.py ")]


@pytest.mark.usefixtures("plain_conv", "tiny_network")
def test_the_readme_goes_from_a_folder_to_predictions(
    tmp_path, monkeypatch, capsys, rng, draw_variables
):
    """Its five commands and its Python, on small pictures and a small network."""
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    monkeypatch.chdir(tmp_path)
    for folder in ("my_folder/images", "my_folder/labels", "my_photos"):
        Path(folder).mkdir(parents=True)
    for index in range(16):
        label = np.zeros((40, 48), np.uint8)
        label[5 : 15 + index, 9:30] = 1 + index % 2
        image = (rng.integers(0, 60, (*label.shape, 3)) + 90 * label[..., None]).astype(np.uint8)
        Image.fromarray(image).save(f"my_folder/images/{index}.jpg", quality=95)
        Image.fromarray(label).save(f"my_folder/labels/{index}.png")
    Image.fromarray(image).save("my_photos/mine.jpg")
    Image.fromarray(image).save("photo.jpg")
    Path("my_folder/classes.txt").write_text("background\ncat\ndog\n")
    small = ["--config.model.name=tiny_fcn4s", "--config.init.weights="]
    small += ["--config.augment.crop_size=32", "--config.train.num_steps=1"]
    commands = commands_of("README.md")
    assert [words[0] for words in commands] == [
        "check_data", "train", "evaluate", "predict", "export", "predict",
    ]  # fmt: skip
    for words in commands:
        words = [*words, *small] if words[0] == "train" else words
        for word in words:
            if word.startswith("--network=networks/"):  # test_networks.py predicts with them
                assert (ROOT / word.removeprefix("--network=")).exists()
                Path("networks").mkdir()
                fcn_jax.load("runs/mine").save(word.removeprefix("--network="))
        code = door.main(words, experiments_dir=ROOT / "experiments")
        assert code == 0, f"{words}: {capsys.readouterr()}"
    assert Path("predictions/masks/mine.png").exists()
    assert Path("predictions/overlays/mine.jpg").exists()
    [snippet] = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    snippet, fresh = snippet.rsplit("fresh = ", 1)
    capsys.readouterr()
    exec(snippet, {})  # noqa: S102 (our own document)
    assert capsys.readouterr().out.split(" ", 1)[1] == "(40, 48, 3)\n"
    assert Path("mine.safetensors").exists()
    # What the weights replace is drawn: compiling its initialisation would take seconds.
    monkeypatch.setattr(warm_start, "init_variables", lambda key, model: draw_variables(model))
    assert eval(fresh, {"fcn_jax": fcn_jax}).labels.num_classes == 3


@pytest.mark.parametrize("file", sorted(ROOT.glob("docs/results/*/*.json")), ids=str)
def test_filed_runs_name_no_place_of_a_machine(file):
    assert not re.findall(r'(?:"|=)/[^"\s]*', file.read_text())


class Drawings(datasets.Dataset):
    """As many pictures as the shapes have, and much smaller."""

    def source(self, split):
        rng = np.random.default_rng(0)
        return [
            {
                "id": str(number),
                "image": rng.integers(0, 256, (32, 32, 3), np.uint8),
                "label": rng.choice(np.array([0, 3, 5, 255], np.uint8), (32, 32)),
            }
            for number in range(100)
        ]


@pytest.mark.usefixtures("plain_conv", "tiny_network")
def test_the_notebook_runs_from_top_to_bottom(tmp_path, monkeypatch, capsys):
    cells = json.loads((ROOT / "docs/first_network.ipynb").read_text())["cells"]
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    assert code.count("NUM_STEPS = 200") == 1
    small = ["--config.augment.crop_size=32", "--config.train.batch_size=4"]
    small += ["--config.model.name=tiny_fcn4s"]

    def run(words, *, check):
        assert words[:2] == [sys.executable, ROOT / "launch.py"] and check
        words = [*map(str, words[2:]), *small]
        assert door.main(words, experiments_dir=ROOT / "experiments") == 0

    drawings = Drawings("shapes", SHAPES, ("train", "val"), builder=None)
    monkeypatch.setitem(datasets.DATASETS, "shapes", lambda source_dir, data_dir: drawings)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    monkeypatch.chdir(tmp_path)
    code = code.replace("NUM_STEPS = 200", "NUM_STEPS = 1").replace("subprocess.run(", "run(")
    exec(code, {"run": run})  # noqa: S102 (our own document)
    told = capsys.readouterr().out
    assert ", filed " in told and "tiny_fcn4s {'run': 'notebook_fcn8s'" in told
