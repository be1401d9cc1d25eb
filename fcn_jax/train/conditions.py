"""What a run computes from, and whether another config may go on with it."""

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fcn_jax.atomic_file import local_path
from fcn_jax.errors import UserError, counted
from fcn_jax.train.json_file import plain
from fcn_jax.train.sections import NEUTRAL, PATHS, as_flag, flatten

# Whose rates do not depend on the length of the run, so that it may become longer.
ENDLESS_SCHEDULES = ("constant", "step")

# Warnings that this process has given.
_told: set[str] = set()


def list_conditions(config: Mapping[str, Any]) -> dict[str, Any]:
    """Lists what a run computes from, {"section.key": value}: all but the `NEUTRAL` keys.

    Values are as JSON has them: a tuple is the list that it is written as.
    """
    flat = flatten(json.loads(json.dumps(config, default=plain)))
    return {key: value for key, value in flat.items() if key not in NEUTRAL}


def warn_of_changes(file: Path, noted: Any, config: Mapping[str, Any]) -> None:
    """Warns, once in a process, of a config that is no longer the one that a run was launched with.

    Args:
        file: Where the config lies.
        noted: Conditions that the launch noted elsewhere; those of older versions noted none.
        config: The config as it lies there.
    """
    if not isinstance(noted, dict):
        return
    found = list_conditions(config)
    changed = [key for key in noted if found.get(key, ...) != noted[key]]
    if not changed:
        return
    how = [f"{key} is {found.get(key)!r} and was {noted[key]!r}" for key in changed[:3]]
    warning = f"warning: {file} was changed since the run was launched: {'; '.join(how)}"
    if changed[3:]:
        warning += f" (and {counted(len(changed) - 3, 'more key')})"
    if warning not in _told:
        _told.add(warning)
        print(warning, file=sys.stderr)


def refuse_other(folder: Path, kept: Mapping[str, Any], config: Mapping[str, Any]) -> None:
    """Raises UserError, with the ways on, unless a config goes on with a run.

    Args:
        folder: The run folder.
        kept: Resolved config of the run.
        config: Resolved config that is to go on with it.
    """
    theirs, ours = list_conditions(kept), list_conditions(config)
    differing = [
        key
        for key in sorted(theirs | ours, key=lambda key: (not key.endswith(".name"), key))
        if _place(key, theirs.get(key, ...)) != _place(key, ours.get(key, ...))
    ]
    is_longer = ours["train.num_steps"] > theirs["train.num_steps"]
    schedule = ours["optim.schedule"]
    if not differing or (
        differing == ["train.num_steps"] and is_longer and schedule in ENDLESS_SCHEDULES
    ):
        return
    key = differing[0]
    there, here = (repr(values[key]) if key in values else "not said" for values in (theirs, ours))
    more = f" (and {counted(len(differing) - 1, 'more key')})" if differing[1:] else ""
    why = ""
    if differing == ["train.num_steps"] and is_longer:
        why = f"; optim.schedule={schedule} falls to its end there"
    values = flatten(kept)
    flags = [as_flag(key, values[key]) for key in differing if key in values]
    same = "the values of its config.json" if flags[3:] or not flags else " ".join(flags)
    new = "a new run takes --workdir=NEW"
    # What a network is like, and where it begins, decide whether it can begin at this run.
    if not any(key.partition(".")[0] in ("data", "model", "init") for key in differing):
        begin = as_flag("init.workdir", str(folder))
        new = f"a new run that begins at its parameters takes --workdir=NEW {begin}"
    raise UserError(
        f"{folder} belongs to another experiment: {key} is {there} there and {here} here"
        f"{more}{why}\nto go on with it give {same}; {new}"
    )


def _place(key: str, value: Any) -> Any:
    """Returns a value as it is compared: a path by the place that it leads to."""
    if key in PATHS and isinstance(value, str) and value:
        return os.path.realpath(local_path(value))
    return value
