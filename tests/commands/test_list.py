"""The list of experiments."""

import pytest


def test_piped_list_has_a_line_for_each_experiment(launch):
    code, out, err = launch("list")
    assert (code, err) == (0, "")
    title = "DeepLab with a large field of view and middle layers"
    assert out.splitlines() == [
        "camvid",
        "  camvid_fcn8s                 vgg16_fcn8s  2,000 steps  FCN-8s on CamVid",
        "shapes",
        f"  shapes_deeplab_msc_largefov  vgg16_fcn8s  2,000 steps  {title}",
        "  shapes_fcn32s                vgg16_fcn8s  2,000 steps  FCN-32s on shapes",
    ]


@pytest.mark.parametrize("columns", [200, 90, 60, 30])
def test_terminal_never_cuts_a_name_or_a_title(columns, launch, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich then writes as to a terminal
    monkeypatch.setenv("COLUMNS", str(columns))
    _, out, _ = launch("list")
    words = out.split()
    assert "shapes_deeplab_msc_largefov" in words
    assert " ".join(words).count("vgg16_fcn8s") == 3
    assert {"DeepLab", "large", "field", "view"} <= {word.strip("\x1b[0m2") for word in words}


def test_list_keeps_the_names_with_a_word(launch):
    _, out, _ = launch("list", "fcn32s")
    assert "shapes_fcn32s" in out
    assert "camvid" not in out
    code, _, err = launch("list", "camvid_fcn8")
    assert code == 0
    code, _, err = launch("list", "camvid_fcn9s")
    assert (code, err) == (
        2,
        "error: no experiment has 'camvid_fcn9s' in its name; did you mean camvid_fcn8s?\n",
    )


def test_broken_experiment_hides_no_other(launch, experiments_dir):
    (experiments_dir / "camvid_bad.py").write_text("foo(")
    code, out, err = launch("list")
    assert code == 2
    assert "shapes_fcn32s" in out
    assert err.startswith("error: experiment camvid_bad fails: ")
    assert len(err.splitlines()) == 1


def test_experiment_without_a_common_key_is_told(launch, experiments_dir):
    path = experiments_dir / "camvid_fcn8s.py"
    path.write_text(path.read_text().replace("num_steps", "step_count"))
    code, _, err = launch("list")
    assert code == 2
    assert "experiment camvid_fcn8s lacks one of data.name, model.name and train.num_steps" in err
    assert len(err.splitlines()) == 1
