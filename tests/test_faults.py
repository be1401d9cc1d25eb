"""The short form of faults.py: one kill inside of a save."""

import random

from tests import faults


def test_a_run_that_was_killed_in_a_save_ends_with_the_same_bits(tmp_path, monkeypatch):
    monkeypatch.setattr(faults, "FLAGS", (*faults.FLAGS, "--config.train.num_steps=12"))
    faults.write_pictures(tmp_path / "pictures", number=6)
    undisturbed, usual_s = faults.run_undisturbed(tmp_path / "undisturbed")
    assert len(undisturbed) > 20
    (tmp_path / "killed").mkdir()
    kills, rng = ["in a save"], random.Random(0)
    done = faults.kill_at_random(
        tmp_path / "killed", kills, rng, usual_s=usual_s, undisturbed=undisturbed
    )
    assert done["in a save"] == 1 and done["complete and equal"] >= 1
