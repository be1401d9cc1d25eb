"""Reading made-up run folders."""

import pytest

from fcn_jax.errors import UserError
from fcn_jax.reports.comparison import make_report, write_csv
from fcn_jax.reports.runs import common_samples, group_runs, short_names
from fcn_jax.train.samples import open_picture
from tests.commands.conftest import make_comparison
from tests.mutations import mutations


@pytest.mark.parametrize("step", ["last", "best", "400"])
def test_step_chooses_the_evaluation(step, make_run, read, edit):
    folder = make_run("fcn8s")
    # Swap two evaluations, so that the best is not the last.
    last, middle = folder / "eval/val-1000.json", folder / "eval/val-600.json"
    old_last, old_middle = last.read_text(), middle.read_text()
    last.write_text(old_middle)
    middle.write_text(old_last)
    edit(last, step=1000)
    edit(middle, step=600)
    assert read(folder, step=step).step == {"last": 1000, "best": 600, "400": 400}[step]


def test_only_pictures_that_all_runs_predicted_are_shown(make_run, read):
    runs = [read(make_run("a", num_samples=3)), read(make_run("b", num_samples=2))]
    (runs[0].folder.path / "samples/val/street0.pred-1000.png").unlink()
    assert common_samples(runs) == ["street1"]


def test_last_line_of_a_step_stands_and_half_a_line_is_left_out(make_run, read):
    folder = make_run("a", num_steps=100)
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"kind": "train", "step": 50, "loss": 9.0, "images_per_s": 5.0}\n')
        file.write('{"kind": "tra')
    log = read(folder).train_log
    assert [line["step"] for line in log] == list(range(2, 101, 2))
    assert log[24]["loss"] == 9.0


def test_names_are_as_long_as_it_takes(tmp_path):
    folders = [tmp_path / "one/run", tmp_path / "two/run"]
    assert short_names(folders) == ["one/run", "two/run"]


def test_damaged_run_folder_is_read_or_told(make_run, read, tmp_path):
    """Whatever happens to a byte of it, a report is made or the user gets an answer."""
    folder, told = make_run("fcn8s", has_images=True), 0
    for _ in mutations(folder):
        try:
            run = read(folder)
            groups = group_runs([run])
            make_report(make_comparison(groups))
            write_csv(groups, tmp_path / "table.csv", runs=[run])
            for image_id in common_samples([run]):
                list(map(open_picture, run.sample_files(image_id)))
        except UserError:
            told += 1
    assert told
