"""Trainings of several processes on this machine, which meet on the loopback.

The long form, whose result is in docs/scaling.md:

    python -m tests.worlds --kills=10 --seed=0

The experiment of `faults` runs in worlds of 1, 2 and 4 processes with other numbers of devices.
Then a process of two, drawn by a seed, is killed again and again at random moments; the other has
to end by itself, and the run, started again, has to end with the same bits. `test_world.py` is the
short form.
"""

import argparse
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from tests import faults

SGD = (
    "--config.optim.name=sgd",
    "--config.optim.learning_rate=0.1",
)
ADAMW = ("--config.optim.learning_rate=0.01",)
END_WITHIN_S = 60


class World:
    """Processes that train together in a folder, each with some devices of its own.

    Args:
        folder: Folder of the run and of the logs.
        num_processes: Number of processes.
        num_devices: Devices of each.
        flags: More flags.
    """

    def __init__(
        self, folder: Path, num_processes: int, num_devices: int, flags: Sequence[str] = ()
    ):
        self.run = folder / "run"
        coordinator = f"127.0.0.1:{find_free_port()}"
        words = [sys.executable, "launch.py", "train", *faults.FLAGS, *flags]
        words += [f"--config.data.data_dir={folder.parent / 'data'}", f"--workdir={self.run}"]
        words += [f"--config.data.source_dir={folder.parent / 'pictures'}"]
        self.processes, self.logs = [], []
        folder.mkdir(exist_ok=True)
        for index in range(num_processes):
            env = {
                **os.environ,
                "JAX_PLATFORMS": "cpu",
                "JAX_NUM_CPU_DEVICES": str(num_devices),
                "JAX_COMPILATION_CACHE_DIR": str(folder.parent / "compiled"),
            }
            env.pop("XLA_FLAGS", None)  # of the tests: eight devices
            place = [f"--num_processes={num_processes}", f"--process_id={index}"]
            joined = [f"--coordinator={coordinator}", *place] if num_processes > 1 else []
            log = (folder / f"log{index}").open("w+")
            self.logs.append(log)
            self.processes.append(
                subprocess.Popen(
                    [*words, *joined], cwd=faults.ROOT, env=env, stdout=log, stderr=log
                )
            )

    def wait(self) -> list[tuple[int, str]]:
        """Returns the exit code of each process, and what it printed."""
        codes = [process.wait(timeout=600) for process in self.processes]
        return [(code, self.read_log(index)) for index, code in enumerate(codes)]

    def read_log(self, index: int) -> str:
        """Returns what a process has printed so far."""
        return Path(self.logs[index].name).read_text()

    @property
    def is_over(self) -> bool:
        """Whether one of the processes has ended."""
        return any(process.poll() is not None for process in self.processes)

    @property
    def is_saving(self) -> bool:
        """Whether a checkpoint is being written."""
        return any((self.run / "checkpoints").glob("*.new*"))


def find_free_port() -> int:
    """Finds a port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def train(folder: Path, num_processes: int, num_devices: int, flags: Sequence[str] = ()) -> dict:
    """Trains to the end; returns what the run left."""
    for code, text in World(folder, num_processes, num_devices, flags).wait():
        assert code == 0, text
    return faults.read_all(folder / "run")


def compare(ours: Mapping[str, object], theirs: Mapping[str, object]) -> dict[str, float]:
    """Returns how far two runs are apart: losses, parameters, and counts of pixels."""
    found = {}
    lines = [[line["loss"] for line in run["train lines"]] for run in (ours, theirs)]
    found["loss"] = float(np.abs(np.subtract(*lines)).max())
    params = [name for name in ours if name.startswith("state.params")]
    found["params"] = max(float(np.abs(ours[name] - theirs[name]).max()) for name in params)
    evals = [name for name in ours if name.startswith("eval ") and name != "eval lines"]
    found["counts"] = max(
        int(np.abs(np.subtract(ours[name]["counts"], theirs[name]["counts"])).sum())
        for name in evals
    )
    return found


def kill_one(world: World, moment: str, victim: int, rng: random.Random, usual_s: float) -> float:
    """Kills a process at a moment; returns the seconds that the others took to end.

    Returns -1 if the world was faster than its killer: a process may die with nothing left to do.
    """
    while not world.is_over and "devices" not in world.read_log(0):
        time.sleep(0.002)  # until the processes have met: before, each waits for the others
    deadline = time.monotonic() + rng.uniform(0, 0.8) * usual_s
    while not world.is_over and (
        not world.is_saving if moment == "in a save" else time.monotonic() < deadline
    ):
        time.sleep(0.002)
    if moment == "in a save":
        time.sleep(rng.uniform(0, 0.03))
    if world.is_over:
        world.wait()
        return -1
    world.processes[victim].send_signal(signal.SIGKILL)
    killed = time.monotonic()
    others = [result for index, result in enumerate(world.wait()) if index != victim]
    if all(code == 0 for code, _ in others):
        return -1
    for code, text in others:
        assert code == 2 and "another process of this training has ended" in text, (code, text)
    return time.monotonic() - killed


def main() -> None:
    """Runs the long form and prints what came out."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--only_kills", action="store_true", help="leave the other worlds out")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="worlds") as name:
        scratch = Path(name)
        faults.write_pictures(scratch / "pictures", number=60)
        for label, flags in () if args.only_kills else (("sgd", SGD), ("adamw", ADAMW)):
            one = train(scratch / f"{label} 1x4", 1, 4, flags)
            for shape in ((1, 1), (1, 2), (2, 1), (2, 2), (4, 1)):
                other = train(scratch / f"{label} {shape[0]}x{shape[1]}", *shape, flags)
                print(f"{label}, {shape[0]} x {shape[1]} against 1 x 4:", compare(other, one))
            losses = [line["loss"] for line in one["train lines"]]
            print(f"{label}: loss {losses[0]:.3f} at first, {losses[-1]:.3f} at last", flush=True)
        if not args.kills:
            return
        rng = random.Random(args.seed)
        undisturbed = train(scratch / "undisturbed", 2, 2)
        started = time.monotonic()
        faults.assert_equal(train(scratch / "again", 2, 2), undisturbed)
        usual_s, done, waited = time.monotonic() - started, Counter(), []
        print(f"undisturbed: {usual_s:.0f} s, {len(undisturbed)} things to compare", flush=True)
        while len(waited) < args.kills:
            moment, victim = rng.choice(["anywhere", "in a save"]), rng.randrange(2)
            # A run that is complete has nothing left to be killed in.
            number = len(waited) // 5 + done["ended before"]
            world = World(scratch / f"killed {number}", 2, 2)
            seconds = kill_one(world, moment, victim, rng, usual_s)
            if seconds < 0:
                faults.assert_equal(faults.read_all(world.run), undisturbed)
                done["ended before"] += 1
                continue
            assert seconds < END_WITHIN_S
            waited.append(seconds)
            done[f"process {victim} {moment}"] += 1
        for folder in scratch.glob("killed *"):
            faults.assert_equal(train(folder, 2, 2), undisturbed)
        print(f"killed: {dict(done)}; the other ended after at most {max(waited):.1f} s")


if __name__ == "__main__":
    main()
