"""What is said to a user.

Whoever finds a mistake of the user's raises one of these: the door prints its message, without a
traceback, and ends with exit code 2. Every other exception is a bug.
"""

import difflib
from collections.abc import Iterable

# What people type who come from elsewhere.
ABBREVIATIONS = {
    "lr": "learning_rate",
    "base_lr": "learning_rate",
    "wd": "weight_decay",
    "bs": "batch_size",
    "batch": "batch_size",
    "steps": "num_steps",
    "iters": "num_steps",
    "iterations": "num_steps",
    "max_iter": "num_steps",
    "optimizer": "optim",
    "dataset": "data",
    "dilation": "rates",
    "os": "output_stride",
    "crop": "crop_size",
    "flip": "flip_prob",
    "threads": "num_threads",
    "workers": "num_workers",
}


class UserError(ValueError):
    """A mistake of the user's: the message says what, where, what was expected and what to do."""


class MissingError(UserError, FileNotFoundError):
    """A file, a folder or a build that should be there is not."""


def counted(number: int, noun: str) -> str:
    """Returns a number with its noun, such as '1 image' and '2 images'."""
    return f"{number:,} {noun}{'s' * (number != 1)}"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Returns '; did you mean X?' for the known word nearest to `word`, '' if none is near.

    Of a dotted key, the last name counts: first among those of its section, then among all. (Whole
    keys of one section are always alike.)
    """
    known = list(known)
    section, _, leaf = word.rpartition(".")
    leaf = ABBREVIATIONS.get(leaf, leaf)
    same = [key for key in known if key.rpartition(".")[2] == leaf]
    beside = [key for key in known if section and key.rpartition(".")[0] == section]
    near = (
        _nearest_leaf(leaf, beside)
        or difflib.get_close_matches(word, same, n=1, cutoff=0.0)
        or _nearest_leaf(leaf, known)
    )
    return f"; did you mean {near[0]}?" if near else ""


def _nearest_leaf(leaf: str, keys: list[str]) -> list[str]:
    leaves = {key.rpartition(".")[2]: key for key in keys}
    return [leaves[name] for name in difflib.get_close_matches(leaf, leaves, n=1, cutoff=0.55)]
