"""SHA-256 of files, remembered: a file is read again only when it may have changed.

As git does, a file is taken for unchanged while its inode, its size and its times are the same; the
time of change of an inode (ctime) is one that no program sets back. A file that changed a moment
before it was read is not remembered, since a change in the same tick of the clock would not show.
"""

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from fcn_jax.atomic_file import write_text

NUM_THREADS = min(8, os.cpu_count() or 1)  # hashing lets go of the lock of the interpreter
QUIET_S = 2.0  # the coarsest clock of a common file system


class Digests:
    """Digests of files, by path.

    Args:
        memory: File to remember them in; one that cannot be read or written costs time alone.
    """

    def __init__(self, memory: Path):
        self._memory = memory

    def read(self, files: Iterable[Path]) -> Mapping[Path, str]:
        """Returns the SHA-256 of each file, in hexadecimal digits."""
        files = list(dict.fromkeys(files))
        known = self._recall()
        with ThreadPoolExecutor(NUM_THREADS) as pool:
            entries = dict(
                zip(files, pool.map(lambda file: _read(file, known), files), strict=True)
            )
        kept = {str(file): entry for file, (entry, is_quiet) in entries.items() if is_quiet}
        if not kept.items() <= known.items():
            self._remember({**known, **kept})
        return {file: entry[-1] for file, (entry, _) in entries.items()}

    def _recall(self) -> dict[str, list]:
        try:
            entries = json.loads(self._memory.read_text())
            return entries if isinstance(entries, dict) else {}
        except (OSError, ValueError):
            return {}

    def _remember(self, entries: Mapping[str, list]) -> None:
        with contextlib.suppress(OSError):
            self._memory.parent.mkdir(parents=True, exist_ok=True)
            write_text(self._memory, json.dumps(entries))


def _read(file: Path, known: Mapping[str, list]) -> tuple[list, bool]:
    """Returns what is remembered of a file, and whether it may be."""
    stat, now = file.stat(), time.time()
    state = [stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]
    before = known.get(str(file))
    if before and before[:-1] == state:
        return before, True
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    return [*state, digest], now - max(stat.st_mtime, stat.st_ctime) > QUIET_S
