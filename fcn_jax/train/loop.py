"""A run from its first step to its last, or from where it was stopped."""

import contextlib
import math
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from fcn_jax.errors import UserError
from fcn_jax.models.layer_table import finest_stride, layer_table, output_stride
from fcn_jax.train import parallel
from fcn_jax.train.checkpoint import Checkpoints, has_checkpoint
from fcn_jax.train.interrupt import Interruption
from fcn_jax.train.progress import StepProgress
from fcn_jax.train.run_folder import RunFolder
from fcn_jax.train.setup import Setup, make_batches, make_setup
from fcn_jax.train.state import TrainState
from fcn_jax.train.warm_start import init_from


def train(
    config: Mapping[str, Any], workdir: str | Path, *, experiment: str, command: str
) -> dict[str, Any] | None:
    """Trains an experiment in its run folder, going on from what is there.

    Args:
        config: the sections data, augment, model, init, loss, optim, train and eval, and the seed.
        experiment, command: noted in run.json.

    Returns:
        What the last evaluation reported; None if the run was complete before.

    Raises:
        KeyboardInterrupt: after Ctrl-C or SIGTERM, when a checkpoint has been saved.
    """
    if config["train"]["num_steps"] < 1:
        raise UserError(f"train.num_steps={config['train']['num_steps']} must be positive")
    setup = make_setup(config)
    if shared := setup.dataset.find_shared(config["train"]["split"], config["eval"]["split"]):
        raise UserError(f"eval.split={config['eval']['split']}: {shared}")
    make_batches(config, setup.dataset).close()  # its checks come before the folder is touched
    run = RunFolder(workdir)
    state = setup.state
    if not has_checkpoint(run.path / "checkpoints"):
        state = init_from(state, setup.model.backbone.preprocess, **config["init"])
    run.open(config)
    checkpoints = Checkpoints(run.path / "checkpoints")
    try:
        start_step = checkpoints.latest_step or 0
        if start_step >= config["train"]["num_steps"]:
            return None
        if start_step:
            state = checkpoints.restore(start_step, like=state)
        run.rewind_log(start_step)
        rows = layer_table(setup.model, height=64, width=64)
        run.begin_launch(
            command,
            start_step=start_step,
            experiment=experiment,
            seed=config["seed"],
            num_classes=setup.dataset.labels.num_classes,
            num_params=sum(row.params for row in rows),
            output_stride=output_stride(rows),
            finest_stride=finest_stride(rows),
        )
        state = parallel.replicate(state, setup.devices)
        batches = make_batches(config, setup.dataset, start_step=start_step)
        with contextlib.closing(batches):
            return _train(
                setup,
                run,
                checkpoints,
                state,
                batches,
                start_step=start_step,
                **config["train"],
            )
    finally:
        checkpoints.close()


def _train(
    setup: Setup,
    run: RunFolder,
    checkpoints: Checkpoints,
    state: TrainState,
    batches: Iterator[dict],
    *,
    start_step: int,
    split: str,
    num_steps: int,
    batch_size: int,
    iter_size: int,
    normalize: bool,
    log_every: int,
    eval_every: int,
    checkpoint_every: int,
) -> dict[str, Any] | None:
    """Makes the steps from `start_step` to `num_steps`; the keywords are the section `train`."""
    train_step = setup.make_train_step(normalize=normalize, iter_size=iter_size)

    def due(every: int) -> bool:
        return step == num_steps or (every > 0 and step % every == 0)

    report, window, train_s, eval_s = None, [], 0.0, 0.0
    with (
        StepProgress(run.path.name, first=start_step, total=num_steps) as progress,
        Interruption() as interruption,
    ):
        if start_step:
            progress.say(f"going on from step {start_step} of {run.path}")
        clock = time.perf_counter()
        for step in range(start_step + 1, num_steps + 1):
            batch = parallel.shard(next(batches), len(setup.devices))
            state, sums = train_step(state, batch)
            window.append(sums)
            progress.advance()
            stopping = interruption.requested and step < num_steps
            evaluated = due(eval_every) and not stopping
            saved = evaluated or due(checkpoint_every) or stopping
            if due(log_every) or saved:
                entry = _summarize(jax.device_get(window))
                _check_finite(entry, step, run)
            if due(log_every):
                lap, clock = time.perf_counter() - clock, time.perf_counter()
                entry["images_per_s"] = round(len(window) * batch_size / lap, 2)
                entry["learning_rate"] = float(setup.schedule(step - 1))
                run.log(kind="train", split=split, step=step, **entry)
                progress.note(loss=f"{entry['loss']:.4f}", images=f"{entry['images_per_s']:.1f}/s")
                window, train_s = [], train_s + lap
            if saved:
                jax.block_until_ready(state)
            pause = time.perf_counter()
            if evaluated:
                try:
                    report = setup.evaluator(run, state)
                except Exception:
                    checkpoints.save(step, state)  # what was trained is not lost with its score
                    raise
                progress.say(
                    f"step {step}: {report['split']} mean IoU {report['mean_iou']:.4f}  "
                    f"pixel accuracy {report['pixel_acc']:.4f}  ({report['eval_s']:.0f} s)"
                )
                run.log(kind="eval", **{key: report[key] for key in _LOGGED})
                eval_s += report["eval_s"]
            if saved:
                checkpoints.save(step, state, mean_iou=report["mean_iou"] if evaluated else None)
            clock += time.perf_counter() - pause  # neither is training time
            if due(log_every) or evaluated or stopping:
                run.end_launch(end_step=step, train_s=round(train_s, 1), eval_s=round(eval_s, 1))
            if stopping:
                progress.say(f"stopped at step {step}; the same command goes on from there")
                raise KeyboardInterrupt
    return report


_LOGGED = ("split", "step", "mean_iou", "pixel_acc", "mean_acc", "fw_iou", "loss")


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
