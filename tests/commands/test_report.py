"""The report as text; `test_compare` reads the whole of it."""

import csv
import json

from fcn_jax.reports.comparison import make_report, write_csv
from fcn_jax.reports.runs import group_runs
from fcn_jax.reports.tables import config_table, score_table, shared_config
from tests.commands.conftest import make_comparison


def test_run_that_says_no_strides_has_a_dash(make_run, read):
    folder = make_run("fcn8s")
    info = json.loads((folder / "run.json").read_text())
    del info["finest_stride"], info["output_stride"]
    (folder / "run.json").write_text(json.dumps(info))
    table = score_table(group_runs([read(folder)]))
    assert table.rows[0][1:4] == ["vgg16_fcn8s", "-", "-"]


def test_differences_have_their_intervals(make_run, read, tmp_path):
    runs = [
        read(make_run(f"fcn{stride}s_seed{seed}", stride=stride, seed=seed, has_images=True))
        for stride, seed in ((32, 0), (8, 0), (8, 1))
    ]
    groups = group_runs(runs)
    of = make_comparison(groups)
    report = make_report(of)
    found = of.intervals[0].scores["mean_iou"]
    assert "## Differences to fcn32s_seed0, with 95 % intervals" in report
    bounds = f"{found.low:+.4f} to {found.high:+.4f}"
    assert f"| fcn8s | mean IoU | {found.value:+.4f} | {bounds} |" in report
    assert "over images and seeds" not in report.split("| run | score |")[1]  # one seed against two
    write_csv(groups, tmp_path / "table.csv", runs=runs)
    rows = list(csv.DictReader((tmp_path / "table.csv").open()))
    assert rows[0]["mean_iou_diff"] == rows[0]["mean_iou_diff_low"] == ""
    for row in rows[1:]:
        change = float(row["mean_iou"]) - float(rows[0]["mean_iou"])
        assert abs(float(row["mean_iou_diff"]) - change) < 1e-12
        assert float(row["mean_iou_diff_low"]) < change < float(row["mean_iou_diff_high"])


def test_configs_are_shown_by_what_differs(make_run, read):
    groups = group_runs([read(make_run("a")), read(make_run("b", stride=32, batch_size=8))])
    rows = {row[0]: row[1:] for row in config_table(groups).rows}
    assert rows["train.batch_size"] == ["4", "8"] and rows["seed"] == ["0", "0"]
    shared = dict(shared_config(groups))
    assert shared["train.num_steps"] == "1000" and not shared.keys() & rows.keys()
