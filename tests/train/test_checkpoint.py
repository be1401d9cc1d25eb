"""Laws of checkpoints: which are kept, and that they fit one network on any devices."""

import contextlib
import math
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest

from fcn_jax.errors import UserError
from fcn_jax.train import parallel
from fcn_jax.train.checkpoint import Checkpoints, find_newest_step, list_steps
from fcn_jax.train.state import init_state
from fcn_jax.train.state_files import StateFiles, find_plain_path
from tests.mutations import mutations


def make_state(value: float, size: int = 3):
    variables = {"params": {"score_fr": {"kernel": jnp.full(size, value)}}, "batch_stats": {}}
    return init_state(variables, optax.adam(0.1))


def assert_same_bits(state, other):
    jax.tree.map(np.testing.assert_array_equal, state, other)


@pytest.fixture
def checkpoints(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    yield checkpoints
    checkpoints.close()


def test_newest_and_best_are_kept(checkpoints, tmp_path):
    for step, mean_iou in [(1, 0.2), (2, 0.9), (3, None), (4, 0.5), (5, float("nan"))]:
        checkpoints.save(step, make_state(step))
        if mean_iou is not None:
            checkpoints.score(step, mean_iou)
    assert sorted(int(p.name) for p in tmp_path.iterdir() if p.name.isdigit()) == [2, 5]
    assert checkpoints.latest_step == 5
    assert [checkpoints.find_step(which) for which in ("last", "best", "2")] == [5, 2, 2]


def test_state_comes_back_bit_by_bit(checkpoints, rng):
    state = make_state(0.0)
    state = jax.tree.map(lambda x: rng.normal(size=x.shape).astype(x.dtype), state)
    checkpoints.save(7, state)
    jax.tree.map(np.testing.assert_array_equal, checkpoints.restore(7, like=state), state)


def test_state_of_four_devices_is_restored_on_one(checkpoints):
    checkpoints.save(1, parallel.get_devices(count=4).replicate(make_state(3.0)))
    state = parallel.get_devices(count=1).replicate(checkpoints.restore(1, like=make_state(0.0)))
    np.testing.assert_array_equal(state.params["score_fr"]["kernel"], [3.0, 3.0, 3.0])
    assert state.step.devices() == {jax.local_devices()[0]}


def test_checkpoint_of_another_network_is_rejected(checkpoints):
    checkpoints.save(1, make_state(1.0))
    with pytest.raises(ValueError, match="checkpoint 1 in .* does not fit this network"):
        checkpoints.restore(1, like=make_state(1.0, size=4))


def test_variables_are_read_without_knowing_the_network(checkpoints):
    checkpoints.save(1, make_state(1.0))
    variables = checkpoints.read_variables("last")[1]
    np.testing.assert_array_equal(variables["params"]["score_fr"]["kernel"], [1.0, 1.0, 1.0])


def test_newest_step_is_found_without_opening(checkpoints, tmp_path):
    assert find_newest_step(tmp_path / "nowhere") == find_newest_step(tmp_path) == 0
    for step in (9, 10):
        checkpoints.save(step, make_state(1.0))
        checkpoints.score(step, 1 / step)
    (tmp_path / "11.orbax-checkpoint-tmp").mkdir()  # as a kill leaves it
    assert find_newest_step(tmp_path) == checkpoints.latest_step == 10


def test_reader_leaves_a_training_that_writes_in_peace(checkpoints, tmp_path):
    checkpoints.save(1, make_state(1.0))
    half = tmp_path / "2.orbax-checkpoint-tmp"
    half.mkdir()
    reader = Checkpoints(tmp_path, read_only=True)
    assert reader.find_step("last") == 1
    reader.close()
    time.sleep(0.5)  # a thread would clean up, if any did
    assert half.exists()


def test_reader_makes_no_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="no checkpoint in .*; train first"):
        Checkpoints(tmp_path / "checkpoints", read_only=True)
    assert not (tmp_path / "checkpoints").exists()


def test_find_step_rejects_what_is_not_there(checkpoints):
    checkpoints.save(3, make_state(1.0))
    with pytest.raises(ValueError, match="no checkpoint '4' in .*; there are: last, best, 3"):
        checkpoints.find_step("4")


# --- what cannot be read ----------------------------------------------------------------------


def test_flipped_bit_never_comes_back_as_a_value(checkpoints, tmp_path):
    """In any file of a checkpoint: the state is what was saved, or an answer to the user."""
    state = make_state(1.5)
    checkpoints.save(1, state)
    checkpoints.score(1, 0.5)
    damaged = 0
    for _ in mutations(tmp_path / "1"):
        try:
            assert_same_bits(checkpoints.restore(1, like=state), state)
        except UserError as error:
            damaged += 1
            assert "checkpoint 1 in" in str(error) and "is damaged: " in str(error)
            assert "\nno other checkpoint there is whole; to train from" in str(error)
        try:
            assert checkpoints.find_step("best") == 1
        except UserError as error:
            assert "is damaged: it does not say the score of checkpoint 1" in str(error)
    assert damaged


def test_exchanged_files_are_told(checkpoints, tmp_path):
    """The state of another checkpoint, whole in itself, is not taken for this one's."""
    checkpoints.save(1, make_state(1.0))
    checkpoints.save(2, make_state(2.0))
    (tmp_path / "2" / "state").rename(tmp_path / "state")
    checkpoints.save(3, make_state(3.0))
    (tmp_path / "3" / "state").rename(tmp_path / "gone")
    (tmp_path / "state").rename(tmp_path / "3" / "state")
    with pytest.raises(UserError, match="3 in .* is damaged: [^\n]*'?state/[^\n]* is "):
        checkpoints.restore(3, like=make_state(0.0))


@pytest.mark.parametrize("content", [b"", b"{", b"[]"])
def test_damage_is_told_from_another_network(checkpoints, tmp_path, content):
    for step, score in ((1, 0.5), (2, 0.1)):
        checkpoints.save(step, make_state(step))
        checkpoints.score(step, score)
    (tmp_path / "2" / "state" / "manifest.ocdbt").write_bytes(content)
    message = (
        r"checkpoint 2 in .* is damaged: [^\n]*\ncheckpoint 1 is whole: step=1 reads it; to go on "
        r"from it, remove the damaged one: rm -r .*/2$"
    )
    for read in (
        lambda: checkpoints.restore(2, like=make_state(0.0)),
        lambda: checkpoints.read_variables("last"),
    ):
        with pytest.raises(UserError, match=message):
            read()
    assert checkpoints.read_variables("best")[0] == 1


@pytest.mark.parametrize("content", ["", '{"mean_iou": 0.7, "crc32": "00000000"}', "[]"])
def test_score_that_is_damaged_is_told_and_removes_nothing(checkpoints, tmp_path, content):
    for step, score in ((1, 0.9), (2, 0.1)):
        checkpoints.save(step, make_state(step))
        checkpoints.score(step, score)
    (tmp_path / "1" / "metrics" / "metrics").write_text(content)
    with pytest.raises(UserError, match="metrics is damaged: .*nobody knows which is the best"):
        checkpoints.find_step("best")
    assert not checkpoints.is_scored(1) and checkpoints.read_variables("last")[0] == 2
    checkpoints.save(3, make_state(3))
    assert list_steps(tmp_path) == [1, 2, 3]
    checkpoints.score(1, 0.9)
    assert list_steps(tmp_path) == [1, 3]


@pytest.mark.parametrize("leaf", ["params", "batch_stats", "opt_state"])
def test_state_that_is_not_finite_is_not_saved(checkpoints, tmp_path, leaf):
    checkpoints.save(1, make_state(1.0))
    state = make_state(2.0)
    bad = {"score_fr": {"kernel": np.float32([1, np.inf, 2])}}
    old = state.opt_state[0]._replace(mu=bad)
    values = {"params": bad, "batch_stats": bad, "opt_state": (old, *state.opt_state[1:])}
    message = f"{leaf}.*score_fr/kernel is not finite after step 2: .*checkpoint 1 is kept\n"
    with pytest.raises(UserError, match=message):
        checkpoints.save(2, state.replace(**{leaf: values[leaf]}))
    assert list_steps(tmp_path) == [1]


def test_state_that_cannot_be_read_back_does_not_count(checkpoints, tmp_path, monkeypatch):
    checkpoints.save(1, make_state(1.0))
    read = StateFiles.read
    for load, error in (
        (
            lambda files, name: {**read(files, name), "step": np.array(9, np.int32)},
            "2 does not come back from .* as it was written: step differs",
        ),
        (lambda files, name: 1 / 0, "division"),
    ):
        monkeypatch.setattr(StateFiles, "read", load)
        with pytest.raises((UserError, ZeroDivisionError), match=error):
            checkpoints.save(2, make_state(2.0))
    assert [path.name for path in tmp_path.iterdir()] == ["1"]


@pytest.mark.parametrize("name", ["proj [v2]", "a*b?", "back\\slash", "gs:", "50% #1"])
def test_folder_may_have_any_name(tmp_path, name):
    """Orbax takes brackets for a pattern, a backslash for a slash and gs: for a cloud."""
    folder = tmp_path / name / "checkpoints"
    with contextlib.closing(Checkpoints(folder)) as checkpoints:
        checkpoints.save(1, make_state(4.0))
        assert_same_bits(checkpoints.restore(1, like=make_state(0.0)), make_state(4.0))


def test_an_answer_names_the_folder_and_not_what_orbax_was_given(checkpoints, tmp_path):
    checkpoints.save(1, make_state(1.0))
    (tmp_path / "1" / "checksums.json").unlink()  # as in runs of before: Orbax finds the damage
    (tmp_path / "1" / "state" / "_METADATA").unlink()
    with pytest.raises(UserError, match="checkpoint 1 in .* is damaged") as caught:
        checkpoints.restore(1, like=make_state(0.0))
    assert "/proc/" not in str(caught.value)
    assert f"{tmp_path}/1/state" in str(caught.value)


def test_folder_of_a_name_that_orbax_misreads_is_refused_where_it_has_no_other(monkeypatch):
    monkeypatch.setattr(Path, "exists", lambda path: False)
    with pytest.raises(UserError, match=r"proj \[v2\]/.* has \[ \] in its path"):
        find_plain_path(Path("/data/proj [v2]/checkpoints"), 3)
    assert find_plain_path(Path("/data/proj"), 3) == Path("/data/proj")


def test_what_a_kill_leaves_is_removed_and_nothing_else(tmp_path):
    half = ["3.new", "2.old", "4.new.orbax-checkpoint-tmp-5", "4.orbax-checkpoint-tmp"]
    for name in (*half, "1.backup", "mine"):
        (tmp_path / name).mkdir()
    Checkpoints(tmp_path).close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1.backup", "mine"]


def test_reader_looks_again_where_a_training_saved(checkpoints, tmp_path, monkeypatch):
    """Between finding the newest checkpoint and reading it, it goes and a newer one comes."""
    checkpoints.save(1, make_state(1.0))
    with contextlib.closing(Checkpoints(tmp_path, read_only=True)) as reader:
        find = reader.find_step

        def find_and_wait(which):
            step = find(which)
            if step == 1:
                checkpoints.save(2, make_state(2.0))
            return step

        monkeypatch.setattr(reader, "find_step", find_and_wait)
        step, variables = reader.read_variables("last")
    assert step == 2 and variables["params"]["score_fr"]["kernel"][0] == 2.0


def test_checkpoints_of_before_are_read_and_ranked(checkpoints, tmp_path):
    """They were written by Orbax's manager, which files the scores, and have no checksums."""
    keep = ocp.checkpoint_managers
    options = ocp.CheckpointManagerOptions(
        best_fn=lambda metrics: metrics["mean_iou"],
        preservation_policy=keep.LatestN(3),
        enable_async_checkpointing=False,
    )
    with ocp.CheckpointManager(tmp_path, options=options, item_names=("state",)) as manager:
        for step, score in ((1, 0.9), (2, 0.2), (3, -math.inf)):
            state = parallel.host_copy(make_state(float(step)))
            args = ocp.args.Composite(state=ocp.args.StandardSave(state))
            manager.save(step, args=args, metrics={"mean_iou": score}, force=True)
    assert [checkpoints.find_step(which) for which in ("last", "best")] == [3, 1]
    assert [checkpoints.is_scored(step) for step in (1, 2, 3)] == [True, True, False]
    assert_same_bits(checkpoints.restore(3, like=make_state(0.0)), make_state(3.0))
    checkpoints.save(4, make_state(4))
    checkpoints.score(4, 0.95)
    assert list_steps(tmp_path) == [4]
