"""What can be wrong with a user's files: an error with a name for its kind.

What looks for problems hands each of them to a function. A build passes `refuse`, which raises, and
stops at the first problem; `check_data` passes the `append` of a list and hears of all. Both run
the same code, so they cannot disagree.
"""

from collections.abc import Callable
from pathlib import Path

from fcn_jax.errors import MissingError, UserError

MAX_NAMED = 3  # of many files, so many are named in a message


class Problem(UserError):
    """A mistake in a user's files.

    Args:
        message: Which file it is, what it holds, and what was expected.
        kind: A few words that files with the same mistake share.
    """

    def __init__(self, message: str, *, kind: str):
        super().__init__(message)
        self.kind = kind


class MissingFile(Problem, MissingError):
    """A file or folder that should be there."""


OnProblem = Callable[[Problem], None]


def refuse(problem: Problem) -> None:
    """Raises the problem."""
    raise problem


def name_some(names: list[str]) -> str:
    """Returns the first few names, and how many there are besides."""
    shown = ", ".join(names[:MAX_NAMED])
    return f"{shown} and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else shown


def list_folder(folder: Path) -> str:
    """Says in a line what a folder holds, for the message that something else was expected."""
    if not folder.is_dir():
        return f"{folder} is a file" if folder.exists() else f"there is no {folder}"
    names = [path.name + "/" * path.is_dir() for path in sorted(folder.iterdir())]
    return f"{folder} holds {name_some(names) if names else 'nothing'}"
