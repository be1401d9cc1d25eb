"""Experiment files and overrides."""

import sys
from types import ModuleType

import pytest

from fcn_jax.commands import experiments
from fcn_jax.commands.experiments import Experiment

SAID = {
    "data": {"name": "custom", "source_dir": ""},
    "augment": {"crop_size": 48, "scale_range": (0.5, 2.0)},
    "model": {"name": "vgg16_fcn8s", "padding": "same", "fc6_kernel": 3, "skips": ("pool4",)},
    "optim": {"name": "sgd", "learning_rate": 0.01, "lr_multipliers": ((".*", 1.0),)},
    "train": {"num_steps": 100, "batch_size": 4},
}


def override(*overrides, **changes) -> dict:
    """Resolves the experiment `e` with some overrides, and says the values of their keys."""
    said = {name: section | changes.get(name, {}) for name, section in SAID.items()}
    resolved = experiments.resolve(Experiment("e", "", said), overrides=overrides)
    flat = {}
    for section, values in resolved.config.items():
        flat |= {f"{section}.{n}": v for n, v in values.items()} if section != "seed" else {}
    return flat | {"seed": resolved.config["seed"]}


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("seed", "7", 7),
        ("seed", "-1", -1),
        ("seed", "2e3", 2000),
        ("optim.learning_rate", "1", 1.0),
        ("optim.learning_rate", "1e-10", 1e-10),
        ("model.remat", "true", True),
        ("model.remat", "False", False),
        ("data.source_dir", "/data/VOCdevkit", "/data/VOCdevkit"),
        ("data.source_dir", "2012", "2012"),
        ("data.source_dir", "", ""),
        ("data.source_dir", "a=b", "a=b"),
        ("data.classes", "sky,road", ("sky", "road")),
        ("augment.crop_size", "64", 64),
        ("augment.scale_range", "[1, 2]", (1.0, 2.0)),
        ("augment.rotation_range", "-10,10", (-10.0, 10.0)),
        ("augment.scales", "0.5,1", (0.5, 1.0)),
        ("augment.scales", "0.5", (0.5,)),
        ("model.skips", "pool4,pool3", ("pool4", "pool3")),
        ("model.skips", "('pool4', 'pool3')", ("pool4", "pool3")),
        ("model.skips", "pool3", ("pool3",)),
        ("model.skips", "()", ()),
        ("model.skips", "", ()),
        ("model.skip_scales", "(1, 0.5)", (1.0, 0.5)),
        ("optim.lr_multipliers", "(('.*/bias', 2), ('.*', 1))", ((".*/bias", 2.0), (".*", 1.0))),
        ("init.weights", "vgg16.npz", "vgg16.npz"),
        ("init.step", "3", "3"),
        ("init.step", "best", "best"),
        ("loss.class_weights", "1,2.5", (1.0, 2.5)),
        ("eval.split", "test", "test"),
    ],
)
@pytest.mark.parametrize("form", ["equals", "space"])
def test_override_takes_the_type_of_the_parameter(key, text, value, form):
    word = f"--config.{key}"
    words = [f"{word}={text}"] if form == "equals" else [word, text]
    rest, overrides = experiments.split_overrides(["--a", *words, "--b=1"])
    assert rest == ["--a", "--b=1"]
    got = override(*overrides)[key]
    assert got == value
    assert type(got) is type(value)
    if isinstance(value, tuple):
        assert [type(element) for element in got] == [type(element) for element in value]


@pytest.mark.parametrize(
    ("key", "text", "wanted"),
    [
        ("seed", "2.5", "a whole number; the default is 0"),
        ("seed", "true", "a whole number"),
        ("seed", "none", "a whole number"),
        ("seed", "1e400", "a whole number"),
        ("optim.learning_rate", "fast", "a number; experiment e has 0.01"),
        ("optim.learning_rate", "True", "a number"),
        ("model.remat", "1", "true or false; the default is False"),
        ("augment.scale_range", "64", r"\(a number, a number\); experiment e has \(0.5, 2.0\)"),
        ("augment.scale_range", "1,2,3", r"\(a number, a number\)"),
        ("augment.scales", "a,b", "a sequence, of a number each"),
        ("model.skip_scales", "(64, '1')", "a sequence, of a number each"),
        ("optim.lr_multipliers", "0.1", r"a sequence, of \(a text, a number\) each"),
    ],
)
def test_override_refuses_another_type(key, text, wanted):
    with pytest.raises(ValueError, match=f"{key}=.* does not fit: wanted {wanted}"):
        override((key, text))


def test_later_override_of_a_key_stands():
    assert override(("seed", "1"), ("seed", "2"))["seed"] == 2


def test_another_network_leaves_out_what_it_does_not_take(capsys):
    # The name counts first, wherever it stands.
    flat = override(("model.fc6_rate", "6,12"), ("model.name", "vgg16_deeplab_largefov"))
    assert capsys.readouterr().err == (
        "model.name=vgg16_deeplab_largefov does not take padding, skips of experiment e: left out\n"
    )
    assert "model.padding" not in flat
    assert (flat["model.fc6_rate"], flat["model.fc6_kernel"]) == ((6, 12), 3)


def test_flag_that_another_network_does_not_take_is_refused(capsys):
    with pytest.raises(ValueError, match="unknown key model.padding in experiment e"):
        override(("model.padding", "same"), ("model.name", "vgg16_deeplab_largefov"))


def test_another_data_set_leaves_out_what_it_does_not_take(capsys):
    flat = override(("data.name", "camvid"), data={"val_frac": 0.5})
    assert "data.name=camvid does not take val_frac of experiment e: left out" in (
        capsys.readouterr().err
    )
    assert "data.val_frac" not in flat
    assert (
        override(("data.name", "tfds:pets"), ("data.mask_key", "mask"))["data.mask_key"] == "mask"
    )


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("train.normalize=False", "loss.divide_by=images"),
        ("train.normalize=true", "loss.divide_by=pixels"),
        ("init.leave=params/fc8/.*", "init.skip=params/fc8/.*"),
    ],
)
def test_flag_of_before_works_and_says_its_name_of_today(old, new, capsys):
    key, _, text = new.partition("=")
    value = override(tuple(old.split("=")))[key]
    assert value == (text if key != "init.skip" else (text,))
    name = old.split("=")[0]
    assert capsys.readouterr().err == f"{name} is called {key} now: --config.{new}\n"


def test_sources_say_who_says_a_value():
    resolved = experiments.resolve(
        Experiment("e", "", SAID), overrides=[("augment.crop_size", "64")]
    )
    assert resolved.sources["augment.crop_size"] == "command line"
    assert resolved.sources["augment.scale_range"] == "experiment"
    assert "augment.flip_prob" not in resolved.sources


@pytest.mark.parametrize("chosen", ["camvid_fcn8s", "experiments/camvid_fcn8s.py"])
def test_experiment_is_found_by_name_from_any_folder(
    chosen, experiments_dir, tmp_path_factory, monkeypatch
):
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    found = experiments.find_experiment(chosen, experiments_dir)
    assert found == experiments_dir / "camvid_fcn8s.py"


def test_experiment_is_found_by_path(experiments_dir, tmp_path, monkeypatch):
    mine = tmp_path / "mine.py"
    mine.write_text((experiments_dir / "camvid_fcn8s.py").read_text())
    monkeypatch.chdir(tmp_path)
    assert experiments.find_experiment("mine.py", experiments_dir) == mine.resolve()
    assert experiments.find_experiment(str(mine), experiments_dir) == mine.resolve()


def test_underscore_files_are_no_experiments(experiments_dir):
    (experiments_dir / "_family.py").write_text("")
    assert "_family" not in experiments.experiment_names(experiments_dir)
    for chosen in ("_family", "experiments/_family.py", str(experiments_dir / "_family.py")):
        with pytest.raises(ValueError, match="is no experiment but what some share"):
            experiments.find_experiment(chosen, experiments_dir)


def test_title_is_the_first_line_of_the_docstring(experiments_dir):
    path = experiments_dir / "camvid_fcn8s.py"
    experiment = experiments.load_experiment(path, experiments_dir)
    assert (experiment.name, experiment.title) == ("camvid_fcn8s", "FCN-8s on CamVid")
    assert experiment.config["data"]["name"] == "camvid"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("x = 1\nfoo(\n", r"bad\.py, line 2: SyntaxError: '\(' was never closed"),
        ("x = 1\nimport no_such_package\n", r"bad\.py, line 2: ModuleNotFoundError: No module"),
        ("def get_config():\n    return foo\n", r"bad\.py, line 2: NameError: name 'foo'"),
        ("import json\njson.loads('x')\n", r"bad\.py, line 2: JSONDecodeError"),
        ("x = 1\n", r"bad\.py is no experiment: it has no get_config\(\)"),
        (
            "def get_config():\n    return {}\n",
            r"bad\.py gave dict; it has to return an ml_collections",
        ),
        (
            "def get_config():\n    return [1]\n",
            r"bad\.py gave list; it has to return an ml_collections",
        ),
        (
            (
                "from ml_collections import ConfigDict\n"
                "def get_config():\n    return ConfigDict({'augment': {'hue': 0.5, 3: 4}})\n"
            ),
            r"experiment bad fails: .*TypeError",
        ),
        ("x = 'caf\xe9'\n", r"bad\.py.*: SyntaxError: .*utf-8"),
        ("import sys\nsys.exit('gone')\n", r"bad\.py, line 2: SystemExit: gone"),
        ("from experiments import _none\n", r"bad\.py, line 1: ImportError: cannot import"),
    ],
)
def test_broken_experiment_says_file_line_and_message(source, message, experiments_dir):
    path = experiments_dir / "bad.py"
    path.write_bytes(source.encode("latin-1"))
    with pytest.raises(ValueError, match=message) as caught:
        experiments.load_experiment(path, experiments_dir)
    assert "\n" not in str(caught.value)


def test_experiments_share_building_blocks_and_borrow_the_name(experiments_dir, monkeypatch):
    other = ModuleType("experiments")
    monkeypatch.setitem(sys.modules, "experiments", other)
    path_before = list(sys.path)
    (experiments_dir / "_made_up_family.py").write_text("SEED = 5\n")
    path = experiments_dir / "camvid_fcn8s.py"
    source = path.read_text().replace("config.seed = 0", "config.seed = _made_up_family.SEED")
    path.write_text(source.replace("\n\ndef", "from experiments import _made_up_family\n\ndef"))
    assert experiments.load_experiment(path, experiments_dir).config["seed"] == 5
    assert sys.modules["experiments"] is other
    assert "experiments._made_up_family" not in sys.modules
    assert sys.path == path_before


@pytest.mark.parametrize(
    ("section", "answer"),
    [
        ({"data": {}}, r"experiment e lacks data.name; wanted a text\nsay it in section 'data'"),
        (
            {"train": {"num_steps": 3}},
            r"lacks train.batch_size \(Images of an update.*whole number",
        ),
        ({"train": 3}, "section train of experiment e is 3; wanted keys and values"),
        ({"optm": {"lr": 1}}, "unknown key optm in experiment e; did you mean optim"),
        ({"optim": {"lr": 1}}, "unknown key optim.lr in .*; did you mean optim.learning_rate"),
        (
            {"augment": {"crop_size": "big"}},
            "augment.crop_size='big' of experiment e does not fit: w",
        ),
        ({"data": {"name": "camvid", "classes": "sky"}}, "data.classes='sky' .* wanted a sequence"),
        ({"model": {"name": 3}}, "model.name=3 of experiment e does not fit: wanted a text"),
    ],
)
def test_mistake_in_a_section_is_answered(section, answer):
    with pytest.raises(ValueError, match=answer):
        experiments.resolve(Experiment("e", "", SAID | section))
