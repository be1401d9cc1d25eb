"""States as Orbax writes them, and what has to be known of Orbax for it."""

import contextlib
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orbax.checkpoint as ocp

from fcn_jax.errors import UserError
from fcn_jax.train import parallel


class StateFiles:
    """States below one folder. Close it when done.

    Raises:
        UserError: If Orbax cannot write to such a path here.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        self._descriptor = os.open(folder, os.O_RDONLY)
        self._root = find_plain_path(folder, self._descriptor)
        # Where several processes train together, each has the whole state, and this one alone asks
        # Orbax to write it or to read it: no other takes part, or is waited for.
        alone = parallel.only_this_process()
        processes = ocp.options.MultiprocessingOptions(
            primary_host=min(alone or {0}), active_processes=alone
        )
        self._orbax = ocp.Checkpointer(
            ocp.CompositeCheckpointHandler(
                "state", composite_options=ocp.CompositeOptions(multiprocessing_options=processes)
            ),
            multiprocessing_options=processes,
        )

    def write(self, name: str, state: Any) -> None:
        """Writes a tree of host arrays into the folder `name`."""
        item = ocp.args.Composite(state=ocp.args.StandardSave(state))
        with _quiet_orbax():
            self._orbax.save(self._root / name, args=item)

    def read(self, name: str) -> Any:
        """Reads the tree of host arrays out of the folder `name`; raises whatever Orbax raises."""
        item = ocp.args.Composite(state=ocp.args.StandardRestore())
        with _quiet_orbax():
            return self._orbax.restore(self._root / name, args=item)["state"]

    def name_plainly(self, text: str | Path) -> str:
        """Returns what Orbax said, with the name of the folder for the path that it was given."""
        return str(text).replace(str(self._root), str(self._folder))

    def close(self) -> None:
        """Lets go of the folder."""
        self._orbax.close()
        os.close(self._descriptor)


def find_plain_path(folder: Path, descriptor: int) -> Path:
    """Finds a path of an open folder that Orbax takes for a path.

    Orbax takes brackets for a pattern, a backslash for a slash, and `gs:/` for a cloud.
    """
    alias = Path(f"/proc/self/fd/{descriptor}")
    if alias.exists():
        return alias
    if strange := {*str(folder)} & {*"[]*?\\:"}:
        raise UserError(
            f"{folder} has {' '.join(sorted(strange))} in its path, with which checkpoints cannot "
            "be written on this system; choose another --workdir"
        )
    return folder


@contextlib.contextmanager
def _quiet_orbax() -> Iterator[None]:
    """Silences the log, which has a traceback for each array that could not be read or written.

    What went wrong is raised as well. Then threads that have not heard of it yet go on to complain
    that nobody listens, so that they stay silenced.
    """
    logger, hook = logging.getLogger("absl"), sys.unraisablehook
    level = logger.level

    def tell(unraisable: Any) -> None:
        if str(unraisable.exc_value) != "Event loop is closed":
            hook(unraisable)

    logger.setLevel(logging.CRITICAL + 1)
    sys.unraisablehook = tell
    try:
        yield
        sys.unraisablehook = hook
    finally:
        logger.setLevel(level)
