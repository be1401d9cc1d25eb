"""Real processes that train together; `tests/worlds.py` is the long form."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from fcn_jax.errors import UserError
from fcn_jax.train import loop, parallel
from fcn_jax.train.checkpoint import Checkpoints, find_newest_step
from fcn_jax.train.run_folder import RunFolder
from fcn_jax.train.setup import make_setup
from fcn_jax.train.world import Membership, is_loss
from tests.train.conftest import make_config
from tests.train.test_loop import last_state, stop_at_step
from tests.worlds import find_free_port

ROOT = Path(__file__).parents[2]
END_WITHIN_S = 60


def make_sgd_config(**train) -> dict:
    """An experiment that has batch norm, and no number that a device draws for itself."""
    config = make_config()
    config["model"] |= {"dropout": 0.0, "norm": "batch"}
    config["optim"] = {"name": "sgd", "learning_rate": 0.05}
    config["train"] |= train
    return config


def start(words, *, index, folder, num_devices=2):
    """Starts a process; returns it and the file of its output."""
    env = {**os.environ, "JAX_NUM_CPU_DEVICES": str(num_devices), "JAX_PLATFORMS": "cpu"}
    log = (folder / f"log{index}").open("w")
    return subprocess.Popen([sys.executable, *words], cwd=ROOT, env=env, stdout=log, stderr=log)


def start_world(folder, config, workdir):
    code = "from ml_collections import ConfigDict\n\ndef get_config():\n    return ConfigDict({})\n"
    (folder / "tiny.py").write_text(code.format(config))
    coordinator = f"127.0.0.1:{find_free_port()}"
    words = ["-m", "tests.train.world_process", "train", f"--config={folder / 'tiny.py'}"]
    words += [f"--workdir={workdir}", f"--coordinator={coordinator}", "--num_processes=2"]
    return [
        start([*words, f"--process_id={index}"], index=index, folder=folder) for index in range(2)
    ]


def wait_for(condition, processes, seconds=100):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline and all(p.poll() is None for p in processes)
        time.sleep(0.05)


def end(processes, folder):
    """Waits for all; returns their codes and what they printed."""
    codes = [process.wait(timeout=100) for process in processes]
    return codes, [(folder / f"log{index}").read_text() for index in range(len(processes))]


def train_here(config, workdir):
    return loop.train(config, workdir, experiment="tiny", command="python launch.py ...")


def test_two_processes_of_two_devices_train_like_one_of_four(tmp_path):
    config = make_sgd_config(num_steps=20, checkpoint_every=0, eval_every=10)
    codes, logs = end(start_world(tmp_path, config, tmp_path / "two"), tmp_path)
    assert codes == [0, 0], logs
    assert "compiled" in logs[0] and "step" not in logs[1]  # one of them talks
    train_here(config, tmp_path / "one")
    two, one = (RunFolder(tmp_path / name) for name in ("two", "one"))
    lines = [[line["loss"] for line in run.read_metrics("train")] for run in (two, one)]
    assert len(lines[0]) == 20
    np.testing.assert_allclose(*lines, rtol=1e-5)
    for step in (10, 20):
        ours, theirs = (run.read_evals("val")[step] for run in (two, one))
        np.testing.assert_array_equal(ours["counts"], theirs["counts"])
        ours, theirs = (run.read_image_counts("val", step) for run in (two, one))
        assert ours.ids == theirs.ids
    states = [last_state(config, run.path) for run in (two, one)]
    for ours, theirs in zip(*map(jax.tree.leaves, states), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
    assert len(json.loads((two.path / "run.json").read_text())["launches"][0]["devices"]) == 4


def test_a_stop_of_one_process_stops_all_and_other_worlds_go_on(tmp_path, monkeypatch):
    config = make_sgd_config(num_steps=100_000, checkpoint_every=0, eval_every=0, log_every=1)
    workdir = tmp_path / "run"
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stop_at_step(patch, 4, signal.SIGTERM)
        train_here(config, workdir)
    assert find_newest_step(workdir / "checkpoints") == 3

    processes = start_world(tmp_path, config, workdir)
    log = workdir / "metrics.jsonl"
    wait_for(lambda: log.read_text().count("\n") > 10, processes)
    processes[1].send_signal(signal.SIGUSR1)
    codes, logs = end(processes, tmp_path)
    assert codes == [130, 130], logs
    steps = [json.loads(line)["step"] for line in log.read_text().splitlines()]
    assert steps == [*range(1, len(steps) + 1)]
    stopped = find_newest_step(workdir / "checkpoints")
    assert stopped == steps[-1] and f"stopped at step {stopped};" in logs[0]

    # Going on with one process of four devices, and writing it again, keeps every bit.
    with (
        contextlib.closing(Checkpoints(workdir / "checkpoints", read_only=True)) as saved,
        contextlib.closing(Checkpoints(tmp_path / "again")) as again,
    ):
        like = last_state(config, workdir)
        state = saved.restore(stopped, like=like)
        again.save(stopped, parallel.get_devices(count=4).replicate(state))
        jax.tree.map(np.testing.assert_array_equal, again.restore(stopped, like=like), state)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stop_at_step(patch, stopped + 3, signal.SIGTERM)
        train_here(config, workdir)
    assert find_newest_step(workdir / "checkpoints") == stopped + 2


@pytest.mark.parametrize("key", ["seed", "optim.learning_rate", "the data's fingerprint"])
def test_processes_that_would_train_something_else_each_are_refused(key, monkeypatch):
    def gather(devices, said):
        return [said, {**said, key: "other"}]

    monkeypatch.setattr(parallel.Devices, "gather", gather)
    with pytest.raises(UserError, match=f"process 0 has {key}=.* and process 1 other"):
        loop._check_agreement(make_setup(make_config()))


EXPECTED = {"meeting", *map(str, range(10_000))}
WAIT_FOR_EACH_OTHER = """
import sys, time
from fcn_jax.errors import UserError
from fcn_jax.train import parallel
from fcn_jax.train.world import Membership, join, leave
coordinator, index = sys.argv[1], int(sys.argv[2])
print("meeting", flush=True)
try:
    with join(Membership(coordinator, 2, index)):
        for turn in range(10_000):
            assert parallel.share(turn * 10 + index) == turn * 10
            assert parallel.get_devices().gather("x" * index) == ["", "x"]
            print(turn, flush=True)
except UserError as error:
    print("error:", error, flush=True)
    leave(2)
"""


def test_ctrl_c_ends_a_process_that_waits_for_the_others(tmp_path):
    words = ["-c", WAIT_FOR_EACH_OTHER, f"127.0.0.1:{find_free_port()}", "0"]
    process = start(words, index=0, folder=tmp_path, num_devices=1)
    wait_for(lambda: "meeting" in (tmp_path / "log0").read_text(), [process])
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=5) == -signal.SIGINT


@pytest.mark.parametrize("victim", [0, 1])
def test_the_others_end_when_a_process_is_killed(victim, tmp_path):
    coordinator = f"127.0.0.1:{find_free_port()}"
    processes = [
        start(
            ["-c", WAIT_FOR_EACH_OTHER, coordinator, str(index)],
            index=index,
            folder=tmp_path,
            num_devices=1,
        )
        for index in range(2)
    ]
    wait_for(lambda: "1\n2\n" in (tmp_path / "log1").read_text(), processes)
    processes[victim].kill()
    killed = time.monotonic()
    codes, logs = end(processes, tmp_path)
    other = 1 - victim
    assert codes[other] == 2 and time.monotonic() - killed < END_WITHIN_S, logs[other]
    told = [
        line for line in logs[other].splitlines() if line not in EXPECTED and "Gloo" not in line
    ]
    assert len(told) == 2 and told[0].startswith("error: another process of this training"), told


WRITE_PAST_PYTHON = """
import os, re, sys
from fcn_jax.train.native_log import sieved_stderr
with sieved_stderr(re.compile("E1127 .*noise")):
    os.write(2, b"E1127 00:00 noise\\nof two lines\\nW1127 00:00 a warning\\nof two lines\\n")
    print("of Python", file=sys.stderr)
    os.write(2, b"E1127 00:00 noise\\n    @ 0x1 frame")
os.write(2, b"E1127 00:00 noise, later\\n")
"""


def test_what_libraries_log_is_sieved():
    done = subprocess.run(
        [sys.executable, "-c", WRITE_PAST_PYTHON], cwd=ROOT, check=True, capture_output=True
    )
    lines = sorted(done.stderr.decode().splitlines())
    assert lines == [
        "E1127 00:00 noise, later",
        "W1127 00:00 a warning",
        "of Python",
        "of two lines",
    ]


@pytest.mark.parametrize(
    ("said", "environ", "found"),
    [
        (("node1:12345", 4, 2), {}, ("node1:12345", 4, 2)),
        (
            (None, None, None),
            {"JAX_COORDINATOR_ADDRESS": "a:1", "JAX_NUM_PROCESSES": "8", "JAX_PROCESS_ID": "0"},
            ("a:1", 8, 0),
        ),
        (
            (None, None, None),
            {"MASTER_ADDR": "a", "MASTER_PORT": "2", "WORLD_SIZE": "2", "RANK": "1"},
            ("a:2", 2, 1),
        ),
        ((None, 3, None), {"WORLD_SIZE": "2", "RANK": "2"}, (None, 3, 2)),
        ((None, None, None), {}, (None, None, None)),
    ],
    ids=str,
)
def test_membership_is_said_by_flags_before_variables(said, environ, found):
    names = ("coordinator", "num_processes", "process_id")
    flags = dict(zip(names, said, strict=True))
    assert Membership.find(environ, **flags) == Membership(*found)


@pytest.mark.parametrize(
    ("said", "environ", "message"),
    [
        ({"coordinator": "node1"}, {}, "--coordinator=node1 must be HOST:PORT"),
        ({"coordinator": "node1:99999"}, {}, "must be HOST:PORT"),
        ({"num_processes": 0}, {}, "--num_processes=0 must be 1 or more"),
        ({"num_processes": 2, "process_id": 2}, {}, "--process_id=2 must be one of 0 to 1"),
        ({"process_id": -1}, {}, "--process_id=-1 must be 0 or more"),
        ({}, {"RANK": "first"}, "RANK=first must be a number"),
    ],
    ids=str,
)
def test_nonsense_about_the_others_is_refused(said, environ, message):
    with pytest.raises(UserError, match=message):
        Membership.find(environ, **said)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("UNKNOWN: Gloo all-reduce failed: [...] Connection closed by peer [127.0.0.1]:5032", True),
        ("INTERNAL: NCCL operation ncclAllReduce failed: remote process exited", True),
        ("RESOURCE_EXHAUSTED: Out of memory allocating 123 bytes", False),
        ("INVALID_ARGUMENT: shapes differ", False),
    ],
)
def test_errors_that_mean_a_lost_process(message, expected):
    assert is_loss(message) == expected
