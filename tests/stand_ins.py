"""What a cluster has, for scripts that are run where there is none: `python stand_ins.py NAME ...`.

Each stand-in notes what it is asked for in the folder NOTES, and treats signals and exit codes as
the real tool does, since that is what the scripts rely on. A "machine" is a folder beside NOTES,
and its processes are in a session of their own: what a terminal sends does not reach them.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

NOTES = Path(os.environ["NOTES"])
STOP = NOTES / "stop"  # the vote that stops all processes of a training at the same step
STOP_SIGNALS = (signal.SIGUSR1, signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def python(words: list[str]) -> int:
    """A command of launch.py: ends with CODE; a training with WAIT=N after N signals, or a vote."""
    names = ("SLURM_", "JAX_", "JOB_")
    seen = {key: value for key, value in os.environ.items() if key.startswith(names)}
    file = NOTES / f"{os.getpid()}.json"

    def note(**more: int) -> None:
        file.with_suffix(".new").write_text(json.dumps({"words": words, "environ": seen, **more}))
        file.with_suffix(".new").rename(file)

    patience = int(os.environ.get("WAIT", "0"))

    def stop(number: int, frame: object) -> None:
        nonlocal patience
        note(signal=number)
        patience -= 1
        if patience <= 0:
            STOP.touch()

    for number in STOP_SIGNALS:
        signal.signal(number, stop)
    note()
    if words[1] != "train":
        return 0
    if not patience:
        return int(os.environ.get("CODE", "0"))
    _wait_until(STOP.exists)
    time.sleep(0.05)  # saving
    if task := os.environ.get("SLURM_PROCID"):
        # What Slurm sends to a task that is ending is not deferred any more; some take longer.
        for number in STOP_SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        time.sleep(0.1 * int(task))
    return 130


def srun(words: list[str]) -> int:
    """Slurm's, on two nodes: hands USR1 on, makes a KILL of TERM, and gives tasks their variables.

    The cluster is one whose KillOnBadExit is set, and whose srun does not inherit the CPUs of a
    task.
    """
    flags = {}
    while words[0].startswith("--"):
        name, _, value = words.pop(0)[2:].partition("=")
        flags[name] = value
    environ = {key: text for key, text in os.environ.items() if key != "SLURM_CPUS_PER_TASK"}
    if "cpus-per-task" in flags:
        environ["SLURM_CPUS_PER_TASK"] = flags["cpus-per-task"]
    count = int(flags.get("ntasks", os.environ.get("TASKS", "1")))
    environ |= {"SLURM_STEP_NODELIST": "node[01-02]", "SLURM_NTASKS": str(count)}
    tasks = [
        subprocess.Popen(
            words,
            env={**environ, "SLURM_PROCID": str(index), "SLURM_LOCALID": str(index % 2)},
            start_new_session=True,
        )
        for index in range(count)
    ]

    def send(number: int) -> None:
        for task in tasks:
            task.send_signal(number)

    signal.signal(signal.SIGUSR1, lambda *_: send(signal.SIGUSR1))
    signal.signal(signal.SIGTERM, lambda *_: send(signal.SIGKILL))
    left = set(tasks)
    while left:
        for task in [task for task in left if task.poll() is not None]:
            left.remove(task)
            if task.returncode and flags.get("kill-on-bad-exit", "1") != "0":
                send(signal.SIGTERM)
        time.sleep(0.005)
    killed = [-task.returncode for task in tasks if task.returncode < 0]
    return 128 + max(killed) if killed else max(task.returncode for task in tasks)


def ssh(words: list[str]) -> int:
    """OpenSSH's: ignores Ctrl-C if the shell had it do so; with -tt the far end hears a hang-up."""
    has_terminal = "-tt" in words
    host, command = [word for word in words if not word.startswith("-")]
    _note_line("ssh", words)
    remote = _start_on(host, command)

    def end(number: int, frame: object) -> None:
        if has_terminal:
            os.killpg(remote.pid, signal.SIGHUP)
        os._exit(255)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, end)
    code = remote.wait()
    return code if code >= 0 else 255


def gcloud(words: list[str]) -> int:
    """Google's, of a TPU with two workers: a Ctrl-C ends it, and the far ends do not hear of it."""
    _note_line("gcloud", words)
    flags = dict(word[2:].split("=", 1) for word in words if word.startswith("--"))
    workers = ("0", "1") if flags["worker"] == "all" else (flags["worker"],)
    remotes = [_start_on(f"worker{worker}", flags["command"]) for worker in workers]
    signal.signal(signal.SIGINT, lambda *_: os._exit(1))
    return max(remote.wait() for remote in remotes)


def scontrol(words: list[str]) -> int:
    """Slurm's: notes what it is asked for."""
    _note_line("scontrol", words)
    return 0


def _start_on(machine: str, command: str) -> subprocess.Popen:
    """Starts a command as sshd does: in the home folder, with no signal ignored."""
    home = NOTES.parent / machine
    interpreter = home / "fcn_jax/.venv/bin/python"
    if not interpreter.exists():
        interpreter.parent.mkdir(parents=True)
        interpreter.symlink_to(NOTES.parent / "bin/python")
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    remote = subprocess.Popen(["sh", "-c", command], cwd=home, start_new_session=True)
    signal.signal(signal.SIGINT, before)
    return remote


def _note_line(name: str, words: list[str]) -> None:
    with open(NOTES / f"{name}.txt", "a") as file:
        file.write(" ".join(words) + "\n")


def _wait_until(is_so, *, at_most_s: float = 20.0) -> None:
    deadline = time.monotonic() + at_most_s
    while not is_so():
        if time.monotonic() > deadline:
            sys.exit(99)
        time.sleep(0.005)


if __name__ == "__main__":
    stand_ins = {f.__name__: f for f in (python, srun, ssh, gcloud, scontrol)}
    sys.exit(stand_ins[sys.argv[1]](sys.argv[2:]))
