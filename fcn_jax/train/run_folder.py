"""The folder of one run: what was asked for, what happened, and every number it produced.

config.json               the resolved experiment
run.json                  every launch: command line, git commit, versions, devices, time
metrics.jsonl             one JSON object a line: training and evaluation as they went
eval/<split>-<step>.json  confusion counts and the scores that follow from them
samples/<split>/          the first images of the split, their labels and their predictions
checkpoints/
"""

import datetime
import json
import math
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import numpy as np
from PIL import Image

from fcn_jax.errors import MissingError, UserError
from fcn_jax.ops.palette import save_label_png
from fcn_jax.train.evaluation import Prediction
from fcn_jax.train.sections import list_conditions


class RunFolder:
    """Reads and writes the small files of a run; `checkpoint.Checkpoints` has the large ones."""

    def __init__(self, path: str | Path):
        self.path = Path(path).expanduser()

    def open(self, config: Mapping[str, Any]) -> None:
        """Claims the folder for a config, or finds that it is already this config's.

        Raises:
            ValueError: if the folder belongs to another config, or holds something else.
        """
        config_file = self.path / "config.json"
        if self.path.exists() and not self.path.is_dir():
            raise UserError(f"{self.path} is a file; choose another --workdir")
        if not config_file.exists():
            if self.path.is_dir() and any(self.path.iterdir()):
                raise UserError(
                    f"{self.path} is not empty and is no run folder; choose another --workdir"
                )
            self.path.mkdir(parents=True, exist_ok=True)
            _write_json(config_file, config)
            return
        theirs, ours = map(list_conditions, (self.read_config(), json.loads(json.dumps(config))))
        differing = [k for k in sorted(theirs | ours) if theirs.get(k, ...) != ours.get(k, ...)]
        if differing:
            key = differing[0]
            more = f" (and {len(differing) - 1} more keys differ)" if differing[1:] else ""
            raise UserError(
                f"{self.path} belongs to another experiment: {key} is {theirs.get(key)!r} there "
                f"and {ours.get(key)!r} here{more}\nchoose another --workdir, or the same values"
            )

    def read_config(self) -> dict[str, Any]:
        """Returns the resolved experiment of an existing run."""
        return self._read("config.json")

    def read_run(self) -> dict[str, Any]:
        """Returns run.json."""
        return self._read("run.json")

    def _read(self, name: str) -> dict[str, Any]:
        if not (self.path / name).is_file():
            raise MissingError(
                f"{self.path} is no run folder: it has no {name}; "
                "python launch.py train --config=... --workdir=... makes one"
            )
        try:
            return json.loads((self.path / name).read_text())
        except json.JSONDecodeError as error:
            raise UserError(f"{self.path / name} is damaged: {error}") from error

    def begin_launch(self, command: str, *, start_step: int, **facts: Any) -> None:
        """Notes in run.json that a launch starts; `facts` describe the run as a whole."""
        launches = self.read_run()["launches"] if (self.path / "run.json").exists() else []
        launch = {"command": command, **_surroundings(), "start_step": start_step}
        _write_json(self.path / "run.json", {**facts, "launches": [*launches, launch]})

    def end_launch(self, **facts: Any) -> None:
        """Completes the newest launch in run.json."""
        run = self.read_run()
        run["launches"][-1].update(facts)
        _write_json(self.path / "run.json", run)

    def log(self, **entry: Any) -> None:
        """Appends a line to metrics.jsonl."""
        with (self.path / "metrics.jsonl").open("a") as file:
            file.write(json.dumps(_finite(entry)) + "\n")

    def rewind_log(self, step: int) -> None:
        """Drops the lines after `step`: a resumed run will write them again."""
        file = self.path / "metrics.jsonl"
        if file.exists():
            lines = file.read_text().splitlines(keepends=True)
            file.write_text("".join(line for line in lines if _step_of(line) <= step))

    def write_eval(self, report: Mapping[str, Any]) -> Path:
        """Writes eval/<split>-<step>.json."""
        file = self.path / "eval" / f"{report['split']}-{report['step']}.json"
        file.parent.mkdir(exist_ok=True)
        _write_json(file, _finite(report))
        return file

    def write_sample(
        self, prediction: Prediction, *, split: str, step: int, colors: np.ndarray
    ) -> None:
        """Writes an image, its label and what the network makes of it at this step."""
        folder = self.path / "samples" / split
        folder.mkdir(parents=True, exist_ok=True)
        stem = prediction.id.replace("/", "_")
        Image.fromarray(prediction.image).save(folder / f"{stem}.image.png")
        save_label_png(folder / f"{stem}.label.png", prediction.label, colors)
        save_label_png(folder / f"{stem}.pred-{step}.png", prediction.pred, colors)


def _write_json(file: Path, value: Any) -> None:
    # Written beside and moved into place, so that a kill never leaves half a file.
    beside = file.with_suffix(".tmp")
    beside.write_text(json.dumps(value, indent=1, default=_plain) + "\n")
    beside.replace(file)


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else str(value)


def _finite(value: Any) -> Any:
    """Replaces what JSON has no word for (NaN, infinity) by null."""
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return _finite(value.tolist())
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _step_of(line: str) -> float:
    try:
        return json.loads(line)["step"]
    except (json.JSONDecodeError, KeyError):
        return math.inf  # half a line, from a kill


def _surroundings() -> dict[str, Any]:
    packages = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "grain")
    return {
        "git_commit": _git("rev-parse", "HEAD"),
        "git_dirty": bool(_git("status", "--porcelain", "--untracked-files=no")),
        "python": platform.python_version(),
        "versions": {name: metadata.version(name) for name in packages},
        "devices": [str(device) for device in jax.devices()],
        "machine": f"{platform.system()} {platform.machine()}, {_processor()}",
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def _git(*words: str) -> str:
    """Asks git about this code, wherever it is run from; '' where there is no git."""
    try:
        return subprocess.run(
            ["git", "-C", str(Path(__file__).parent), *words],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def _processor() -> str:
    name = platform.processor() or "unknown processor"
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                name = line.split(":", 1)[1].strip()
                break
    return f"{os.cpu_count()} x {name}"
