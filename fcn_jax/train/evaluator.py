"""Scores a state on one split, as often as asked: the `eval` section of an experiment."""

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from fcn_jax.data.batches.loader import eval_batches
from fcn_jax.data.datasets import Dataset
from fcn_jax.errors import UserError
from fcn_jax.ops import metrics
from fcn_jax.train.evaluation import Evaluation, Prediction, evaluate
from fcn_jax.train.run_folder import RunFolder
from fcn_jax.train.state import TrainState
from fcn_jax.train.steps import make_eval_step


class Evaluator:
    """Evaluates at native resolution and files the result in the run folder.

    Args:
        split: of the data set.
        device_batch_size: images that a device gets at once; it changes no score.
        size_multiple: images are padded to multiples of this, so that few shapes are compiled;
            1 pads nothing.
        convention: of `ops.metrics.CONVENTIONS`.
        boundary_px: a second score is of the pixels that have another class so near.
        num_samples: so many predictions, spread over the split, are kept as pictures.
    """

    def __init__(
        self,
        model: nn.Module,
        dataset: Dataset,
        devices: Sequence[jax.Device],
        *,
        split: str,
        device_batch_size: int,
        size_multiple: int,
        convention: str,
        boundary_px: int,
        num_samples: int,
    ):
        if convention not in metrics.CONVENTIONS:
            raise UserError(
                f"unknown eval.convention {convention!r}; known: {', '.join(metrics.CONVENTIONS)}"
            )
        for name, value, least in (
            ("device_batch_size", device_batch_size, 1),
            ("size_multiple", size_multiple, 1),
            ("boundary_px", boundary_px, 1),
            ("num_samples", num_samples, 0),
        ):
            if value < least:
                raise UserError(f"eval.{name}={value} must be {least} or more")
        self._boundary_px = boundary_px
        self._dataset, self._devices, self._split = dataset, devices, split
        self._source = dataset.source(split)
        self._batch_size = device_batch_size * len(devices)
        self._size_multiple, self._convention = size_multiple, convention
        # Spread over the split: neighbours are often frames of one film.
        indices = np.linspace(0, len(self._source), num_samples, endpoint=False).astype(int)
        self._sample_ids = {self._source[int(index)]["id"] for index in indices}
        self._eval_step = make_eval_step(
            model,
            num_classes=dataset.labels.num_classes,
            ignore_label=dataset.labels.ignore_label,
            boundary_px=boundary_px,
            devices=devices,
        )

    @property
    def num_images(self) -> int:
        """Images in the split."""
        return len(self._source)

    def score(
        self,
        variables: Any,
        *,
        on_batch: Callable[[int], None] = lambda num_images: None,
        on_prediction: Callable[[Prediction], None] | None = None,
    ) -> Evaluation:
        """Evaluates replicated variables; see `evaluate.evaluate`."""
        batches = eval_batches(
            self._source,
            batch_size=self._batch_size,
            size_multiple=self._size_multiple,
            ignore_label=self._dataset.labels.ignore_label,
        )
        return evaluate(
            self._eval_step,
            variables,
            batches,
            num_devices=len(self._devices),
            on_batch=on_batch,
            on_prediction=on_prediction,
        )

    def __call__(
        self,
        run: RunFolder,
        state: TrainState,
        *,
        on_batch: Callable[[int], None] = lambda num_images: None,
    ) -> dict[str, Any]:
        """Evaluates a replicated state; returns what eval/<split>-<step>.json says."""
        step, labels = int(state.step), self._dataset.labels

        def keep(prediction: Prediction) -> None:
            if prediction.id in self._sample_ids:
                colors = np.asarray(labels.colors)
                run.write_sample(prediction, split=self._split, step=step, colors=colors)

        result = self.score(state.variables, on_batch=on_batch, on_prediction=keep)
        near = metrics.scores(result.boundary_counts, convention=self._convention)
        report = {
            "dataset": self._dataset.name,
            "split": self._split,
            "step": step,
            "num_images": result.num_images,
            "convention": self._convention,
            "class_names": list(labels.names),
            "counts": result.counts,
            **metrics.scores(result.counts, convention=self._convention),
            "boundary_px": self._boundary_px,
            "boundary_counts": result.boundary_counts,
            "boundary_iou": near["mean_iou"],
            "loss": result.loss,
            "num_shapes": len(result.shapes),
            "eval_s": round(result.eval_s, 2),
        }
        run.write_eval(report)
        return report
