"""Experiment files and overrides."""

import sys

import pytest
from ml_collections import ConfigDict, config_dict

from fcn_jax.commands import experiments


def make_config() -> ConfigDict:
    config = ConfigDict()
    config.data = {"source_dir": ""}
    config.augment = {"crop_size": (32, 48), "scale_range": (0.5, 2.0), "sizes": [1, 2]}
    config.model = {"skips": ("pool4",), "rates": ()}
    config.init = {"weights": None, "step": config_dict.placeholder(int)}
    config.optim = {"learning_rate": 0.01, "nesterov": False, "rules": ((".*", 1.0),)}
    config.seed = 0
    return config.lock()


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("seed", "7", 7),
        ("seed", "-1", -1),
        ("seed", "2e3", 2000),
        ("optim.learning_rate", "1", 1.0),
        ("optim.learning_rate", "1e-10", 1e-10),
        ("optim.nesterov", "true", True),
        ("optim.nesterov", "False", False),
        ("data.source_dir", "/data/VOCdevkit", "/data/VOCdevkit"),
        ("data.source_dir", "2012", "2012"),
        ("data.source_dir", "", ""),
        ("data.source_dir", "a=b", "a=b"),
        ("augment.crop_size", "(64,64)", (64, 64)),
        ("augment.crop_size", "64,64", (64, 64)),
        ("augment.scale_range", "[1, 2]", (1.0, 2.0)),
        ("augment.sizes", "(3, 4)", [3, 4]),
        ("model.skips", "pool4,pool3", ("pool4", "pool3")),
        ("model.skips", "('pool4', 'pool3')", ("pool4", "pool3")),
        ("model.skips", "pool3", ("pool3",)),
        ("model.skips", "()", ()),
        ("model.rates", "(6, 12)", (6, 12)),
        ("optim.rules", "(('.*/bias', 2), ('.*', 1))", ((".*/bias", 2), (".*", 1))),
        ("init.weights", "vgg16.npz", "vgg16.npz"),
        ("init.weights", "none", None),
        ("init.weights", "3", 3),
        ("init.step", "3", 3),
    ],
)
@pytest.mark.parametrize("form", ["equals", "space"])
def test_override_takes_the_type_of_the_default(key, text, value, form):
    word = f"--config.{key}"
    words = [f"{word}={text}"] if form == "equals" else [word, text]
    rest, overrides = experiments.split_overrides(["--a", *words, "--b=1"])
    config = make_config()
    experiments.apply_overrides(config, overrides, experiment="e")
    *sections, leaf = key.split(".")
    got = (config[sections[0]] if sections else config)[leaf]
    assert rest == ["--a", "--b=1"]
    assert got == value
    assert type(got) is type(value)
    if isinstance(value, tuple):
        assert [type(element) for element in got] == [type(element) for element in value]


@pytest.mark.parametrize(
    ("key", "text", "wanted"),
    [
        ("seed", "2.5", "a whole number"),
        ("seed", "true", "a whole number"),
        ("seed", "none", "a whole number"),
        ("seed", "1e400", "a whole number"),
        ("optim.learning_rate", "fast", "a number"),
        ("optim.learning_rate", "True", "a number"),
        ("optim.nesterov", "1", "true or false"),
        ("augment.crop_size", "64", "a sequence"),
        ("augment.crop_size", "a,b", "a sequence"),
        ("augment.crop_size", "(64, 64.5)", "a sequence, of a whole number each"),
        ("init.step", "soon", "a whole number"),
    ],
)
def test_override_refuses_another_type(key, text, wanted):
    config = make_config()
    before = config.to_dict()
    with pytest.raises(ValueError, match=f"{key}=.* does not fit: wanted {wanted}; experiment e"):
        experiments.apply_overrides(config, [(key, text)], experiment="e")
    assert config.to_dict() == before


def test_later_override_of_a_key_stands():
    config = make_config()
    experiments.apply_overrides(config, [("seed", "1"), ("seed", "2")], experiment="e")
    assert config.seed == 2


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
    with pytest.raises(ValueError, match="unknown experiment '_family'"):
        experiments.find_experiment("_family", experiments_dir)


def test_title_is_the_first_line_of_the_docstring(experiments_dir):
    recipe = experiments.load_recipe(experiments_dir / "camvid_fcn8s.py", experiments_dir)
    assert recipe.title == "FCN-8s on CamVid"
    assert recipe.config.data.name == "camvid"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("x = 1\nfoo(\n", r"bad\.py, line 2: SyntaxError: '\(' was never closed"),
        ("x = 1\nimport no_such_package\n", r"bad\.py, line 2: ModuleNotFoundError: No module"),
        ("def get_config():\n    return foo\n", r"bad\.py, line 2: NameError: name 'foo'"),
        ("import json\njson.loads('x')\n", r"bad\.py, line 2: JSONDecodeError"),
        ("x = 1\n", r"bad\.py is no experiment: it has no get_config\(\)"),
        ("def get_config():\n    return {}\n", r"bad\.py gave dict; wanted ml_collections"),
    ],
)
def test_broken_experiment_says_file_line_and_message(source, message, experiments_dir):
    path = experiments_dir / "bad.py"
    path.write_text(source)
    with pytest.raises(ValueError, match=message) as caught:
        experiments.load_recipe(path, experiments_dir)
    assert "\n" not in str(caught.value)


def test_experiments_share_building_blocks(experiments_dir, monkeypatch):
    monkeypatch.delitem(sys.modules, "experiments", raising=False)
    (experiments_dir / "_made_up_family.py").write_text("SEED = 5\n")
    path = experiments_dir / "camvid_fcn8s.py"
    source = path.read_text().replace("config.seed = 0", "config.seed = _made_up_family.SEED")
    path.write_text(source.replace("\n\ndef", "from experiments import _made_up_family\n\ndef"))
    assert experiments.load_recipe(path, experiments_dir).config.seed == 5
