"""Files that are there whole or not at all, and the paths that they may have.

Whoever replaces a file that somebody may need writes beside it and moves: a kill, a full disk or a
reader at the same moment meets the old file or the new one.
"""

import contextlib
import errno
import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path

from fcn_jax.errors import UserError

LEFTOVER = ".tmp"  # ends the name of what a kill leaves; it is never read


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Gives a new file beside `path` to write to; at the end it takes the place of `path`.

    Should the writing fail, the file that was there is untouched and nothing else is left. What is
    no ordinary file, such as /dev/stdout, is given itself.
    """
    path = Path(path)
    if path.exists() and not path.is_file():
        yield path
        return
    # No two writers, in this process or another, meet in one name; and a long name stays possible.
    beside = path.with_name(f".{os.getpid()}-{secrets.token_hex(4)}{LEFTOVER}")
    try:
        beside.touch()
        mode = beside.stat().st_mode  # as the umask has it; some libraries set their own
        yield beside
        beside.chmod(mode)
        sync(beside)  # or a power cut could leave the new name with nothing in it
        beside.replace(path)
    except OSError as error:
        if error.filename is not None and Path(os.fsdecode(error.filename)) == beside:
            error.filename, error.filename2 = str(path), None  # the name that the user knows
        raise
    finally:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Replaces a file by this text, in UTF-8."""
    with replacing(path) as beside:
        beside.write_text(text, encoding="utf-8")


def sync(path: Path) -> None:
    """Waits until a file, or the list of the names in a folder, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # a file system that cannot do it
            raise
    finally:
        os.close(descriptor)


def as_system_error(error: Exception, path: str | Path) -> Exception:
    """Returns the refusal of the system that a library has put into words of its own.

    Args:
        error: What the library raised.
        path: What it was to write.

    Returns:
        An OSError that names the path; the error itself if it is of another kind.
    """
    if not isinstance(error, OSError):
        for code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO, errno.EACCES):
            if os.strerror(code) in str(error):
                return OSError(code, os.strerror(code), str(path))
    return error


def local_path(path: str | Path) -> Path:
    """Returns a path of this machine, with `~` expanded.

    Raises:
        UserError: If it is the address of something elsewhere.
    """
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*:/", str(path)):  # Path makes one slash of two
        raise UserError(
            f"{path} is no path of this machine: only local files are read and written\n"
            "give the path of a local folder, or one where the storage is mounted"
        )
    return Path(path).expanduser()
