"""What a run notes of its data is held against the data that there are when it goes on."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from fcn_jax.commands import door
from fcn_jax.data.datasets import get_dataset
from fcn_jax.errors import MissingError, UserError
from fcn_jax.train import loop
from fcn_jax.train.run_data import RunData
from fcn_jax.train.run_folder import RunFolder
from fcn_jax.train.sections import resolve
from tests.data.conftest import VOC_LISTS, write_custom, write_sbd, write_voc
from tests.train.conftest import count_one_image, make_config

CLASSES = "background 0 0 0\ncat 128 0 0\ndog 0 128 0\n"
EXCHANGED = "background 0 0 0\ndog 0 128 0\ncat 128 0 0\n"
RECOLORED = "background 0 0 0\ncat 128 0 0\ndog 0 128 9\n"


@pytest.fixture
def files(tmp_path):
    """A user's folder; c and f are its `val`."""
    return write_custom(tmp_path / "mine")


@pytest.fixture
def section(files, tmp_path):
    return {
        "name": "custom",
        "source_dir": str(files),
        "data_dir": str(tmp_path / "built"),
        "val_frac": 0.4,
    }


def begin_run(tmp_path, dataset, section) -> RunFolder:
    """Makes the folder of a run that began on a data set."""
    dataset.source("val")
    folder = RunFolder(tmp_path / "run")
    folder.open(resolve({**make_config(), "data": section}), has_steps=False)
    folder.begin_launch(
        "train",
        devices=[],
        start_step=0,
        config={},
        data_fingerprint=dataset.fingerprint,
        labels=dataset.labels.to_dict(),
        num_classes=dataset.labels.num_classes,
    )
    return folder


@pytest.fixture
def folder(section, tmp_path):
    """The folder of a run that began on them; it has no network."""
    return begin_run(tmp_path, get_dataset(**section), section)


@pytest.fixture
def said():
    return []


@pytest.fixture
def resume(folder, section, said):
    """Opens the data as a resumed run does."""

    def resume(*, accept=False, **changes):
        data = RunData(folder, say=said.append)
        return data.resume(splits=("train", "val"), accept=accept, **{**section, **changes})

    return resume


@pytest.fixture
def evaluate(folder, section, said):
    """Opens the data as an evaluation of `val` does."""

    def evaluate(**changes):
        data, changed = RunData(folder, say=said.append), {**section, **changes}
        dataset = data.open(**changed)
        data.warn_of(dataset, "val", changed)
        return dataset

    return evaluate


def relabel(files, name):
    Image.fromarray(np.ones((12, 16), np.uint8)).save(files / "labels" / f"{name}.png")


def forget(folder, *keys):
    """Makes run.json an old one."""
    info = folder.read_run()
    (folder.path / "run.json").write_text(
        json.dumps({key: value for key, value in info.items() if key not in keys})
    )


def test_the_same_data_are_taken_without_a_word(files, resume, evaluate, said, tmp_path):
    moved = shutil.copytree(files, tmp_path / "moved")
    first = resume()
    for other in (evaluate(), resume(source_dir=str(moved)), evaluate(source_dir="")):
        assert (other.fingerprint, other.labels) == (first.fingerprint, first.labels)
    assert not said


def test_other_class_names_are_refused(files, folder, resume, evaluate):
    (files / "classes.txt").write_text(EXCHANGED)
    for open_data in (resume, evaluate, lambda: resume(accept=True)):
        with pytest.raises(UserError) as error:
            open_data()
        first, second = str(error.value).splitlines()
        assert f"class 1 is 'cat' in {folder.path} and 'dog' in the data (custom)" in first
        assert "restore them" in second and "another --workdir" in second
    (files / "classes.txt").write_text(f"{CLASSES}horse 1 2 3\n")
    with pytest.raises(UserError, match=r"class 3 is none in .* and 'horse' in the data"):
        resume()


def test_the_order_of_a_selection_counts(folder, section, evaluate):
    with pytest.raises(UserError, match="class 0 is 'background' in .* and 'dog' in the data"):
        evaluate(classes=("dog", "cat", "background"))
    evaluate(classes=("background", "cat", "dog"))


def test_colours_alone_are_those_of_the_run(files, folder, resume, evaluate, said):
    before = resume()
    (files / "classes.txt").write_text(RECOLORED)
    after = resume()
    assert (after.fingerprint, after.labels) == (before.fingerprint, before.labels)
    assert said == [f"the colours of the classes have changed; {folder.path} keeps its own"]
    assert evaluate().labels == before.labels
    assert said[2].endswith("the images and labels of val are the same")
    relabel(files, "c")
    with pytest.raises(UserError, match="have changed: fingerprint"):
        resume()


def test_other_data_are_refused_unless_they_are_accepted(files, resume, said):
    relabel(files, "a")
    with pytest.raises(UserError, match=r"have changed: fingerprint \w+ then, \w+ now\n.*_data"):
        resume()
    record = resume(accept=True).source("train")[0]
    assert record["id"] == "a" and (record["label"] == 1).all()
    assert "which --accept_data accepts" in said[0]


def test_other_data_are_warned_of_where_they_are_scored(files, section, evaluate, said):
    relabel(files, "a")
    evaluate()
    assert said[0].endswith("the images and labels of val are the same")
    relabel(files, "c")
    evaluate()
    assert said[1].startswith("warning: ") and "those of val among them" in said[1]
    shutil.rmtree(section["data_dir"])
    evaluate()
    assert "perhaps those of val too" in said[2]


def test_files_that_are_gone_are_read_from_their_build(files, section, resume, evaluate, said):
    labels = [record["label"] for record in resume().source("val")]
    relabel(files, "c")
    get_dataset(**section).source("val")  # another build beside it
    shutil.rmtree(files)
    for open_data in (resume, evaluate):
        found = open_data().source("val")
        for index, label in enumerate(labels):
            np.testing.assert_array_equal(found[index]["label"], label)
    assert said[0].startswith(f"{files} is gone: what was built of it is read instead (")


def test_an_emptied_folder_is_gone_as_well(files, evaluate, said):
    for name in ("images", "labels"):
        shutil.rmtree(files / name)
    assert len(evaluate().source("val")) == 2
    assert "images is missing" in said[0] and "is read instead" in said[0]


def test_data_that_are_nowhere_are_told_with_what_was_looked_for(
    files, folder, section, evaluate, tmp_path, monkeypatch
):
    shutil.rmtree(files)
    shutil.rmtree(section["data_dir"])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MissingError) as error:
        evaluate(source_dir="mine")
    assert f"there is no mine (looked for {files}), and no complete build" in str(error.value)


@pytest.mark.parametrize("extra", [[], ["--source_dir=elsewhere"]])
def test_evaluate_advises_no_flag_that_it_refuses(
    files, folder, section, tmp_path, capsys, monkeypatch, extra
):
    shutil.rmtree(files)
    shutil.rmtree(section["data_dir"])
    monkeypatch.chdir(tmp_path)
    command = ["evaluate", f"--workdir={folder.path}", *extra]
    assert door.main(command, experiments_dir=tmp_path) == 2
    answer = capsys.readouterr().err
    assert "--source_dir=" in answer and "--config" not in answer


def test_old_runs_are_compared_as_far_as_they_say(files, folder, resume, evaluate):
    forget(folder, "labels", "data_fingerprint")
    (files / "classes.txt").write_text(EXCHANGED)
    resume()  # nothing can be known
    report = {"split": "val", "step": 1, "class_names": ["background", "cat", "dog"]}
    images = count_one_image(np.eye(3))
    folder.write_eval(report, [], images=images, colors=np.zeros((3, 3), np.uint8))
    for open_data in (resume, evaluate):
        with pytest.raises(UserError, match="class 1 is 'cat' in .* and 'dog' in the data"):
            open_data()
    (folder.path / "eval" / "val-1.json").unlink()
    (files / "classes.txt").write_text(f"{CLASSES}horse 1 2 3\n")
    with pytest.raises(UserError, match=r"has 3 classes and the data \(custom\) have 4"):
        resume()


@pytest.mark.usefixtures("plain_conv", "one_device")
def test_a_run_goes_on_and_notes_what_it_was_trained_on(
    files, section, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    config = make_config()
    config["data"] = {**section, "source_dir": "mine"}
    config["optim"]["schedule"] = "constant"
    config["train"].update(num_steps=1, batch_size=2, eval_every=0)
    config["eval"].update(num_samples=0)
    run, words = tmp_path / "run", {"experiment": "custom_tiny", "command": "train"}
    loop.train(config, run, **words)
    assert json.loads((run / "config.json").read_text())["data"]["source_dir"] == str(files)
    relabel(files, "a")
    config["train"]["num_steps"] = 2
    with pytest.raises(UserError, match="--accept_data"):
        loop.train(config, run, **words)
    assert loop.train(config, run, accept_data=True, **words)["step"] == 2
    info = RunFolder(run).read_run()
    prints = [launch["data_fingerprint"] for launch in info["launches"]]
    assert len({*prints}) == 2 and info["data_fingerprint"] == prints[-1]
    assert RunFolder(run).read_config()["train"]["num_steps"] == 2
    shutil.rmtree(files)
    monkeypatch.chdir(run)
    for command in ("evaluate", "replay"):
        assert door.main([command, f"--workdir={run}"], experiments_dir=tmp_path) == 0
        assert "is gone: what was built of it is read instead" in capsys.readouterr().err


def test_run_whose_data_are_partly_built_reads_what_there_is_of_them(tmp_path, said):
    """SBD was there, and no split of the run needed it: it is not built."""
    mine = tmp_path / "mine"
    write_voc(mine / "VOCdevkit" / "VOC2012", VOC_LISTS)
    write_sbd(mine / "benchmark_RELEASE" / "dataset", {"train": ["s"], "val": ["t"]})
    section = {"name": "voc", "source_dir": str(mine), "data_dir": str(tmp_path / "built")}
    dataset = get_dataset(**section)
    folder = begin_run(tmp_path, dataset, section)
    data = RunData(folder, say=said.append)
    shutil.rmtree(mine)
    kept = data.resume(splits=("train", "val"), accept=False, **section)
    assert kept.fingerprint == dataset.fingerprint and len(kept.source("val")) == 2
    assert "is gone: what was built of it is read instead" in said[0]
    with pytest.raises(MissingError, match="partly built: VOC2012 without SBD, which the split"):
        kept.source("train_aug")
    # Other files: what is kept cannot vouch for a split that it lacks.
    write_voc(mine / "VOCdevkit" / "VOC2012", VOC_LISTS, seed=1)
    write_sbd(mine / "benchmark_RELEASE" / "dataset", {"train": ["s"], "val": ["t"]})
    with pytest.raises(UserError, match="have changed: fingerprint"):
        data.resume(splits=("train_aug", "val"), accept=False, **section)
