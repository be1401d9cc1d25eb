"""What a run keeps of what happens: its small files, its checkpoints, and who else listens.

Of several processes that train together, process 0 has the record, and the others a `NoRecord`:
they compute the same numbers and keep nothing.
"""

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from fcn_jax.errors import UserError
from fcn_jax.models.layer_table import finest_stride, output_stride
from fcn_jax.train.checkpoint import Checkpoints
from fcn_jax.train.failure import Failure, mean_loss, norms_by_layer
from fcn_jax.train.listener import Listener
from fcn_jax.train.run_folder import RunFolder
from fcn_jax.train.setup import Setup
from fcn_jax.train.state import TrainState, name_leaves
from fcn_jax.train.tally import Evaluation

_LOGGED = ("split", "step", "mean_iou", "pixel_acc", "mean_acc", "fw_iou", "loss")


@dataclass(frozen=True)
class Launch:
    """How a run was started, for run.json."""

    experiment: str
    command: str
    start_step: int


class Record:
    """The record of one launch of a run. Close it when done.

    Args:
        setup: What the run is made of.
        run: Its folder.
        listeners: Trackers that hear what the run notes.
    """

    def __init__(self, setup: Setup, run: RunFolder, listeners: Sequence[Listener]):
        self._setup, self._run, self._listeners = setup, run, listeners
        self._checkpoints = Checkpoints(run.checkpoints_path)

    def is_scored(self, step: int) -> bool:
        """Says whether the checkpoint of a step has been scored."""
        return self._checkpoints.is_scored(step)

    def restore(self, step: int, like: TrainState) -> TrainState:
        """Reads a state of the same shapes as `like`, as host arrays."""
        return self._checkpoints.restore(step, like=like)

    def begin(self, config: Mapping[str, Any], launch: Launch, *, is_scored: bool) -> None:
        """Notes that a launch starts, and drops what was noted after its first step."""
        setup, run, step = self._setup, self._run, launch.start_step
        run.write_config(config)
        run.rewind_log(step, is_scored=is_scored)
        labels = setup.dataset.labels
        run.begin_launch(
            launch.command,
            devices=setup.devices.names,
            start_step=step,
            config=config,
            experiment=launch.experiment,
            seed=config["seed"],
            num_classes=labels.num_classes,
            labels=labels.to_dict(),
            data_fingerprint=setup.dataset.fingerprint,
            num_params=sum(leaf.size for leaf in jax.tree.leaves(setup.state.params)),
            output_stride=output_stride(setup.rows),
            finest_stride=finest_stride(setup.rows),
        )

    def log(self, step: int, entry: Mapping[str, Any]) -> None:
        """Notes the numbers of the last steps."""
        self._run.log(kind="train", split=self._setup.options.split, step=step, **entry)
        for listener in self._listeners:
            listener.on_log(step, entry)

    def save(self, step: int, state: TrainState) -> None:
        """Saves a state.

        Raises:
            NotFiniteError: If a value is not finite.
        """
        self._checkpoints.save(step, state)
        self._run.remove_failure(up_to=step)

    def score(self, report: Mapping[str, Any], result: Evaluation) -> None:
        """Files an evaluation, and has the checkpoint of its step know its score."""
        labels = self._setup.dataset.labels
        colors = np.asarray(labels.colors)
        self._run.write_eval(report, result.samples, images=result.images, colors=colors)
        self._run.log(kind="eval", **{key: report[key] for key in _LOGGED})
        for listener in self._listeners:
            listener.on_eval(report, result.samples, labels)
        self._checkpoints.score(report["step"], report["mean_iou"])

    def end(self, step: int, **seconds: float) -> None:
        """Completes what is noted of this launch, as far as it has come."""
        rounded = {key: round(value, 1) for key, value in seconds.items()}
        peak_bytes = self._setup.devices.peak_bytes
        memory = {} if peak_bytes is None else {"peak_bytes": peak_bytes}
        self._run.end_launch(end_step=step, **rounded, **memory)

    def fail(
        self,
        step: int,
        sums: Mapping[str, Any],
        *,
        ids: Sequence[str],
        params: Any,
        not_finite: str,
    ) -> UserError:
        """Notes the step that ends the run, since it was not finite; returns what to tell.

        Args:
            step: Number of the step.
            sums: What it computed.
            ids: Images of its batch.
            params: Parameters after some step, for their names.
            not_finite: What of it was not finite; see `Failure`.
        """
        kept_step, kept = self._checkpoints.check_latest()
        names, layers = name_leaves(params), [row.name for row in self._setup.rows]
        failure = Failure(
            step=step,
            not_finite=not_finite,
            learning_rate=float(self._setup.schedule(step - 1)),
            loss=mean_loss(sums),
            grad_norm=float(sums["grad_norm"]),
            grad_norms=norms_by_layer(sums["grad_squares"], names, layers),
            ids=list(ids),
            kept_step=kept_step,
            kept=kept,
        )
        run = self._run
        try:
            run.write_failure(failure)
            noted = f"{run.failure_file.name} has all of it"
        except OSError as error:  # what happened is said all the same
            noted = f"{run.failure_file} could not be written: {error.strerror}"
        return UserError(failure.describe(run.path, noted=noted))

    def close(self) -> None:
        """Lets go of the files."""
        self._checkpoints.close()


class NoRecord:
    """What a process has that is not the one that writes."""

    def log(self, step: int, entry: Mapping[str, Any]) -> None:
        """Notes nothing."""

    def save(self, step: int, state: TrainState) -> None:
        """Saves nothing: all processes have the same state, and process 0 saves it."""

    def score(self, report: Mapping[str, Any], result: Evaluation) -> None:
        """Files nothing."""

    def end(self, step: int, **seconds: float) -> None:
        """Notes nothing."""

    def fail(self, step: int, sums: Mapping[str, Any], **facts: Any) -> UserError:
        """Returns what to tell; process 0 tells all of it."""
        return UserError(f"step {step} is not finite; process 0 says more")


@contextlib.contextmanager
def open_record(
    setup: Setup,
    run: RunFolder,
    config: Mapping[str, Any],
    *,
    has_steps: bool,
    listeners: Sequence[Listener],
) -> Iterator[Record]:
    """Claims a run folder for a config, and opens the record of a launch in it."""
    run.open(config, has_steps=has_steps)
    if not has_steps:  # perhaps of another config
        run.remove_failure(up_to=math.inf)
    with contextlib.closing(Record(setup, run, listeners)) as record:
        yield record
