"""What training and evaluation take of memory at least, and how much there is of it."""

import contextlib
import math
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import psutil

from fcn_jax.errors import UserError
from fcn_jax.models.layer_table import Row
from fcn_jax.train.parallel import Devices

_CGROUPS = Path("/sys/fs/cgroup")
_OWN_GROUPS = Path("/proc/self/cgroup")
# Of each version, by its controllers: folder, limit, use, and what of that is cached files.
_MEMORY_FILES = {
    "": (".", "memory.max", "memory.current", "inactive_file"),
    "memory": ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}


def free_bytes(devices: Devices) -> int:
    """Returns the bytes a device can give: all of an accelerator, what is free of a host."""
    if devices.memory_bytes is not None:
        return devices.memory_bytes
    groups = _OWN_GROUPS.read_text() if _OWN_GROUPS.exists() else ""  # Linux alone has it
    free = min(psutil.virtual_memory().available, free_of_groups(groups, _CGROUPS))
    return int(free) // devices.local_count  # all in the one memory


def free_of_groups(groups: str, folder: Path) -> float:
    """Returns the bytes that a container or a scheduler still gives; infinity without a limit.

    Whoever takes more is killed without a word, however much is free of the machine. Cached files
    count as used there, and are given up where memory is needed.

    Args:
        groups: Control groups of the process, of version 2 or 1, as /proc/self/cgroup has them.
        folder: Where Linux shows control groups.
    """
    free = math.inf
    for line in groups.splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers not in _MEMORY_FILES:
            continue
        root, *names = _MEMORY_FILES[controllers]
        group = PurePosixPath(path.lstrip("/"))  # the group and those around it all have a say
        for place in (folder / root / each for each in (group, *group.parents)):
            with contextlib.suppress(OSError, ValueError):  # no such files, or no limit: `max`
                free = min(free, _free_of_group(place, *names))
    return max(free, 0)


def _free_of_group(place: Path, limit: str, used: str, cached: str) -> int:
    lines = (place / "memory.stat").read_text().splitlines()
    cached_bytes = sum(int(line.split()[1]) for line in lines if line.split()[0] == cached)
    return int((place / limit).read_text()) - int((place / used).read_text()) + cached_bytes


def least_step_bytes(rows: Sequence[Row], *, num_images: int, remat: bool) -> int:
    """Returns bytes that a train step cannot do without.

    The gradient of a layer needs the maps that went into it, and all parameters have one; what
    compiled steps really take is 1.6 to 3.2 times that. With `remat` half of the maps are kept.

    Args:
        rows: Layers of the network in training.
        num_images: Images that are computed at once.
        remat: Whether maps are computed again.
    """
    maps = sum(row.num_bytes for row in rows) * num_images // (2 if remat else 1)
    return maps + 8 * sum(row.params for row in rows)


def least_eval_bytes(rows: Sequence[Row]) -> int:
    """Returns bytes that the scoring of an image cannot do without, besides those of its batch.

    Only one map need be there at a time, the largest.

    Args:
        rows: Layers of the network.
    """
    largest = max((row.num_bytes for row in rows), default=0)
    return largest + 4 * sum(row.params for row in rows)


def check_fits(needed_bytes: float, devices: Devices, *, what: str, way_on: str) -> None:
    """Raises UserError if a device cannot give what is needed at least.

    Args:
        needed_bytes: Bytes on each device.
        devices: Devices that need it.
        what: Subject of the message, in the plural.
        way_on: What the user can do.
    """
    free = free_bytes(devices)
    if needed_bytes > free:
        needed_gib, free_gib = (
            f"{num_bytes / 2**30:,.1f} GiB" for num_bytes in (needed_bytes, free)
        )
        raise UserError(
            f"{what} need more than {needed_gib} on each of {devices.count} x {devices.kind}, "
            f"where {free_gib} are free\n{way_on}"
        )
