"""A run from its first step to its last, or from where it was stopped."""

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from fcn_jax.data.datasets import get_dataset
from fcn_jax.errors import UserError
from fcn_jax.models.layer_table import finest_stride, output_stride
from fcn_jax.train.checkpoint import Checkpoints, NotFiniteError, find_newest_step
from fcn_jax.train.clock import Clock
from fcn_jax.train.failure import Failure, find_not_finite, mean_loss, norms_by_layer
from fcn_jax.train.interrupt import Interruption
from fcn_jax.train.listener import Listener
from fcn_jax.train.lock import lock_folder
from fcn_jax.train.progress import Progress, Task
from fcn_jax.train.run_data import RunData
from fcn_jax.train.run_folder import RunFolder
from fcn_jax.train.sections import TrainOptions, make_paths_absolute
from fcn_jax.train.setup import Setup, check_config, make_batches, make_setup
from fcn_jax.train.state import TrainState, name_leaves
from fcn_jax.train.warm_start import check_source, init_from


def train(
    config: Mapping[str, Any],
    workdir: str | Path,
    *,
    experiment: str,
    command: str,
    accept_data: bool = False,
    listeners: Sequence[Listener] = (),
) -> dict[str, Any] | None:
    """Trains an experiment in its run folder, going on from the newest checkpoint there.

    Args:
        config: Sections data, augment, model, init, loss, optim, train and eval, and the seed.
        workdir: The run folder; it is made if it is not there.
        experiment: Name of the experiment, for run.json.
        command: Command line, for run.json.
        accept_data: Whether a run may go on with other data of the same classes.
        listeners: Trackers that hear what the run notes.

    Returns:
        What the last evaluation reported; None if the run was complete before.

    Raises:
        KeyboardInterrupt: After a signal that asks for a stop, when a checkpoint has been saved.
    """
    run = RunFolder(workdir)
    config = check_config(config)
    start_step = find_newest_step(run.checkpoints_path)
    if not start_step:
        check_source(**config["init"])
    config = make_paths_absolute(config)
    if start_step:
        run.open(config, has_steps=True)  # refuses another experiment's folder
    with (
        Progress() as progress,
        Interruption(progress) as interruption,
        lock_folder(run.path, say=progress.say),
    ):
        try:
            return _train_alone(
                config, run, progress, interruption, experiment, command, accept_data, listeners
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
    progress: Progress,
    interruption: Interruption,
    experiment: str,
    command: str,
    accept_data: bool,
    listeners: Sequence[Listener],
) -> dict[str, Any] | None:
    """Trains in a folder that no other process trains in."""
    start_step, open_data = find_newest_step(run.checkpoints_path), get_dataset
    if start_step:
        splits = {config["train"]["split"], config["eval"]["split"]}
        run_data = RunData(run, say=progress.say)
        open_data = partial(run_data.resume, splits=splits, accept=accept_data)
    setup = make_setup(config, open_data=open_data)
    options, state = setup.options, setup.state
    batches = make_batches(config, setup.dataset, start_step=start_step)
    if not start_step:
        state = init_from(state, setup.model, labels=setup.dataset.labels, **config["init"])
    run.open(config, has_steps=start_step > 0)
    if not start_step:  # perhaps of another config
        run.remove_failure(up_to=math.inf)
    checkpoints = Checkpoints(run.checkpoints_path)
    with contextlib.closing(checkpoints), contextlib.closing(batches):
        is_scored = checkpoints.is_scored(start_step)
        if start_step >= options.num_steps and is_scored:
            return None
        for line in setup.describe():
            progress.say(line)
        if start_step:
            state = checkpoints.restore(start_step, like=state)
        run.write_config(config)
        run.rewind_log(start_step, is_scored=is_scored)
        run.begin_launch(
            command,
            devices=setup.devices.names,
            start_step=start_step,
            experiment=experiment,
            seed=config["seed"],
            num_classes=setup.dataset.labels.num_classes,
            labels=setup.dataset.labels.to_dict(),
            data_fingerprint=setup.dataset.fingerprint,
            num_params=sum(leaf.size for leaf in jax.tree.leaves(state.params)),
            output_stride=output_stride(setup.rows),
            finest_stride=finest_stride(setup.rows),
        )
        state = setup.devices.replicate(state)
        interruption.kept_step = start_step
        return _train(
            setup,
            run,
            checkpoints,
            state,
            batches,
            progress,
            interruption,
            start_step=start_step,
            is_scored=is_scored,
            listeners=listeners,
        )


def _train(
    setup: Setup,
    run: RunFolder,
    checkpoints: Checkpoints,
    state: TrainState,
    batches: Iterator[dict],
    progress: Progress,
    interruption: Interruption,
    *,
    start_step: int,
    is_scored: bool,
    listeners: Sequence[Listener],
) -> dict[str, Any]:
    """Makes the steps after `start_step`; returns what the last evaluation reported.

    A state is saved before it is scored: nothing that happens in an evaluation loses a step, and a
    run that was stopped in between makes up for the evaluation when it goes on.
    """
    options, train_step, window = setup.options, setup.make_train_step(), []
    step, eval_s = start_step, 0.0

    def due(every: int) -> bool:
        return step == options.num_steps or (every > 0 and step > 0 and step % every == 0)

    def evaluate() -> dict[str, Any]:
        with clock.pause("eval"):
            report = _evaluate(setup, run, state, step, progress, interruption, listeners)
            checkpoints.score(step, report["mean_iou"])
        progress.say(_describe(report))
        return report

    def fail(step: int, sums: dict[str, Any], *, not_finite: str) -> UserError:
        kept_step, kept = checkpoints.check_latest()
        failure = Failure(
            step=step,
            not_finite=not_finite,
            learning_rate=float(setup.schedule(step - 1)),
            loss=mean_loss(sums),
            grad_norm=float(sums["grad_norm"]),
            grad_norms=norms_by_layer(
                sums["grad_squares"], name_leaves(state.params), [row.name for row in setup.rows]
            ),
            ids=sums["ids"].tolist(),
            kept_step=kept_step,
            kept=kept,
        )
        try:
            run.write_failure(failure)
            noted = f"{run.failure_file.name} has all of it"
        except OSError as error:  # what happened is said all the same
            noted = f"{run.failure_file} could not be written: {error.strerror}"
        return UserError(failure.describe(run.path, noted=noted))

    def note_launch() -> None:
        seconds = {"train_s": clock.train_s, "eval_s": clock.paused_s("eval")}
        run.end_launch(end_step=step, **{key: round(s, 1) for key, s in seconds.items()})

    if start_step:
        progress.say(f"going on from step {start_step} of {run.path}")
    clock = Clock()
    if due(options.eval_every) and not is_scored:
        report = evaluate()
        note_launch()
    if start_step < options.num_steps:
        progress.say("compiling ...")
    with progress.count(
        "step",
        done=start_step,
        total=options.num_steps,
        images_each=options.batch_size,
        clock=lambda: clock.train_s,
    ) as steps:
        for step in range(start_step + 1, options.num_steps + 1):
            batch = next(batches)
            state, sums = train_step(state, setup.devices.shard(batch))
            sums["ids"] = batch["ids"]
            if step == start_step + 1:
                progress.say(f"compiled in {clock.train_s:.0f} s")
                interruption.defer()
            window.append(sums)
            if window[1:]:  # a step that is counted is finished, and the device has the next one
                jax.block_until_ready(window[-2]["grad_norm"])
                steps.reach(step - 1)
            stopping = interruption.requested and step < options.num_steps
            logging = due(options.log_every)
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
                images = len(window) * options.batch_size
                entry["images_per_s"] = round(images / clock.lap(), 2)
                entry["learning_rate"] = float(setup.schedule(step - 1))
                run.log(kind="train", split=options.split, step=step, **entry)
                for listener in listeners:
                    listener.on_log(step, entry)
                window = []
            if saving:
                jax.block_until_ready(state)
                try:
                    with clock.pause("save"):
                        checkpoints.save(step, state)
                except NotFiniteError as error:
                    raise fail(step, made[-1], not_finite=error.leaf) from error
                run.remove_failure(up_to=step)
                interruption.kept_step = step
            if evaluating:
                report = evaluate()
                eval_s = report["eval_s"]
            if logging or evaluating or stopping:
                note_launch()
            if saving and interruption.requested and step < options.num_steps:
                raise KeyboardInterrupt
            steps.later_s = _count_evals(options, step) * (eval_s or _guess_eval_s(setup, steps))
    return report


_LOGGED = ("split", "step", "mean_iou", "pixel_acc", "mean_acc", "fw_iou", "loss")


def _evaluate(
    setup: Setup,
    run: RunFolder,
    state: TrainState,
    step: int,
    progress: Progress,
    interruption: Interruption,
    listeners: Sequence[Listener],
) -> dict[str, Any]:
    """Scores the state and files the scores, unless it is stopped; returns the report of it."""

    def count(num_images: int) -> None:
        images.reach(images.done + num_images)
        interruption.check()

    with progress.count(setup.config["eval"]["split"], total=setup.evaluator.num_images) as images:
        result = setup.evaluator.score(state.variables, on_batch=count)
    report = setup.evaluator.make_report(result, step=step)
    colors = np.asarray(setup.dataset.labels.colors)
    run.write_eval(report, result.samples, images=result.images, colors=colors)
    run.log(kind="eval", **{key: report[key] for key in _LOGGED})
    for listener in listeners:
        listener.on_eval(report, result.samples, setup.dataset.labels)
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
