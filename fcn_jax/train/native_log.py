"""What libraries write to stderr past Python, without what says nothing to a user."""

import contextlib
import os
import re
import sys
import threading
from collections.abc import Iterator

_ENTRY = re.compile(r"[IWEF]\d{4} ")  # how an entry of absl's log begins; it may go on for lines


@contextlib.contextmanager
def sieved_stderr(noise: re.Pattern) -> Iterator[None]:
    """Leaves out entries of the libraries' log, inside of the `with`; all else comes as it does.

    Libraries write to file 2, which is a pipe meanwhile; `sys.stderr` goes where it went. Where the
    block raises, this stays so until the process ends: threads of the libraries go on to log.

    Args:
        noise: Matches the first line of entries that are left out.
    """
    stderr, kept = sys.stderr, os.dup(2)
    reading, writing = os.pipe()
    sys.stderr = os.fdopen(kept, "w", buffering=1, encoding="utf-8", errors="backslashreplace")
    os.dup2(writing, 2)
    os.close(writing)
    thread = threading.Thread(target=_sieve, args=(reading, kept, noise), daemon=True)
    thread.start()
    yield
    sys.stderr.flush()
    os.dup2(kept, 2)  # closes the pipe's end, unless a child has it
    thread.join(timeout=1)
    sys.stderr = stderr


def _sieve(reading: int, kept: int, noise: re.Pattern) -> None:
    is_noise = False
    with os.fdopen(reading, encoding="utf-8", errors="backslashreplace") as lines:
        for line in lines:
            if _ENTRY.match(line):
                is_noise = bool(noise.match(line))
            if not is_noise:
                with contextlib.suppress(OSError):  # nobody listens
                    os.write(kept, line.encode())
