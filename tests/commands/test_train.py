"""What `train` says in the end."""

import pytest

from fcn_jax.train import loop
from fcn_jax.train.run_folder import RunFolder


@pytest.mark.parametrize(
    ("scores", "best"),
    [
        ((0.5, 0.7, 0.6), "its best: mean IoU 0.7000 at step 2\n"),
        ((0.5, 0.7, 0.7), ""),
        ((None,), ""),
    ],
)
def test_it_ends_with_the_last_score_and_with_the_best(scores, best, launch, monkeypatch, tmp_path):
    def train(config, workdir, **_):
        run = RunFolder(workdir)
        run.path.mkdir()
        for step, mean_iou in enumerate(scores, start=1):
            run.log(kind="eval", split="val", step=step, mean_iou=mean_iou)
        return {"split": "val", "step": len(scores), "mean_iou": scores[-1] or float("nan")}

    monkeypatch.setattr(loop, "train", train)
    code, out, _ = launch("train", "--config=camvid_fcn8s", f"--workdir={tmp_path / 'run'}")
    assert code == 0 and out.splitlines()[0].startswith(f"{tmp_path / 'run'}: val mean IoU ")
    assert out.partition("\n")[2] == best
