"""A training that is killed and starved at random moments, and what is left of it in the end.

The long form, whose result is in docs/faults.md:

    python -m tests.faults --kills=30 --full_disks=10 --seed=0

A small experiment runs once undisturbed. Then the same command is killed (SIGKILL) at moments that
a seed draws: anywhere, while its data set is built, while a checkpoint is written, during an
evaluation. On a small file system of its own (Linux, as root) it is given a disk that fills up.
Each run is started again until it is complete, and has to end with the same bits: parameters,
statistics, optimizer, counts, logged losses and pictures. `test_faults.py` is the short form.
"""

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import jax
import numpy as np
from PIL import Image

ROOT = Path(__file__).parents[1]
EVAL_EVERY = 6
FLAGS = (
    "--config=custom_fcn32s",
    "--config.model.name=alexnet_fcn32s",
    "--config.model.fc_channels=16",
    "--config.model.width=0.03125",
    "--config.augment.crop_size=32",
    "--config.train.num_steps=24",
    "--config.train.batch_size=4",
    "--config.train.log_every=1",
    f"--config.train.eval_every={EVAL_EVERY}",
    "--config.train.checkpoint_every=2",
    "--config.eval.num_samples=2",
)
# What is told of a run's time and place; all else has to be equal.
PASSING = {"images_per_s", "read_share", "copy_share", "eval_s", "num_shapes"}


class Launch:
    """A process that trains, or prepares the data set, in a folder."""

    def __init__(self, folder: Path, *, command: str = "train"):
        words = [sys.executable, "launch.py", command, *FLAGS]
        words += [f"--config.data.data_dir={folder / 'data'}"]
        words += [f"--config.data.source_dir={folder.parent / 'pictures'}"]
        self.run = folder / "run"
        if command == "train":
            words += [f"--workdir={self.run}"]
        # Compiled programs are kept, or compiling would be most of what is killed.
        cache = {"JAX_COMPILATION_CACHE_DIR": str(folder.parent / "compiled")}
        self.log = (folder / "log").open("w+")
        self.process = subprocess.Popen(
            words, cwd=ROOT, env=os.environ | cache, stdout=self.log, stderr=subprocess.STDOUT
        )
        self.started = time.monotonic()

    @property
    def is_over(self) -> bool:
        return self.process.poll() is not None

    @property
    def is_saving(self) -> bool:
        return any((self.run / "checkpoints").glob("*.new*"))

    @property
    def is_evaluating(self) -> bool:
        steps = (file.name for file in (self.run / "checkpoints").glob("*"))
        due = (step for step in steps if step.isdecimal() and int(step) % EVAL_EVERY == 0)
        return any(not (self.run / "eval" / f"val-{step}.json").exists() for step in due)

    def wait(self) -> tuple[int, str]:
        """Returns the exit code and what was printed."""
        code = self.process.wait(timeout=600)
        self.log.seek(0)
        return code, self.log.read()

    def kill(self, moment: str, rng: random.Random, *, usual_s: float) -> str:
        """Kills at a moment; returns which it was, or 'over' if the process was faster.

        Args:
            moment: 'anywhere', 'in a save' or 'in an evaluation'.
            rng: Draws the time after the moment began.
            usual_s: Seconds that an undisturbed process takes.
        """
        if moment == "anywhere":
            deadline = self.started + rng.uniform(0, usual_s)
            while not self.is_over and time.monotonic() < deadline:
                time.sleep(0.01)
        else:
            is_there = {"in a save": "is_saving", "in an evaluation": "is_evaluating"}[moment]
            while not self.is_over and not getattr(self, is_there):
                time.sleep(0.001)
            time.sleep(rng.uniform(0, 0.04 if moment == "in a save" else 0.8))
        if self.is_over:
            return "over"
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        return moment


def kill_at_random(
    folder: Path,
    kills: Sequence[str],
    rng: random.Random,
    *,
    usual_s: float,
    undisturbed: Mapping[str, object],
) -> Counter:
    """Kills runs again and again, and lets each end; returns how often at which moment.

    A run that was faster than its killer is compared and begun anew.
    """
    done = Counter()
    for moment in kills:
        if moment == "in a build":
            shutil.rmtree(folder / "data", ignore_errors=True)
            launch = Launch(folder, command="prepare")
            moment = "anywhere"
            done["in a build"] += launch.kill(moment, rng, usual_s=usual_s / 2) == moment
            continue
        while Launch(folder).kill(moment, rng, usual_s=usual_s) == "over":
            done["complete and equal"] += _finish(folder, undisturbed)
        done[moment] += 1
    done["complete and equal"] += _finish(folder, undisturbed)
    return done


def fill_disk_at_random(
    folder: Path, times: int, rng: random.Random, *, undisturbed: Mapping[str, object]
) -> Counter:
    """Gives runs a disk that fills up, then room; returns how the launches ended."""
    done, filler = Counter(), folder / "filler"
    for _ in range(times):
        room = os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize
        with contextlib.suppress(OSError):
            filler.write_bytes(bytes(max(0, room - rng.randrange(800_000))))
        code, text = Launch(folder).wait()
        told = "No space left on device" in text and "Traceback" not in text
        assert code == 0 or (code == 2 and told), text
        filler.unlink()
        if code == 0:
            done["complete and equal"] += _finish(folder, undisturbed)
        else:
            done["told in a line or two"] += 1
    done["complete and equal"] += _finish(folder, undisturbed)
    return done


def _finish(folder: Path, undisturbed: Mapping[str, object]) -> int:
    """Lets a run end, compares it with the undisturbed one, and removes it; returns 1."""
    _complete(folder)
    assert_equal(read_all(folder / "run"), undisturbed)
    shutil.rmtree(folder / "run")
    return 1


def _complete(folder: Path) -> None:
    code, text = Launch(folder).wait()
    assert code == 0, text


def read_all(run: Path) -> dict[str, object]:
    """Reads what two runs of one experiment have to have in common."""
    from fcn_jax.train.checkpoint import Checkpoints
    from fcn_jax.train.run_folder import RunFolder
    from fcn_jax.train.setup import make_setup

    folder = RunFolder(run)
    with contextlib.closing(Checkpoints(folder.checkpoints_path, read_only=True)) as checkpoints:
        like = make_setup(folder.read_config()).state
        state = checkpoints.restore(checkpoints.latest_step, like=like)
        best = checkpoints.find_step("best")
    leaves = jax.tree_util.tree_leaves_with_path(state)
    found = {f"state{jax.tree_util.keystr(path)}": np.asarray(leaf) for path, leaf in leaves}
    found["best"] = best
    for kind in ("train", "eval"):
        found[f"{kind} lines"] = [_without_passing(line) for line in folder.read_metrics(kind)]
    for split, step in folder.list_evals():
        report = json.loads(folder.eval_file(split, step).read_text())
        found[f"eval {split}-{step}"] = _without_passing(report)
    pictures = (run / "samples").rglob("*.png")
    return found | {str(file.relative_to(run)): file.read_bytes() for file in pictures}


def _without_passing(entry: dict) -> dict:
    return {key: value for key, value in entry.items() if key not in PASSING}


def assert_equal(ours: Mapping[str, object], theirs: Mapping[str, object]) -> None:
    """Compares what `read_all` read, bit by bit."""
    assert ours.keys() == theirs.keys(), sorted(ours.keys() ^ theirs.keys())
    for name, value in theirs.items():
        np.testing.assert_array_equal(ours[name], value, err_msg=name)


def write_pictures(folder: Path, *, number: int) -> None:
    """Writes a data set of the user's own: bright blocks on dark noise, a third to be scored."""
    rng = np.random.default_rng(0)
    names = [f"picture_{index:03}" for index in range(number)]
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True)
    for name in names:
        label = np.kron(rng.integers(0, 3, (5, 6), np.uint8), np.ones((8, 8), np.uint8))
        image = 70 * label[:, :, None] + rng.integers(0, 60, (*label.shape, 3), np.uint8)
        Image.fromarray(image).save(folder / "images" / f"{name}.png")
        Image.fromarray(label).save(folder / "labels" / f"{name}.png")
    (folder / "classes.txt").write_text("dark\nmiddle\nbright\n")
    (folder / "train.txt").write_text("\n".join(names[number // 3 :]) + "\n")
    (folder / "val.txt").write_text("\n".join(names[: number // 3]) + "\n")


def run_undisturbed(folder: Path) -> tuple[dict[str, object], float]:
    """Returns what an undisturbed run leaves, and the seconds that it took."""
    folder.mkdir()
    started = time.monotonic()
    _complete(folder)
    return read_all(folder / "run"), time.monotonic() - started


@contextlib.contextmanager
def small_disk(folder: Path, *, size: str) -> Iterator[Path]:
    """Mounts a file system in memory; raises CalledProcessError for whom that is forbidden."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def main() -> None:
    """Runs the long form and prints what came out."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--full_disks", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rng = random.Random(args.seed)
    with tempfile.TemporaryDirectory(prefix="faults") as scratch:
        write_pictures(Path(scratch) / "pictures", number=60)
        undisturbed, _ = run_undisturbed(Path(scratch) / "undisturbed")
        again, usual_s = run_undisturbed(Path(scratch) / "again")  # which need not compile
        assert_equal(again, undisturbed)
        print(f"undisturbed: {usual_s:.0f} s, {len(undisturbed)} things to compare", flush=True)
        moments = ("anywhere", "anywhere", "in a save", "in an evaluation", "in a build")
        kills = sorted(
            (moments[i % len(moments)] for i in range(args.kills)), key=lambda m: m != "in a build"
        )
        builds = kills.count("in a build")
        kills[builds:] = rng.sample(kills[builds:], len(kills) - builds)
        (Path(scratch) / "killed").mkdir()
        done = kill_at_random(
            Path(scratch) / "killed", kills, rng, usual_s=usual_s, undisturbed=undisturbed
        )
        print(f"killed: {dict(done)}", flush=True)
        if args.full_disks:
            with small_disk(Path(scratch) / "full", size="6m") as folder:
                done = fill_disk_at_random(folder, args.full_disks, rng, undisturbed=undisturbed)
            print(f"full disks: {dict(done)}", flush=True)


if __name__ == "__main__":
    main()
