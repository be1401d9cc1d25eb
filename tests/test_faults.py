"""The short form of faults.py: one kill inside of a save."""

import random

from tests import faults


def test_a_run_that_was_killed_in_a_save_ends_with_the_same_bits(tmp_path):
    faults.write_pictures(tmp_path / "pictures", number=6)
    undisturbed, usual_s = faults.run_undisturbed(tmp_path / "undisturbed")
    (tmp_path / "killed").mkdir()
    done = faults.kill_at_random(tmp_path / "killed", ["in a save"], random.Random(0), usual_s)
    assert sum(done.values()) == 1
    assert faults.assert_equal(faults.read_all(tmp_path / "killed" / "run"), undisturbed) > 20
