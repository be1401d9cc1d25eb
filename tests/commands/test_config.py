"""All keys of an experiment, as they are shown."""

import json

import pytest

from fcn_jax.train import sections


def test_piped_config_has_a_line_for_each_key(launch):
    code, out, err = launch("config", "--config=camvid_fcn8s", "--config.model.upsampling=learned")
    assert (code, err) == (0, "")
    rows = {line.split()[0]: line.split(maxsplit=3)[1:] for line in out.splitlines()}
    assert rows["augment.crop_size"][:2] == ["48", "experiment"]
    assert rows["augment.scale_range"][:2] == ["0.5,2.0", "experiment"]
    assert rows["model.upsampling"][:2] == ["learned", "command"]
    assert rows["model.skips"][:2] == ["16,8", "default"]
    assert rows["data.source_dir"][:2] == ["''", "experiment"]
    assert rows["seed"][2].startswith("Seed of everything that is drawn")
    assert rows["train.iter_size"][2].startswith("Parts that a batch is computed in, one after the")
    assert list(dict.fromkeys(key.split(".")[0] for key in rows)) == [*sections.SECTIONS, "seed"]


@pytest.mark.parametrize("columns", [60, 80, 200])
def test_terminal_gets_lines_that_fit(columns, launch, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    _, out, _ = launch("config", "--config=camvid_fcn8s")
    lines = out.splitlines()
    assert all(len(line) <= max(columns, 66) for line in lines if "_multipliers" not in line)
    assert [line for line in lines if line and line[0] != " "] == [*sections.SECTIONS, "seed"]


def test_json_is_what_a_run_folder_would_hold(launch):
    _, out, _ = launch("config", "--config=camvid_fcn8s", "--json", "--config.seed=5")
    config = json.loads(out)
    assert config["seed"] == 5
    assert json.loads(json.dumps(sections.resolve(config))) == config
