"""A file that one process holds at a time, for as long as it lives.

The kernel keeps the lock (flock) and frees it when the process ends, however it ends; the text in
the file only says who holds it. Child processes do not inherit it.
"""

import contextlib
import datetime
import errno
import fcntl
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

_UNSUPPORTED = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)


class Holder(NamedTuple):
    """The process that holds a lock."""

    pid: int
    host: str
    since: str

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} (since {self.since})"


@contextlib.contextmanager
def hold(
    file: Path,
    *,
    on_held: Callable[[Holder | str], None],
    on_unsupported: Callable[[str], None],
) -> Iterator[None]:
    """Holds a lock inside of the `with`; the file is made, and removed at the end.

    Args:
        file: File of the lock, in a folder that is there.
        on_held: Is told who holds the lock, if it is held: to raise gives up, to return waits.
        on_unsupported: Is told in a line that the file system has no locks; then there is none.
    """
    descriptor = _acquire(file, on_held, on_unsupported)
    try:
        now = datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M:%S")
        holder = Holder(os.getpid(), socket.gethostname(), now)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(holder._asdict()).encode() + b"\n", 0)
        yield
    finally:
        with contextlib.suppress(OSError):
            file.unlink()
        os.close(descriptor)


def _acquire(
    file: Path,
    on_held: Callable[[Holder | str], None],
    on_unsupported: Callable[[str], None],
) -> int:
    """Returns a descriptor of the file that carries the lock."""
    while True:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                on_held(_read_holder(descriptor))
                fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                os.close(descriptor)
                raise
            on_unsupported(
                f"the file system of {file.parent} has no locks ({os.strerror(error.errno)}): take "
                "care that no other process works there"
            )
            return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        # Who held it before has removed the file: what is locked may be no longer there.
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), file.stat()):
                return descriptor
        os.close(descriptor)


def _read_holder(descriptor: int) -> Holder | str:
    for _ in range(10):  # a holder that has just begun may not have written it
        with contextlib.suppress(ValueError, TypeError):
            return Holder(**json.loads(os.pread(descriptor, 4096, 0)))
        time.sleep(0.05)
    return "another process"
