"""The report as text; `test_compare` reads the whole of it."""

import json

from fcn_jax.reports import comparison
from fcn_jax.reports.runs import group_runs


def test_run_that_says_no_strides_has_a_dash(make_run, read):
    folder = make_run("fcn8s")
    info = json.loads((folder / "run.json").read_text())
    del info["finest_stride"], info["output_stride"]
    (folder / "run.json").write_text(json.dumps(info))
    assert "| vgg16_fcn8s | - | - |" in comparison._score_table(group_runs([read(folder)]))
