"""A run from its first step to its last, or from where it was stopped."""

import contextlib
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from fcn_jax.errors import UserError
from fcn_jax.models.layer_table import finest_stride, output_stride
from fcn_jax.train.checkpoint import Checkpoints, find_newest_step
from fcn_jax.train.clock import Clock
from fcn_jax.train.interrupt import Interruption
from fcn_jax.train.progress import StepProgress
from fcn_jax.train.run_folder import RunFolder
from fcn_jax.train.setup import Setup, make_batches, make_setup
from fcn_jax.train.state import TrainState
from fcn_jax.train.warm_start import init_from


def train(
    config: Mapping[str, Any], workdir: str | Path, *, experiment: str, command: str
) -> dict[str, Any] | None:
    """Trains an experiment in its run folder, going on from the newest checkpoint there.

    Args:
        config: Sections data, augment, model, init, loss, optim, train and eval, and the seed.
        workdir: The run folder; it is made if it is not there.
        experiment: Name of the experiment, for run.json.
        command: Command line, for run.json.

    Returns:
        What the last evaluation reported; None if the run was complete before.

    Raises:
        KeyboardInterrupt: After Ctrl-C or SIGTERM, when a checkpoint has been saved.
    """
    run = RunFolder(workdir)
    setup = make_setup(config)
    config, options, state = setup.config, setup.options, setup.state
    if shared := setup.dataset.find_shared(options.split, config["eval"]["split"]):
        raise UserError(f"eval.split={config['eval']['split']}: {shared}")
    start_step = find_newest_step(run.checkpoints_path)
    # Checks section `augment`, before the folder is touched; nothing is read yet.
    batches = make_batches(config, setup.dataset, start_step=start_step)
    if not start_step:
        state = init_from(state, setup.model, **config["init"])
    run.open(config, has_steps=start_step > 0)
    checkpoints = Checkpoints(run.checkpoints_path)
    with contextlib.closing(checkpoints), contextlib.closing(batches):
        is_scored = checkpoints.is_scored(start_step)
        if start_step >= options.num_steps and is_scored:
            return None
        if start_step:
            state = checkpoints.restore(start_step, like=state)
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
        return _train(
            setup, run, checkpoints, state, batches, start_step=start_step, is_scored=is_scored
        )


def _train(
    setup: Setup,
    run: RunFolder,
    checkpoints: Checkpoints,
    state: TrainState,
    batches: Iterator[dict],
    *,
    start_step: int,
    is_scored: bool,
) -> dict[str, Any]:
    """Makes the steps after `start_step`; returns what the last evaluation reported.

    A state is saved before it is scored: nothing that happens in an evaluation loses a step, and a
    run that was stopped in between makes up for the evaluation when it goes on.
    """
    options, train_step, window = setup.options, setup.make_train_step(), []
    step = start_step

    def due(every: int) -> bool:
        return step == options.num_steps or (every > 0 and step > 0 and step % every == 0)

    def evaluate() -> dict[str, Any]:
        with clock.pause("eval"):
            report = _evaluate(setup, run, state, step)
            checkpoints.score(step, report["mean_iou"])
        progress.say(_describe(report))
        return report

    def note_launch() -> None:
        seconds = {"train_s": clock.train_s, "eval_s": clock.paused_s("eval")}
        run.end_launch(end_step=step, **{key: round(s, 1) for key, s in seconds.items()})

    with (
        StepProgress(run.path.name, first=start_step, total=options.num_steps) as progress,
        Interruption() as interruption,
    ):
        if start_step:
            progress.say(f"going on from step {start_step} of {run.path}")
        clock = Clock()
        if due(options.eval_every) and not is_scored:
            report = evaluate()
            note_launch()
        for step in range(start_step + 1, options.num_steps + 1):
            state, sums = train_step(state, setup.devices.shard(next(batches)))
            window.append(sums)
            progress.advance(1)
            stopping = interruption.requested and step < options.num_steps
            logging = due(options.log_every)
            evaluating = due(options.eval_every) and not stopping
            saving = evaluating or stopping or due(options.checkpoint_every)

            if logging or saving:
                entry = _summarize(jax.device_get(window))
                _check_finite(entry, step, run)
            if logging:
                images = len(window) * options.batch_size
                entry["images_per_s"] = round(images / clock.lap(), 2)
                entry["learning_rate"] = float(setup.schedule(step - 1))
                run.log(kind="train", split=options.split, step=step, **entry)
                progress.note(loss=f"{entry['loss']:.4f}", images=f"{entry['images_per_s']:.1f}/s")
                window = []
            if saving:
                jax.block_until_ready(state)
                with clock.pause("save"):
                    checkpoints.save(step, state)
            if evaluating:
                report = evaluate()
            if logging or evaluating or stopping:
                note_launch()
            if stopping:
                progress.say(f"stopped at step {step}; the same command goes on from there")
                raise KeyboardInterrupt
    return report


_LOGGED = ("split", "step", "mean_iou", "pixel_acc", "mean_acc", "fw_iou", "loss")


def _evaluate(setup: Setup, run: RunFolder, state: TrainState, step: int) -> dict[str, Any]:
    """Scores the state and files the scores; returns the report of it."""
    result = setup.evaluator.score(state.variables)
    report = setup.evaluator.make_report(result, step=step)
    run.write_eval(report, result.samples, colors=np.asarray(setup.dataset.labels.colors))
    run.log(kind="eval", **{key: report[key] for key in _LOGGED})
    return report


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


def _check_finite(entry: Mapping[str, float], step: int, run: RunFolder) -> None:
    if not all(map(math.isfinite, entry.values())):
        raise UserError(
            f"the loss is {entry['loss']} and the gradient norm {entry['grad_norm']} at step "
            f"{step} of {run.path}\nlower optim.learning_rate and train in another --workdir; the "
            "last checkpoint here is from before"
        )
