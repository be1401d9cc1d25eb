"""Reports out of made-up run folders."""

import csv
import json
import re
import shutil
import statistics

import numpy as np
import pytest
from PIL import Image

from fcn_jax.commands import compare
from fcn_jax.ops.metrics import scores
from fcn_jax.ops.palette import save_label_png
from fcn_jax.reports import page
from fcn_jax.reports.comparison import find_differences
from fcn_jax.reports.prediction_figure import draw_predictions
from fcn_jax.reports.runs import Group, group_runs


@pytest.fixture(autouse=True)
def without_page(monkeypatch):
    """Makes no index.html, which takes a second: `test_page` has it."""
    monkeypatch.setattr(page, "make_page", lambda of: "")
    monkeypatch.setattr(compare, "count_multiply_adds", lambda run, **size: None)


def test_report_says_what_the_folders_say(launch, make_run, tmp_path):
    first, second = make_run("fcn32s", stride=32), make_run("fcn8s", stride=8)
    output = tmp_path / "deep" / "report"
    code, out, err = launch("compare", first, f"--output={output}", second, "--title=Skips")
    assert (code, err) == (0, "")
    evaluations = [json.loads((run / "eval/val-1000.json").read_text()) for run in (first, second)]
    ious = [evaluation["mean_iou"] for evaluation in evaluations]
    report = (output / "README.md").read_text()
    assert report.startswith("# Skips\n")
    assert f"| {ious[1]:.4f} ({ious[1] - ious[0]:+.4f}) |" in report
    assert "| fcn32s | vgg16_fcn32s | 32 | 32 | 134,000,032 | 1,000 |" in report
    assert "| fence | - | - |" in report
    assert "4 images at their own size" in report
    assert "convention for absent classes: caffe" in report
    assert "from step 0 to 1000: commit 0123abc" in report
    assert "Linux x86_64, laptop; cpu:0" in report
    assert "python launch.py train --config=camvid_fcn8s --workdir=runs/fcn8s" in report
    assert "jax 0.12.0" in report
    assert "like-for-like" not in report
    for name in ("curves.png", "class_iou.png", "predictions.png"):
        assert f"]({name})" in report
        pixels = np.asarray(Image.open(output / name).convert("RGB"))
        assert min(pixels.shape[:2]) > 200
        assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 20
    rows = list(csv.DictReader((output / "table.csv").open()))
    assert [row["run"] for row in rows] == ["fcn32s", "fcn8s"]
    assert float(rows[1]["mean_iou"]) == evaluations[1]["mean_iou"]
    assert float(rows[1]["iou_sky"]) == evaluations[1]["class_iou"][0]
    assert rows[1]["iou_fence"] == ""
    near = evaluations[1]["boundary_iou"]
    assert f"| {near:.4f} |" in report and "another class within 5 pixels" in report
    assert float(rows[1]["boundary_iou"]) == evaluations[1]["boundary_iou"]
    assert f"{ious[1]:.4f}" in out and f"{near:.4f}" in out
    assert f"wrote {output / 'README.md'}" in out and f"wrote {output / 'index.html'}" in out
    assert "note: no intervals of the differences: fcn32s has no counts of single images" in out


def test_scores_that_are_not_those_of_the_counts_are_refused(launch, make_run, edit):
    folder = make_run("fcn8s")
    edit(folder / "eval/val-1000.json", mean_iou=0.99)
    code, _, err = launch("compare", folder)
    assert code == 2
    assert "its counts give mean IoU" in err
    assert "but it says 0.990000" in err


@pytest.mark.parametrize("step", ["--step=last", "--step=best"])
def test_no_other_evaluation_of_the_run_may_be_changed_either(launch, make_run, edit, step):
    """Its scores are in the curves, and say which step is the best."""
    folder = make_run("fcn8s")
    edit(folder / "eval/val-600.json", mean_iou=0.99)
    code, _, err = launch("compare", folder, step)
    assert code == 2 and "val-600.json: its counts give mean IoU" in err


def test_evaluation_under_the_name_of_another_is_refused(launch, make_run):
    folder = make_run("fcn8s")
    shutil.copy(folder / "eval/val-600.json", folder / "eval/val-1000.json")
    code, _, err = launch("compare", folder)
    assert code == 2
    assert "val-1000.json is damaged: it says that it is of val, step 600\n" in err
    assert "--split=val --step=1000 writes it anew" in err


def test_boundary_scores_that_are_not_those_of_their_counts_are_refused(launch, make_run, edit):
    folder = make_run("fcn8s")
    edit(folder / "eval/val-1000.json", boundary_iou=0.99)
    code, _, err = launch("compare", folder)
    assert code == 2
    assert "its counts give boundary IoU" in err


def test_older_runs_have_no_such_score(launch, make_run, tmp_path):
    folder = make_run("fcn8s", num_steps=100)
    for file in (folder / "eval").glob("*.json"):
        evaluation = json.loads(file.read_text())
        keys = [key for key in evaluation if not key.startswith("boundary")]
        file.write_text(json.dumps({key: evaluation[key] for key in keys}))
    code, out, _ = launch("compare", folder, f"--output={tmp_path / 'report'}")
    assert code == 0 and "boundary" not in out
    assert "another class within" not in (tmp_path / "report/README.md").read_text()


def test_missing_pieces_are_told_in_a_line_or_two(launch, make_run, tmp_path):
    folder = make_run("fcn8s", num_steps=100)
    mistakes = {
        (tmp_path / "nowhere",): "nowhere is no run folder",
        (tmp_path,): "is no run folder: it has no run.json",
        (
            folder,
            "--split=test",
        ): "no evaluation of test at the last step; its evaluations: val-20, ",
        (folder, "--split=test", "--step=best"): "no evaluation of test at the best step",
        (folder, "--step=7"): "python launch.py evaluate --workdir=",
        (folder, "--step=first"): "--step=first; wanted last, best or a number",
        (folder, folder): "a run folder is given twice",
        (): "required: RUN",
    }
    for words, message in mistakes.items():
        code, _, err = launch("compare", *words, f"--output={tmp_path / 'report'}")
        assert code == 2
        assert message in err
        assert len(err.splitlines()) <= 2
    assert not (tmp_path / "report").exists()


def test_damaged_files_are_named(launch, make_run):
    folder = make_run("fcn8s")
    (folder / "eval/val-1000.json").write_text("{")
    code, _, err = launch("compare", folder)
    assert code == 2
    assert "val-1000.json is damaged" in err


def test_runs_of_other_classes_are_refused(launch, make_run, edit):
    first, second = make_run("a"), make_run("b")
    path = second / "eval/val-1000.json"
    names = json.loads(path.read_text())["class_names"]
    edit(path, class_names=[*names[:-1], "wall"])
    code, _, err = launch("compare", first, second)
    assert code == 2
    assert "a and b have different classes" in err


def test_equal_conditions_differ_in_nothing(make_run, read):
    groups = group_runs([read(make_run("a")), read(make_run("b", stride=32, num_threads=8))])
    assert find_differences(groups) == ""


def test_key_that_is_newer_than_a_run_has_its_default_there(make_run, read):
    older, newer, other = (make_run(name) for name in "abc")
    for folder, loss in (
        (newer, {"dice_weight": 0.0, "class_weights": []}),
        (other, {"dice_weight": 1.0}),
    ):
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, "loss": loss}))
    assert find_differences([Group("a", (read(older),)), Group("b", (read(newer),))]) == ""
    groups = group_runs([read(older), read(other)])
    assert find_differences(groups) == "loss.dice_weight (0.0, 1.0)"


def test_who_reads_the_data_parts_no_seeds(make_run, read):
    (group,) = group_runs([read(make_run("a")), read(make_run("b", seed=1, num_threads=8))])
    assert group.seeds == [0, 1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seed": 1, "stride": 32}, "seed (0, 1)"),
        ({"batch_size": 8}, "train.batch_size (4, 8)"),
        ({"train_split": "trainval"}, "train.split (train, trainval)"),
        ({"num_steps": 500}, "evaluated step (1000, 500); train.num_steps (1000, 500)"),
        ({"num_images": 3}, "images (4, 3)"),
        ({"flip_prob": 0.0}, "augment.flip_prob (0.5, 0.0)"),
        ({"height": 32}, "true pixels of the classes"),
    ],
)
def test_unlike_conditions_are_named(options, message, make_run, read):
    runs = [read(make_run("a")), read(make_run("b", **options))]
    assert find_differences(group_runs(runs)).startswith(message)


def test_unlike_runs_are_warned_about_everywhere(launch, make_run, tmp_path):
    output = tmp_path / "report"
    runs = make_run("a"), make_run("b", batch_size=8, num_samples=0)
    output.mkdir()
    (output / "predictions.png").write_text("of an earlier report")
    code, out, err = launch("compare", *runs, f"--output={output}")
    assert code == 0
    assert err == "warning: not a like-for-like comparison: train.batch_size (4, 8)\n"
    report = (output / "README.md").read_text()
    assert "**Not a like-for-like comparison:** train.batch_size (4, 8)." in report
    assert "note: no predictions.png: no picture in samples/val was predicted by all runs" in out
    assert "predictions.png)" not in report
    assert not (output / "predictions.png").exists()


def test_runs_that_differ_in_their_seeds_alone_are_shown_as_one(launch, make_run, tmp_path):
    runs = [
        make_run(f"fcn{stride}s_seed{seed}", stride=stride, seed=seed)
        for stride in (32, 8)
        for seed in (1, 0)
    ]
    # The made-up scores of a stride are those of its seeds: change a true pixel's prediction.
    ious = []
    for run in runs[2:]:
        path = run / "eval/val-1000.json"
        evaluation = json.loads(path.read_text())
        counts = np.array(evaluation["counts"])
        counts[0, 1], counts[0, 0] = counts[0, 1] + 9 * len(ious), counts[0, 0] - 9 * len(ious)
        report = scores(counts)
        report["class_iou"] = [None if np.isnan(v) else v for v in report["class_iou"]]
        path.write_text(json.dumps({**evaluation, **report, "counts": counts.tolist()}))
        ious.append(report["mean_iou"])
    output = tmp_path / "report"
    code, out, err = launch("compare", *runs, f"--output={output}")
    assert (code, err) == (0, "")
    report = (output / "README.md").read_text()
    mean, spread = statistics.mean(ious), statistics.stdev(ious)
    assert spread > 1e-4
    assert "| fcn8s | vgg16_fcn8s | 8 | 32 | 134,000,008 | 1,000 | 0, 1 |" in report
    assert f"| {mean:.4f} ± {spread:.4f} (+" in report
    assert f"{mean:.4f} ± {spread:.4f}" in out
    assert "± one standard deviation" in report
    for run, iou in zip(runs[2:], ious, strict=True):
        section = report[report.index(f"### {run.name}") :]
        assert f"mean IoU {iou:.4f} out of eval/val-1000.json" in section.split("###")[1]
    assert [row["run"] for row in csv.DictReader((output / "table.csv").open())] == [
        run.name for run in runs
    ]


def test_groups_are_named_by_what_their_runs_have_in_common(make_run, read):
    def names(*folders: str) -> list[str]:
        runs = [read(make_run(name, seed=seed)) for seed, name in enumerate(folders)]
        return [group.name for group in group_runs(runs)]

    assert names("fcn8s_seed0", "fcn8s_seed1") == ["fcn8s"]
    assert names("again-0", "again-1") == ["again"]
    assert names("resnet50_seed1", "resnet50_seed10") == ["resnet50"]
    assert names("one", "two") == ["one"]
    assert names("alone_seed3") == ["alone_seed3"]


def test_seeds_of_one_network_that_the_other_lacks_are_named(make_run, read):
    runs = [make_run("a"), make_run("b", stride=32), make_run("c", stride=32, seed=1)]
    assert find_differences(group_runs(list(map(read, runs)))) == "seed (0, 0 and 1)"


def test_a_run_that_was_repeated_stands_for_itself(make_run, read):
    groups = group_runs([read(make_run("here")), read(make_run("there"))])
    assert [group.name for group in groups] == ["here", "there"]


def test_names_may_have_any_sign(launch, make_run, edit, tmp_path):
    """Markdown, mathematical and HTML signs stay what they are in every part of a report."""
    runs = [make_run("$a_"), make_run("b|c", stride=32)]
    for run in runs:
        for file in (run / "eval").glob("*.json"):
            names = json.loads(file.read_text())["class_names"]
            edit(file, class_names=[r"$\frac", "<b>", "a|b", "*x*", *names[4:]])
    code, _, err = launch("compare", *runs, f"--output={tmp_path / 'report'}", "--title=$<i>|")
    assert (code, err) == (0, "")
    report = (tmp_path / "report" / "README.md").read_text()
    assert report.startswith(r"# \$\<i>\|")
    for name in (r"\$\\frac", r"\<b>", r"a\|b", r"\*x\*"):
        assert f"| {name} |" in report
    tables = [line for line in report.splitlines() if line.startswith("|")]
    cells = [len(re.split(r"(?<!\\)\|", line)) - 2 for line in tables]
    assert set(cells) == {14, 3}


def test_pictures_of_another_palette_are_shown_in_the_colours_of_the_first(
    make_run, read, tmp_path
):
    groups = group_runs([read(make_run(f"fcn{stride}s", stride=stride)) for stride in (8, 32)])
    draw_predictions(groups, tmp_path / "before.png", ids=["street0"])
    other = groups[1].first.sample_files("street0")[2]
    save_label_png(other, np.asarray(Image.open(other)), np.full((8, 3), 77))
    draw_predictions(groups, tmp_path / "after.png", ids=["street0"])
    assert (tmp_path / "after.png").read_bytes() == (tmp_path / "before.png").read_bytes()


def test_a_long_legend_takes_no_room_from_the_pictures(make_run, read, tmp_path):
    (group,) = group_runs([read(make_run("fcn8s", width=400, height=300))])
    image, label, _ = group.first.sample_files("street0")
    Image.new("RGB", (400, 300), (255, 0, 255)).save(image)

    def count_pixels(names):
        group.first.evaluation["class_names"] = names
        save_label_png(
            label, np.arange(300 * 400).reshape(300, 400) % len(names), np.zeros((8, 3), np.uint8)
        )
        draw_predictions([group], tmp_path / "predictions.png", ids=["street0"])
        pixels = np.asarray(Image.open(tmp_path / "predictions.png").convert("RGB"))
        return (pixels == (255, 0, 255)).all(-1).sum()

    few, many = (count_pixels([f"class number {i}" for i in range(n)]) for n in (8, 150))
    assert few > 10_000 and abs(many - few) < 0.03 * few


def test_a_narrow_terminal_is_told_what_it_does_not_show(launch, make_run, monkeypatch, tmp_path):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "60")
    code, out, _ = launch("compare", make_run("fcn8s"), f"--output={tmp_path / 'report'}")
    assert code == 0
    assert "too narrow here, see table.csv: " in out and "images/s" in out.split("see table.csv")[1]


def test_empty_picture_is_told(launch, make_run, tmp_path):
    run = make_run("fcn8s")
    picture = next((run / "samples" / "val").glob("*.pred-1000.png"))
    picture.write_bytes(b"")
    code, _, err = launch("compare", run, f"--output={tmp_path / 'report'}")
    assert code == 2 and err.startswith(f"error: {picture} is damaged: it is no picture")
    assert err.endswith(f"evaluate --workdir={run} --step=1000 writes it anew\n")
