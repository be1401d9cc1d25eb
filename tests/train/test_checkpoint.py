"""Laws of checkpoints: which are kept, and that they fit one network on any devices."""

import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fcn_jax.train import parallel
from fcn_jax.train.checkpoint import Checkpoints, find_newest_step
from fcn_jax.train.state import init_state


def make_state(value: float, size: int = 3):
    variables = {"params": {"score_fr": {"kernel": jnp.full(size, value)}}, "batch_stats": {}}
    return init_state(variables, optax.adam(0.1))


@pytest.fixture
def checkpoints(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    yield checkpoints
    checkpoints.close()


def test_newest_and_best_are_kept(checkpoints, tmp_path):
    for step, mean_iou in [(1, 0.2), (2, 0.9), (3, None), (4, 0.5), (5, float("nan"))]:
        checkpoints.save(step, make_state(step), mean_iou=mean_iou)
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
    variables = checkpoints.read_variables(1)
    np.testing.assert_array_equal(variables["params"]["score_fr"]["kernel"], [1.0, 1.0, 1.0])


def test_newest_step_is_found_without_opening(checkpoints, tmp_path):
    assert find_newest_step(tmp_path / "nowhere") == find_newest_step(tmp_path) == 0
    for step in (9, 10):
        checkpoints.save(step, make_state(1.0), mean_iou=1 / step)
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
