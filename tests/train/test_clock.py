"""The law of the clock: training and pauses together are the time that passed."""

import pytest

from fcn_jax.train import clock
from fcn_jax.train.clock import Clock


@pytest.fixture
def wait(monkeypatch):
    """Makes time pass: `wait(seconds)`."""
    now = 100.0

    def wait(seconds: float) -> None:
        nonlocal now
        now += seconds

    monkeypatch.setattr(clock.time, "perf_counter", lambda: now)
    return wait


def test_pauses_are_no_training(wait):
    clock = Clock()
    wait(3)
    with clock.pause("eval"):
        wait(10)
    wait(4)
    with clock.pause("save"):
        wait(1)
    with clock.pause("eval"):
        wait(20)
    assert (clock.train_s, clock.paused_s("eval"), clock.paused_s("save")) == (7, 30, 1)
    assert clock.paused_s("nothing") == 0


def test_laps_add_up_to_training(wait):
    clock, laps = Clock(), []
    for seconds in (1, 2, 3):
        wait(seconds)
        laps.append(clock.lap())
        with clock.pause("eval"):
            wait(10)
    assert laps == [1, 2, 3] and sum(laps) == clock.train_s


def test_pause_that_fails_ends(wait):
    clock = Clock()
    with pytest.raises(OSError), clock.pause("save"):
        wait(5)
        raise OSError
    wait(2)
    assert (clock.train_s, clock.paused_s("save")) == (2, 5)
