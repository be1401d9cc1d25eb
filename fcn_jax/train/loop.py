"""A run from its first step to its last, or from where it was stopped."""

import contextlib
import math
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from fcn_jax.data.datasets import get_dataset
from fcn_jax.errors import UserError
from fcn_jax.train import parallel
from fcn_jax.train.checkpoint import NotFiniteError, find_newest_step
from fcn_jax.train.clock import Clock
from fcn_jax.train.conditions import list_conditions
from fcn_jax.train.failure import find_not_finite
from fcn_jax.train.feed import Feed
from fcn_jax.train.interrupt import Interruption
from fcn_jax.train.listener import Listener
from fcn_jax.train.lock import lock_folder
from fcn_jax.train.options import TrainOptions
from fcn_jax.train.profile import Profile, no_profile
from fcn_jax.train.progress import Progress, Task
from fcn_jax.train.record import Launch, NoRecord, Record, open_record
from fcn_jax.train.run_data import RunData
from fcn_jax.train.run_folder import RunFolder
from fcn_jax.train.sections import make_paths_absolute
from fcn_jax.train.setup import Setup, check_config, make_batches, make_setup
from fcn_jax.train.state import TrainState
from fcn_jax.train.warm_start import check_source, init_from


class _Beginning(NamedTuple):
    """Where a launch starts.

    Attributes:
        state: State to go on from.
        is_scored: Whether that state has been scored.
        is_complete: Whether there is nothing left to do.
    """

    state: TrainState | None
    is_scored: bool
    is_complete: bool


def train(
    config: Mapping[str, Any],
    workdir: str | Path,
    *,
    experiment: str,
    command: str,
    accept_data: bool = False,
    listeners: Sequence[Listener] = (),
    profile: Profile | None = None,
) -> dict[str, Any] | None:
    """Trains an experiment in its run folder, going on from the newest checkpoint there.

    Of several processes that train together (see `world`) each calls this, with the same arguments
    and a folder that all of them see; process 0 alone writes into it.

    Args:
        config: Sections data, augment, model, init, loss, optim, train and eval, and the seed.
        workdir: The run folder; it is made if it is not there.
        experiment: Name of the experiment, for run.json.
        command: Command line, for run.json.
        accept_data: Whether a run may go on with other data of the same classes.
        listeners: Trackers that hear what the run notes.
        profile: Steps that jax's profiler looks at, if any.

    Returns:
        What the last evaluation reported; None if the run was complete before.

    Raises:
        KeyboardInterrupt: After a signal that asks for a stop, when a checkpoint has been saved.
    """
    run = RunFolder(workdir)
    config = check_config(config)
    start_step = parallel.share(find_newest_step(run.checkpoints_path))
    if not start_step and parallel.is_writer():
        check_source(**config["init"])
    config = make_paths_absolute(config)
    if start_step:
        run.open(config, has_steps=True)  # refuses another experiment's folder
    with (
        Progress(quiet=not parallel.is_writer()) as progress,
        Interruption(progress) as interruption,
        lock_folder(run.path, say=progress.say)
        if parallel.is_writer()
        else contextlib.nullcontext(),  # process 0 has it
    ):
        # Now that nobody else can save one.
        start_step = parallel.share(find_newest_step(run.checkpoints_path))
        launch = Launch(experiment, command, start_step)
        try:
            return _train_alone(
                config, run, launch, progress, interruption, accept_data, listeners, profile
            )
        except KeyboardInterrupt:
            step = find_newest_step(run.checkpoints_path)
            progress.say(
                f"stopped at step {step}; the same command goes on from there"
                if step
                else "stopped before the first step; nothing is lost"
            )
            raise


def _train_alone(
    config: Mapping[str, Any],
    run: RunFolder,
    launch: Launch,
    progress: Progress,
    interruption: Interruption,
    accept_data: bool,
    listeners: Sequence[Listener],
    profile: Profile | None,
) -> dict[str, Any] | None:
    """Trains in a folder that nobody else trains in."""
    start_step, open_data = launch.start_step, get_dataset
    if start_step:
        splits = {config["train"]["split"], config["eval"]["split"]}
        run_data = RunData(run, say=progress.say)
        open_data = partial(run_data.resume, splits=splits, accept=accept_data)
    setup = make_setup(config, open_data=open_data)
    _check_agreement(setup)
    with contextlib.ExitStack() as stack:
        batches = make_batches(
            config,
            setup.dataset,
            start_step=start_step,
            process_index=setup.devices.process_index,
            process_count=setup.devices.process_count,
        )
        stack.enter_context(contextlib.closing(batches))
        record, beginning = NoRecord(), None
        if parallel.is_writer():
            state = setup.state
            if not start_step:
                labels = setup.dataset.labels
                state = init_from(state, setup.model, labels=labels, **config["init"])
            record = stack.enter_context(
                open_record(setup, run, config, has_steps=start_step > 0, listeners=listeners)
            )
            beginning = _begin(setup, record, state, config, launch, progress)
        beginning = parallel.share(beginning)
        if beginning.is_complete:
            return None
        interruption.kept_step = start_step
        return _train(
            setup,
            record,
            setup.devices.replicate(beginning.state),
            Feed(batches, setup.devices),
            progress,
            interruption,
            profile,
            start_step=start_step,
            is_scored=beginning.is_scored,
            folder=run.path,
        )


def _check_agreement(setup: Setup) -> None:
    """Raises UserError if processes that train together would train something else each."""
    said = {**list_conditions(setup.config), "the data's fingerprint": setup.dataset.fingerprint}
    for index, theirs in enumerate(setup.devices.gather(said)):
        for key in sorted(said | theirs):
            if said.get(key) != theirs.get(key):
                raise UserError(
                    f"process {setup.devices.process_index} has {key}={said.get(key)} and process "
                    f"{index} {theirs.get(key)}: give all processes the same command, data and "
                    "version of fcn_jax"
                )


def _begin(
    setup: Setup,
    record: Record,
    state: TrainState,
    config: Mapping[str, Any],
    launch: Launch,
    progress: Progress,
) -> _Beginning:
    """Finds where the launch starts, and notes that it does."""
    start_step = launch.start_step
    is_scored = record.is_scored(start_step)
    if start_step >= setup.options.num_steps and is_scored:
        return _Beginning(None, is_scored, is_complete=True)
    for line in setup.describe():
        progress.say(line)
    if start_step:
        state = record.restore(start_step, like=state)
    record.begin(config, launch, is_scored=is_scored)
    return _Beginning(jax.device_get(state), is_scored, is_complete=False)


def _train(
    setup: Setup,
    record: Record | NoRecord,
    state: TrainState,
    feed: Feed,
    progress: Progress,
    interruption: Interruption,
    profile: Profile | None,
    *,
    start_step: int,
    is_scored: bool,
    folder: Path,
) -> dict[str, Any]:
    """Makes the steps after `start_step`; returns what the last evaluation reported.

    A state is saved before it is scored: nothing that happens in an evaluation loses a step, and a
    run that was stopped in between makes up for the evaluation when it goes on.
    """
    options, train_step, window = setup.options, setup.make_train_step(), []
    step, eval_s, together = start_step, 0.0, setup.devices.process_count > 1
    votes, sums = 0, {}  # of devices, for a stop

    def due(every: int) -> bool:
        return step == options.num_steps or (every > 0 and step > 0 and step % every == 0)

    def stop_is_due() -> bool:
        """Says whether to stop after this step: all processes after the same."""
        requested = votes > 0 if together else interruption.requested
        return requested and step < options.num_steps

    def evaluate() -> dict[str, Any]:
        with clock.pause("eval"):
            report = _evaluate(setup, record, state, step, progress, interruption)
        progress.say(_describe(report))
        return report

    def fail(step: int, sums: dict[str, Any], *, not_finite: str) -> UserError:
        ids = sums["ids"]
        return record.fail(step, sums, ids=ids, params=state.params, not_finite=not_finite)

    def note_launch() -> None:
        record.end(step, train_s=clock.train_s, eval_s=clock.paused_s("eval"))

    if start_step:
        progress.say(f"going on from step {start_step} of {folder}")
    clock = Clock()
    if due(options.eval_every) and not is_scored:
        report = evaluate()
        note_launch()
    if start_step < options.num_steps:
        progress.say("compiling ...")
    with (
        (profile.over if profile else no_profile)(start_step) as watch,
        progress.count(
            "step",
            done=start_step,
            total=options.num_steps,
            images_each=options.batch_size,
            clock=lambda: clock.train_s,
        ) as steps,
    ):
        for step in range(start_step + 1, options.num_steps + 1):
            watch(step)
            fed = feed.take()
            vote = setup.devices.vote(interruption.requested) if together else {}
            before = sums
            state, sums = train_step(state, {**fed.shards, **vote})
            sums["ids"] = fed.ids
            if step == start_step + 1:
                progress.say(f"compiled in {clock.train_s:.0f} s")
                interruption.defer()
            if step < options.num_steps:
                feed.fetch()
            votes = int(before.get(parallel.STOP, 0))  # waits for the step before
            window.append(sums)
            if window[1:]:  # a step that is counted is finished, and the device has the next one
                jax.block_until_ready(window[-2]["grad_norm"])
                steps.reach(step - 1)
            logging = due(options.log_every)
            stopping = stop_is_due()
            evaluating = due(options.eval_every) and not stopping
            saving = evaluating or stopping or due(options.checkpoint_every)

            if logging or saving:
                made = jax.device_get(window)
                if (index := find_not_finite(made)) is not None:
                    first = made[index]
                    what = "grad_norm" if math.isfinite(first["loss_sum"]) else "loss"
                    raise fail(step - len(made) + 1 + index, first, not_finite=what)
                entry = _summarize(made)
                steps.note = f"loss {entry['loss']:.4f}"
                steps.reach(step)
            if logging:
                images, lap_s = len(window) * options.batch_size, clock.lap()
                entry["images_per_s"] = round(images / lap_s, 2)
                shares = (round(min(1.0, seconds / lap_s), 4) for seconds in feed.lap())
                entry["read_share"], entry["copy_share"] = shares
                entry["learning_rate"] = float(setup.schedule(step - 1))
                record.log(step, entry)
                window = []
            if saving:
                jax.block_until_ready(state)
                try:
                    with clock.pause("save"):
                        record.save(step, state)
                except NotFiniteError as error:
                    raise fail(step, made[-1], not_finite=error.leaf) from error
                interruption.kept_step = step
            if evaluating:
                report = evaluate()
                eval_s = report["eval_s"]
            if logging or evaluating or stopping:
                note_launch()
            if saving and stop_is_due():
                parallel.share(None)  # until process 0 has saved
                raise KeyboardInterrupt
            steps.later_s = _count_evals(options, step) * (eval_s or _guess_eval_s(setup, steps))
    return report


def _evaluate(
    setup: Setup,
    record: Record | NoRecord,
    state: TrainState,
    step: int,
    progress: Progress,
    interruption: Interruption,
) -> dict[str, Any]:
    """Scores the state and files the scores, unless it is stopped; returns the report of it."""

    def count(num_images: int) -> None:
        images.reach(images.done + num_images)
        interruption.check()

    with progress.count(setup.config["eval"]["split"], total=setup.evaluator.num_images) as images:
        result = setup.evaluator.score(state.variables, on_batch=count)
    report = setup.evaluator.make_report(result, step=step)
    record.score(report, result)
    return report


def _count_evals(options: TrainOptions, step: int) -> int:
    """Counts the evaluations that come after a step."""
    every, last = options.eval_every or options.num_steps, options.num_steps
    return last // every - step // every + (last % every > 0 and step < last)


def _guess_eval_s(setup: Setup, steps: Task) -> float:
    """Guesses the seconds of an evaluation: an image costs a third of one that is trained on."""
    image_s = (steps.seconds_each or 0.0) / setup.options.batch_size
    return setup.evaluator.num_images * image_s / 3


def _describe(report: Mapping[str, Any]) -> str:
    return (
        f"step {report['step']}: {report['split']} mean IoU {report['mean_iou']:.4f}  "
        f"pixel accuracy {report['pixel_acc']:.4f}  ({report['eval_s']:.0f} s)"
    )


def _summarize(window: list[dict[str, Any]]) -> dict[str, float]:
    """Reduces the sums of some steps: the mean loss of all their pixels, the largest gradient."""
    count = math.fsum(float(sums["count"]) for sums in window)
    loss_sum = math.fsum(float(sums["loss_sum"]) for sums in window)
    return {
        "loss": loss_sum / count if count else 0.0,
        "grad_norm": float(np.max([sums["grad_norm"] for sums in window])),  # NaN if one is
    }
