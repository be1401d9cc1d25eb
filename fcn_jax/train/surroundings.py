"""What a launch runs in: the commit, the versions of libraries, the machine and the time."""

import datetime
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any


def describe(devices: Sequence[str]) -> dict[str, Any]:
    """Describes them, for run.json."""
    packages = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "grain")
    return {
        "git_commit": _git("rev-parse", "HEAD"),
        "git_dirty": bool(_git("status", "--porcelain", "--untracked-files=no")),
        "python": platform.python_version(),
        "versions": {name: metadata.version(name) for name in packages},
        "devices": list(devices),
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
