"""Checkpoints: the newest, to go on from, and the best, to use.

States are saved as host arrays, without a trace of the devices they came from, so that a run of
eight devices can be resumed on one.
"""

import math
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from fcn_jax.errors import MissingError, UserError
from fcn_jax.train import parallel

_METRIC = "mean_iou"


class Checkpoints:
    """The checkpoints of one run folder. Close it when done.

    Args:
        folder: Folder of the checkpoints.
        read_only: Whether the caller only reads; then a training that is writing is left in peace.

    Raises:
        MissingError: If the caller only reads and there is no checkpoint.
    """

    def __init__(self, folder: Path, *, read_only: bool = False):
        self._folder = Path(folder).absolute()
        if read_only and not has_checkpoint(self._folder):
            raise MissingError(f"there is no checkpoint in {self._folder}; train first")
        keep = ocp.checkpoint_managers

        # BestN alone would delete the newest one whenever it is not the best.
        policy = keep.AnyPreservationPolicy([keep.LatestN(1), keep.BestN(n=1, get_metric_fn=_rank)])
        options = ocp.CheckpointManagerOptions(
            best_fn=_rank,
            preservation_policy=policy,
            create=not read_only,
            cleanup_tmp_directories=not read_only,  # of a run that was killed, or of one that runs
            enable_async_checkpointing=False,
        )
        self._manager = ocp.CheckpointManager(self._folder, options=options, item_names=("state",))

    def save(self, step: int, state: Any, *, mean_iou: float | None = None) -> None:
        """Saves a replicated state; one without a score is never the best."""
        metrics = {_METRIC: -math.inf if mean_iou is None or math.isnan(mean_iou) else mean_iou}
        saved = self._manager.save(
            step,
            args=ocp.args.Composite(state=ocp.args.StandardSave(parallel.host_copy(state))),
            metrics=metrics,
            force=True,
        )
        if not saved:
            raise RuntimeError(f"checkpoint {step} was not saved in {self._folder}")

    @property
    def latest_step(self) -> int | None:
        """The newest checkpoint's step; None if there is none."""
        return self._manager.latest_step()

    def read_variables(self, step: int) -> dict[str, Any]:
        """Reads the params and batch_stats of a network, as host arrays."""
        item = ocp.args.Composite(state=ocp.args.StandardRestore())
        state = self._manager.restore(step, args=item)["state"]
        return {name: state[name] or {} for name in ("params", "batch_stats")}

    def find_step(self, which: str) -> int:
        """Returns the step of `last`, `best`, or a number as text.

        Raises:
            UserError: If there is no such checkpoint.
        """
        steps = sorted(self._manager.all_steps())
        if which == "last":
            return steps[-1]
        if which == "best":
            return self._manager.best_step()
        if which.isdigit() and int(which) in steps:
            return int(which)
        raise UserError(
            f"no checkpoint {which!r} in {self._folder}; there are: last, best, "
            f"{', '.join(map(str, steps))}"
        )

    def restore(self, step: int, like: Any) -> Any:
        """Reads a state of the same shapes as `like`, as host arrays.

        Raises:
            UserError: If the checkpoint is of another network.
        """
        target = parallel.host_copy(like)
        try:
            restored = self._manager.restore(
                step, args=ocp.args.Composite(state=ocp.args.StandardRestore(target))
            )
        except (ValueError, KeyError, TypeError) as error:
            raise self._misfit(step, str(error).strip().splitlines()[0][:200]) from error
        # Orbax restores whatever shape it finds.
        self._check_shapes(step, restored["state"], like=target)
        return restored["state"]

    def _check_shapes(self, step: int, found: Any, *, like: Any) -> None:
        theirs, ours = (
            {_name(path): leaf.shape for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}
            for tree in (found, like)
        )
        for name in sorted(theirs | ours):
            if theirs.get(name) != ours.get(name):
                there, here = (shapes.get(name, "missing") for shapes in (theirs, ours))
                raise self._misfit(step, f"{name} is {there} there, {here} here")

    def _misfit(self, step: int, reason: str) -> UserError:
        return UserError(f"checkpoint {step} in {self._folder} does not fit this network: {reason}")

    def close(self) -> None:
        """Waits until everything is written."""
        self._manager.close()


def _name(path: tuple) -> str:
    return "/".join(str(getattr(key, "key", getattr(key, "name", key))) for key in path)


def _rank(metrics: dict[str, float]) -> float:
    return metrics[_METRIC]


def has_checkpoint(folder: Path) -> bool:
    """Tells whether there is a checkpoint in a folder."""
    return find_newest_step(folder) > 0


def find_newest_step(folder: Path) -> int:
    """Returns the step of the newest checkpoint in a folder; 0 if there is none."""
    return max(ocp.utils.checkpoint_steps(folder), default=0) if folder.is_dir() else 0
