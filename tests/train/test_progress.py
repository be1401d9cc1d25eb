"""What is said of how far a command is."""

import pytest

from fcn_jax.train import progress as progress_file
from fcn_jax.train.progress import Progress, format_time


@pytest.fixture
def now(monkeypatch):
    """A clock that stands still: the one entry of this list is its time."""
    now = [1000.0]
    monkeypatch.setattr(progress_file.time, "perf_counter", lambda: now[0])
    return now


def test_time_left_is_that_of_recent_steps_and_of_what_comes_in_between(now, capsys):
    train_s = [0.0]  # a clock that stops while something else is done
    with (
        Progress() as progress,
        progress.count(
            "step", done=10, total=500, images_each=4, clock=lambda: train_s[0]
        ) as steps,
    ):
        train_s[0], now[0] = 60.0, 1060.0  # compiling
        steps.reach(11)
        assert steps.text == "elapsed 1:00"
        for step in range(12, 112):
            train_s[0] += 9.0 if step < 40 else 0.5  # another program had the machine
            steps.reach(step)
        steps.later_s, steps.note, now[0] = 3600, "loss 0.5000", 1400.0
        left_s = 389 * 0.5 + 3600
        expected = f"loss 0.5000  8.0 images/s  elapsed 6:40  left {format_time(left_s)}"
        assert steps.text == expected and len(f"step 111/500  {steps.text}") < 80


def test_without_a_terminal_there_is_a_line_every_ten_seconds(now, capsys):
    with Progress() as progress, progress.count("val", total=100) as images:
        for second in range(25):
            now[0] = 1000.0 + second
            images.reach(second + 1)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split("  ")[0] for line in lines] == ["val 1/100", "val 12/100", "val 23/100"]


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0:00"), (61, "1:01"), (3600, "1:00:00")])
def test_durations_are_written_as_clocks_do(seconds, text):
    assert format_time(seconds) == text
