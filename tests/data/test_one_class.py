"""A score that could not be wrong is refused, and so are labels that count in two ways."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fcn_jax.commands import door
from fcn_jax.commands.experiments import load_experiment, resolve
from fcn_jax.data.checkup import check_folder
from fcn_jax.data.datasets import get_dataset
from fcn_jax.errors import UserError
from fcn_jax.models.zoo import get_model
from fcn_jax.train.evaluation import Evaluator
from fcn_jax.train.parallel import get_devices
from fcn_jax.train.setup import make_batches

from .conftest import write_custom

VAL = "cf"  # by the hash of their names, with seed 0 and a share of 0.4
LABEL = np.random.default_rng(0).integers(0, 2, (12, 16), np.uint8)


def write_labels(folder, label_of):
    for file in folder.glob("labels/*.png"):
        Image.fromarray(label_of(file.stem)).save(file)


@pytest.fixture
def binary_dir(custom_dir):
    """A folder with two classes, and labels of both."""
    (custom_dir / "classes.txt").write_text("background\ncat\n")
    write_labels(custom_dir, lambda name: LABEL)
    return custom_dir


def check(folder, **options):
    return check_folder("custom", source_dir=str(folder), val_frac=0.4, **options)


ONE_CLASS = {
    "val": (lambda name: LABEL * (name not in VAL), "all labels of val .2. hold only class 'backg"),
    "train": (lambda name: LABEL * (name in VAL), "all labels of train .4. hold only class 'backg"),
    "val with void": (
        lambda name: np.where(name in VAL, 255 * LABEL, LABEL).astype(np.uint8),
        "of val .2. hold only class 'background' and unlabelled pixels .255.; if 255 is a class",
    ),
}


@pytest.mark.parametrize("name", ONE_CLASS)
def test_every_split_is_looked_at_by_itself(name, binary_dir, get_custom):
    label_of, message = ONE_CLASS[name]
    write_labels(binary_dir, label_of)
    with pytest.raises(UserError, match=message) as caught:
        get_custom(binary_dir).source("train")
    assert str(caught.value) in map(str, check(binary_dir).problems)


MIXED = {
    "0 and 1 among 0 and 255": (lambda name: LABEL * (1 if name in "bf" else 255), True),
    "0 and 255 among 0 and 1": (lambda name: LABEL * (255 if name == "b" else 1), True),
    "void beside both classes": (
        lambda name: (
            np.where(np.eye(12, 16) > 0, 255, LABEL).astype(np.uint8)
            if name == "a"
            else LABEL * (255 if name == "b" else 1)
        ),
        False,
    ),
    "label of one class": (lambda name: LABEL * (name != "b"), False),
    "label that is void": (
        lambda name: LABEL if name != "b" else np.full_like(LABEL, 255),
        False,
    ),
}


@pytest.mark.parametrize("name", MIXED)
def test_labels_that_number_classes_differently_are_refused(name, binary_dir, get_custom):
    label_of, is_refused = MIXED[name]
    write_labels(binary_dir, lambda n: label_of(n).astype(np.uint8))
    problems = [p for p in check(binary_dir).problems if p.kind.startswith("labels that number")]
    assert bool(problems) == is_refused
    if is_refused:
        assert ".png holds 255 beside one class, and " in str(problems[0])
        with pytest.raises(UserError):
            get_custom(binary_dir).source("train")
        (binary_dir / "classes.txt").write_text("0 background\n1 cat\n255 void\n")
        kinds = {problem.kind for problem in check(binary_dir).problems}
        assert "labels that number classes differently" not in kinds


def test_label_with_one_class_and_void_is_remarked_on(custom_dir):
    Image.fromarray(LABEL * np.uint8(255)).save(custom_dir / "labels/a.png")
    assert check(custom_dir).remarks == [
        "1 label of class 'background' and void (255) alone: a.png"
    ]


def test_one_selected_class_is_refused(custom_dir, get_custom):
    with pytest.raises(UserError, match=r"\['cat'\] name one class.*Name a second one"):
        get_custom(custom_dir, classes=("cat",))
    with pytest.raises(UserError, match="name one class"):
        check(custom_dir, classes=("cat",))


MESSAGE = "all labels of val (2) hold only class 'background' and unlabelled pixels (255); if 255"


@pytest.fixture
def selected(tmp_path):
    """Section data that selects of three classes two that val does not both hold."""
    folder = write_custom(tmp_path / "mine")
    write_labels(folder, lambda name: 2 * LABEL if name in VAL else LABEL + LABEL[::-1])
    return {
        "source_dir": str(folder),
        "data_dir": str(tmp_path / "built"),
        "val_frac": 0.4,
        "classes": ("background", "cat"),
    }


@pytest.mark.parametrize("command", ["check_data", "prepare"])
def test_split_of_one_selected_class_is_refused(command, selected, capsys):
    words = [
        f"--config.data.{key}={','.join(value) if key == 'classes' else value}"
        for key, value in selected.items()
    ]
    experiments = Path(door.__file__).resolve().parents[2] / "experiments"
    words = [command, "--config=custom_fcn8s", *words]
    assert door.main(words, experiments_dir=experiments) in (1, 2)
    out, err = capsys.readouterr()
    assert MESSAGE in out + err


def test_split_of_one_selected_class_is_neither_scored_nor_trained_on(selected):
    dataset = get_dataset("custom", **selected)
    with pytest.raises(UserError, match=re.escape(MESSAGE)):
        model = get_model("vgg16_fcn32s", num_classes=2)
        Evaluator(model, dataset, get_devices(), split="val")
    experiments_dir = Path(door.__file__).resolve().parents[2] / "experiments"
    experiment = load_experiment(experiments_dir / "custom_fcn8s.py", experiments_dir)
    config = resolve(experiment, overrides=[("train.split", "val")]).config
    with pytest.raises(UserError, match=re.escape(MESSAGE)):
        make_batches(config, dataset)
    dataset.check_classes("train")


def test_drawn_data_set_can_be_selected_from(tmp_path):
    shapes = get_dataset("shapes", data_dir=str(tmp_path), classes=("sky", "disk"))
    assert shapes.labels.num_classes == 2
