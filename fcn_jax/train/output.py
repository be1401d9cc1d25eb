"""Output that cannot end what computes.

The reader of a pipe may leave (`| head`, a `tee` that a Ctrl-C ended first), the disk under a log
may be full, the terminal of an ssh may be gone: what is printed is lost then, and nothing else.
"""

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any


class LossyStream:
    """A text stream that writes to another one, and keeps its errors to itself."""

    def __init__(self, stream: Any):
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Writes, if that is possible."""
        with contextlib.suppress(OSError, ValueError):  # ValueError: closed, or no such character
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flushes, if that is possible."""
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()


@contextlib.contextmanager
def lossy_output() -> Iterator[None]:
    """Inside of the `with`, printing to stdout and stderr never fails."""
    streams = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = map(LossyStream, streams)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = streams
        for stream in streams:
            try:
                stream.flush()
            except OSError:
                # The interpreter flushes once more at its end, and would fail with exit code 120.
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
