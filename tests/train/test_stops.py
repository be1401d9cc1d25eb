"""What happens to processes: locks, signals, output that nobody takes, a parent that is killed."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from fcn_jax.data.files import lock
from fcn_jax.errors import UserError
from fcn_jax.train.lock import lock_folder

ROOT = Path(__file__).parents[2]


def start(code, **options):
    """Starts a process that runs `code`."""
    return subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, text=True, stdout=subprocess.PIPE, **options
    )


# --- the lock ---------------------------------------------------------------------------------


def hold_in_vain(folder):
    lines = []
    with lock_folder(folder, say=lines.append):
        return lines


def test_folder_is_refused_until_its_process_is_killed(tmp_path):
    code = f"""
import os, pathlib, subprocess, sys
from fcn_jax.train.lock import lock_folder
with lock_folder(pathlib.Path({str(tmp_path / "run")!r}), say=print):
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    print(child.pid, flush=True)
    input()
"""
    with start(code, stdin=subprocess.PIPE) as holder:
        child = psutil.Process(int(holder.stdout.readline()))
        with pytest.raises(UserError, match="is being trained by") as refusal:
            hold_in_vain(tmp_path / "run")
        message = str(refusal.value)
        assert f"process {holder.pid} on {os.uname().nodename} (since " in message
        assert "another --workdir" in message and len(message.splitlines()) == 2
        holder.stdin = None  # which would end the child
        child.suspend()
        holder.kill()
        holder.wait()
        assert hold_in_vain(tmp_path / "run") == [] and child.is_running()
        child.kill()


def test_folder_that_nothing_came_into_is_not_left(tmp_path):
    hold_in_vain(tmp_path / "some" / "run")
    assert [*tmp_path.iterdir()] == []
    with lock_folder(tmp_path / "run", say=print):
        (tmp_path / "run" / "config.json").touch()
    assert [file.name for file in (tmp_path / "run").iterdir()] == ["config.json"]


def test_folder_below_a_file_is_refused(tmp_path):
    (tmp_path / "run").touch()
    for folder in (tmp_path / "run", tmp_path / "run" / "a"):
        with pytest.raises(UserError, match=f": {tmp_path}/run is a file; choose another"):
            hold_in_vain(folder)


def test_file_system_without_locks_is_remarked_on(tmp_path, monkeypatch):
    def flock(descriptor, operation):
        raise OSError(lock.errno.ENOLCK, "No locks available")

    monkeypatch.setattr(lock.fcntl, "flock", flock)
    (line,) = hold_in_vain(tmp_path / "run")
    assert "has no locks (No locks available)" in line


def test_who_waits_gets_the_lock_after_its_file_was_removed(tmp_path):
    waiting, order = threading.Event(), []

    def wait():
        def note(holder):
            order.append(f"waits for {holder.pid}")
            waiting.set()

        with lock.hold(tmp_path / "lock", on_held=note, on_unsupported=print):
            order.append("second" if (tmp_path / "lock").exists() else "lost")

    thread = threading.Thread(target=wait)
    with lock.hold(tmp_path / "lock", on_held=print, on_unsupported=print):
        thread.start()
        waiting.wait(10)
        order.append("first")
    thread.join(10)
    assert order == [f"waits for {os.getpid()}", "first", "second"]


# --- signals ----------------------------------------------------------------------------------

# Half a minute inside of one call of C, which Python's handlers have to wait for.
BUSY = """
import hashlib, sys
from fcn_jax.train.interrupt import Interruption
from fcn_jax.train.progress import Progress
with Progress() as progress, Interruption(progress) as interruption:
    interruption.defer()
    interruption.kept_step = 40
    print("busy", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"", b"", 10**8)
"""


def test_signal_is_answered_at_once_and_a_second_one_ends(tmp_path):
    with start(BUSY, stderr=subprocess.PIPE) as process:
        process.stdout.readline()
        process.send_signal(signal.SIGUSR1)
        assert process.stderr.readline().startswith("SIGUSR1: stopping after this step: saving")
        process.send_signal(signal.SIGINT)  # the first that insists
        time.sleep(0.05)
        process.send_signal(signal.SIGINT)  # of the same key
        time.sleep(0.5)
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert (
            "SIGTERM once more: ended without saving; what was trained after step 40 is lost"
            in (process.stderr.read())
        )
        assert process.wait(10) == 130


def test_process_that_ignores_hangups_goes_on_ignoring_them(monkeypatch):
    from fcn_jax.train.interrupt import Interruption
    from fcn_jax.train.progress import Progress

    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with Progress() as progress, Interruption(progress) as interruption:
            os.kill(os.getpid(), signal.SIGHUP)
            interruption.check()
    finally:
        signal.signal(signal.SIGHUP, before)


# --- output -----------------------------------------------------------------------------------

TALKATIVE = """
import sys
from rich.console import Console
from fcn_jax.train.output import lossy_output
from fcn_jax.train.progress import Progress
with lossy_output(), Progress() as progress:
    for stream in (sys.stdout, sys.stderr):
        print("a" * 100_000, file=stream, flush=True)
        Console(file=stream).print("b")
    progress.say("c")
    open({done!r}, "w")
"""


@pytest.mark.parametrize("kind", ["pipe without a reader", "full disk"])
def test_output_that_nobody_takes_ends_nothing(tmp_path, kind):
    done = tmp_path / "done"
    if kind == "full disk":
        if not Path("/dev/full").exists():
            pytest.skip("this system has no /dev/full")
        output = os.open("/dev/full", os.O_WRONLY)
    else:
        reader, output = os.pipe()
        os.close(reader)
    code = TALKATIVE.format(done=str(done))
    buffered = {**os.environ, "PYTHONUNBUFFERED": ""}  # so that flushing, too, fails
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=buffered,
        stdout=output,
        stderr=output,
        check=False,
    )
    os.close(output)
    assert run.returncode == 0 and done.exists()


# --- children ---------------------------------------------------------------------------------

LOADER = """
import sys, time
import numpy as np
from fcn_jax.data.batches.loader import train_batches
pair = {"id": "a", "image": np.zeros((8, 8, 3), np.uint8), "label": np.zeros((8, 8), np.uint8)}
batches = train_batches([pair], batch_size=1, seed=0, crop_size=8, num_workers=1)
next(batches)
print("ready", flush=True)
input()
"""


def test_workers_leave_signals_to_their_parent_and_end_with_it():
    with start(LOADER, stdin=subprocess.PIPE) as parent:
        assert parent.stdout.readline() == "ready\n"
        children = psutil.Process(parent.pid).children(recursive=True)
        (worker,) = (child for child in children if "spawn_main" in " ".join(child.cmdline()))
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
            worker.send_signal(number)
        time.sleep(0.2)
        assert worker.is_running() and worker.status() != psutil.STATUS_ZOMBIE
        parent.kill()
        _, alive = psutil.wait_procs(children, timeout=10)
        assert [child for child in alive if child.status() != psutil.STATUS_ZOMBIE] == []
