"""Checkpoints: the newest, to go on from, and the best, to use.

States are saved as host arrays, without a trace of the devices they came from, so that a run of
eight devices can be resumed on one.

checkpoints/<step>/state/           the arrays, as Orbax writes them
checkpoints/<step>/checksums.json   CRC-32 of every file; runs of before have none
checkpoints/<step>/metrics/metrics  the mean IoU of the state, once it is known
checkpoints/<step>.new, <step>.old  half written, half removed

A folder that has the name of a step was written, read back and compared before it got the name.
"""

import json
import math
import re
import shlex
import shutil
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from fcn_jax.atomic_file import as_system_error, sync, write_text
from fcn_jax.errors import MissingError, UserError
from fcn_jax.train import parallel
from fcn_jax.train.json_file import parse
from fcn_jax.train.seal import Damage, check_seal, seal
from fcn_jax.train.state import name_leaves
from fcn_jax.train.state_files import StateFiles

_STEP = re.compile(r"0|[1-9][0-9]*")
_HALF = re.compile(r"[0-9]+\.(new|old|orbax-checkpoint-tmp).*")


class NotFiniteError(UserError):
    """A state that is not saved, since the values of `leaf` are not finite."""

    def __init__(self, message: str, *, leaf: str):
        super().__init__(message)
        self.leaf = leaf


class Checkpoints:
    """The checkpoints of one run folder. Close it when done.

    Args:
        folder: Folder of the checkpoints.
        read_only: Whether the caller only reads; then a training that is writing is left in peace.

    Raises:
        MissingError: If the caller only reads and there is no checkpoint.
        UserError: If Orbax cannot write to such a path here.
    """

    def __init__(self, folder: Path, *, read_only: bool = False):
        self._folder = Path(folder).absolute()
        if read_only and not has_checkpoint(self._folder):
            raise MissingError(f"there is no checkpoint in {self._folder}; train first")
        if not read_only:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._remove_halves()
        self._files = StateFiles(self._folder)

    def save(self, step: int, state: Any) -> None:
        """Saves a replicated state; then removes what is neither the newest nor the best.

        Raises:
            NotFiniteError: If a value is not finite.
            UserError: If what was written cannot be read back. The checkpoints of before are kept.
        """
        state = parallel.host_copy(state)
        leaves = name_leaves(state)
        self._check_finite(step, leaves)
        written = f"{step}.new"
        try:
            self._files.write(written, state)
            if differing := _find_differing(leaves, name_leaves(self._files.read(written))):
                raise UserError(
                    f"checkpoint {step} does not come back from {self._folder} as it was written: "
                    f"{differing} differs; {self._describe_kept()}\n"
                    "check the disk, and give the same command again"
                )
            seal(self._folder / written)
            (self._folder / written).rename(self._folder / str(step))
            sync(self._folder)
        except Exception as error:
            self._remove_halves()
            if isinstance(error, OSError) and error.filename is not None:
                error.filename = self._files.name_plainly(error.filename)
            raise as_system_error(error, self._folder) from error
        self._prune()

    def score(self, step: int, mean_iou: float) -> None:
        """Notes the mean IoU of a checkpoint, which decides which is the best; NaN never is."""
        file = self._score_file(step)
        file.parent.mkdir(exist_ok=True)
        text = json.dumps(mean_iou)
        write_text(file, f'{{"mean_iou": {text}, "crc32": "{zlib.crc32(text.encode()):08x}"}}\n')
        self._prune()

    def is_scored(self, step: int) -> bool:
        """Says whether the mean IoU of a checkpoint is known."""
        try:
            return self._read_score(step) is not None
        except UserError:  # damaged: it has to be found again
            return False

    def check_latest(self) -> tuple[int | None, str]:
        """Reads the newest checkpoint; returns its step if it is of use, and says which is kept."""
        step = self.latest_step
        if step is None:
            return None, self._describe_kept()
        try:
            leaf = _find_not_finite(name_leaves(self._read(step)))
        except Damage as damage:
            return None, f"{self._describe_kept()}, and it is damaged: {damage}"
        if leaf:
            return None, f"{self._describe_kept()}, but {leaf} in it is not finite"
        return step, f"{self._describe_kept()}, its values are finite"

    @property
    def latest_step(self) -> int | None:
        """The newest checkpoint's step; None if there is none."""
        return max(list_steps(self._folder), default=None)

    def find_step(self, which: str) -> int:
        """Returns the step of `last`, `best`, or a number as text.

        Raises:
            UserError: If there is no such checkpoint.
        """
        steps = list_steps(self._folder)
        if which == "last" and steps:
            return steps[-1]
        if which == "best" and steps:
            return max(steps, key=lambda step: (_rank(self._read_score(step)), step))
        if _STEP.fullmatch(which) and int(which) in steps:
            return int(which)
        raise UserError(
            f"no checkpoint {which!r} in {self._folder}; there are: last, best, "
            f"{', '.join(map(str, steps))}"
        )

    def read_variables(self, which: str) -> tuple[int, dict[str, Any]]:
        """Reads the params and batch_stats of a network, as host arrays.

        Args:
            which: `last`, `best`, or a step as text.

        Returns:
            The step, and the variables.
        Raises:
            UserError: If there is no such checkpoint, or it is damaged.
        """
        while True:
            step = self.find_step(which)
            try:
                state = self._read(step)
            except Damage as damage:
                if (self._folder / str(step)).exists():
                    raise self._explain(step, damage) from damage
                # A training has removed it, and saved a newer one before that.
            else:
                return step, {name: state[name] or {} for name in ("params", "batch_stats")}

    def restore(self, step: int, like: Any) -> Any:
        """Reads a state of the same shapes as `like`, as host arrays.

        Raises:
            UserError: If the checkpoint is damaged, or is of another network.
        """
        try:
            there, here = name_leaves(self._read(step)), name_leaves(like)
        except Damage as damage:
            raise self._explain(step, damage) from damage
        for name in sorted(there | here):
            theirs, ours = (_describe(leaves.get(name)) for leaves in (there, here))
            if theirs != ours:
                raise UserError(
                    f"checkpoint {step} in {self._folder} does not fit this network: {name} is "
                    f"{theirs} there, {ours} here\ngive the config.json that it was trained "
                    "with, or "
                    "train in another --workdir"
                )
        return jax.tree.unflatten(jax.tree.structure(like), [there[name] for name in here])

    def close(self) -> None:
        """Lets go of the folder."""
        self._files.close()

    def _remove_halves(self) -> None:
        """Removes what a kill or a full disk left."""
        for path in self._folder.iterdir():
            if _HALF.fullmatch(path.name):
                shutil.rmtree(path, ignore_errors=True)

    def _read(self, step: int) -> Any:
        """Reads a state, and finds before that its files are those that were saved."""
        check_seal(self._folder / str(step))
        try:
            state = self._files.read(str(step))
        except (PermissionError, MemoryError):
            raise
        except Exception as error:  # of any kind: whatever a parser says of what it cannot read
            raise Damage(self._files.name_plainly(_first_line(error))) from error
        if not isinstance(state, dict) or not {"params", "batch_stats"} <= state.keys():
            raise Damage("it lacks params or batch_stats")
        return state

    def _explain(self, step: int, damage: Damage) -> UserError:
        """Makes the answer to damage: which checkpoint is whole, and how to go on from it."""
        others = [other for other in list_steps(self._folder) if other != step]
        whole = next(filter(self._is_whole, reversed(others)), None)
        remove = f"remove the damaged one: rm -r {shlex.quote(str(self._folder / str(step)))}"
        way_out = (
            f"no other checkpoint there is whole; to train from the beginning, {remove}"
            if whole is None
            else f"checkpoint {whole} is whole: step={whole} reads it; to go on from it, {remove}"
        )
        return UserError(f"checkpoint {step} in {self._folder} is damaged: {damage}\n{way_out}")

    def _is_whole(self, step: int) -> bool:
        try:
            self._read(step)
        except Damage:
            return False
        return True

    def _check_finite(self, step: int, leaves: Mapping[str, np.ndarray]) -> None:
        if leaf := _find_not_finite(leaves):
            raise NotFiniteError(
                f"{leaf} is not finite after step {step}: the state is not saved in "
                f"{self._folder}, and {self._describe_kept()}\n"
                "lower optim.learning_rate and train in another --workdir",
                leaf=leaf,
            )

    def _describe_kept(self) -> str:
        latest = self.latest_step
        return "there is no checkpoint yet" if latest is None else f"checkpoint {latest} is kept"

    def _prune(self) -> None:
        steps = list_steps(self._folder)
        try:
            kept = {steps[-1], self.find_step("best")}
        except UserError:  # not known which is the best, until it is scored again
            return
        for step in {*steps} - kept:
            gone = self._folder / f"{step}.old"
            (self._folder / str(step)).rename(gone)  # a half of it is never taken for a whole
            shutil.rmtree(gone)

    def _score_file(self, step: int) -> Path:
        return self._folder / str(step) / "metrics" / "metrics"

    def _read_score(self, step: int) -> float | None:
        """Reads the mean IoU of a checkpoint; None if it is not known."""
        file = self._score_file(step)
        try:
            entry = parse(file.read_bytes())
        except FileNotFoundError:
            return None
        except ValueError:
            entry = {}
        score = entry.get("mean_iou")
        checksum = f"{zlib.crc32(json.dumps(score).encode()):08x}"
        # Runs of before have no checksum here, and -Infinity for what is not known.
        if (
            not isinstance(score, int | float)
            or entry.keys() - {"mean_iou", "crc32"}
            or entry.get("crc32", checksum) != checksum
        ):
            raise UserError(
                f"{file} is damaged: it does not say the score of checkpoint {step}, so nobody "
                "knows which is the best\n"
                f"--step=last and --step=NUMBER need no score; there are: "
                f"{', '.join(map(str, list_steps(self._folder)))}"
            )
        return None if score == -math.inf else float(score)


def has_checkpoint(folder: Path) -> bool:
    """Tells whether there is a checkpoint in a folder."""
    return bool(list_steps(folder))


def find_newest_step(folder: Path) -> int:
    """Returns the step of the newest checkpoint in a folder; 0 if there is none."""
    return max(list_steps(folder), default=0)


def list_steps(folder: Path) -> list[int]:
    """Lists the steps of all checkpoints in a folder, in order."""
    found = folder.iterdir() if folder.is_dir() else ()
    return sorted(int(path.name) for path in found if _STEP.fullmatch(path.name) and path.is_dir())


def _find_differing(written: Mapping[str, np.ndarray], read: Mapping[str, np.ndarray]) -> str:
    """Returns the first leaf that has other bits than before; '' if none has."""
    for name in sorted(written | read):
        leaves = [tree.get(name) for tree in (written, read)]
        if _describe(leaves[0]) != _describe(leaves[1]) or not np.array_equal(*map(_bits, leaves)):
            return name
    return ""


def _find_not_finite(leaves: Mapping[str, np.ndarray]) -> str:
    """Returns the first leaf with a value that is not finite; '' if there is none."""
    return next((name for name, leaf in leaves.items() if not np.isfinite(leaf).all()), "")


def _bits(leaf: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(leaf).reshape(-1).view(f"u{leaf.dtype.itemsize}")


def _describe(leaf: Any) -> str:
    return "missing" if leaf is None else f"{leaf.shape} {leaf.dtype}"


def _rank(score: float | None) -> float:
    return -math.inf if score is None or math.isnan(score) else score


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)[:200]
