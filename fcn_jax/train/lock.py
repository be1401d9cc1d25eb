"""A run folder belongs to one training at a time; whoever only reads it needs no lock."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from fcn_jax.data.files.lock import Holder, hold
from fcn_jax.errors import UserError

LOCK_FILE = "lock"


@contextlib.contextmanager
def lock_folder(folder: Path, *, say: Callable[[str], None]) -> Iterator[None]:
    """Keeps a run folder to this process inside of the `with`.

    The folder is made if it is not there, and removed at the end if nothing came into it.

    Args:
        folder: The run folder.
        say: Is told in a line if the file system has no locks.

    Raises:
        UserError: If another process trains in the folder, or it cannot be one.
    """

    def refuse(holder: Holder | str) -> None:
        raise UserError(
            f"{folder} is being trained by {holder}\nwait for it or stop it, or choose another "
            "--workdir; one process trains on all devices (srun -n 1), several only together "
            "(--distributed)"
        )

    made = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        file = next((path for path in (folder, *folder.parents) if path.is_file()), None)
        if not file:
            raise
        raise UserError(
            f"{folder} cannot be a folder: {file} is a file; choose another --workdir"
        ) from error
    try:
        with hold(folder / LOCK_FILE, on_held=refuse, on_unsupported=say):
            yield
    finally:
        with contextlib.suppress(OSError):  # it holds something
            for path in made:
                path.rmdir()
