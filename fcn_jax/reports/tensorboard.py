"""TensorBoard's files of a run: curves, and pictures of its evaluations."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int, UInt8

from fcn_jax.data.labels import LabelSet
from fcn_jax.errors import UserError
from fcn_jax.ops.palette import full_palette
from fcn_jax.train.listener import Listener
from fcn_jax.train.tally import Prediction

_CELL_PX = 24  # a count of the confusion matrix
_FLUSH_S = 10  # somebody watches


class TensorBoard(Listener):
    """Writes what a run notes as event files, with tensorboardX.

    Tags are `train/loss`, ..., `val/mean_iou`, ..., `val/class_iou/CLASS`, `val/confusion` (rows
    true, columns predicted, the share of the row from white to black) and `val/ID`: an image, its
    label and its prediction side by side.
    """

    def __init__(self, folder: Path):
        """Writes into a folder, which is made when there is something to write.

        Raises:
            UserError: tensorboardX is not installed.
        """
        try:
            from tensorboardX import SummaryWriter
        except ImportError:
            raise UserError(
                "--tensorboard needs the package tensorboardX\npip install tensorboardX"
            ) from None
        self._folder, self._make_writer, self._writer = folder, SummaryWriter, None

    def on_log(self, step: int, values: Mapping[str, float]) -> None:
        """Writes a curve for each value."""
        writer = self._open(step)
        for name, value in values.items():
            writer.add_scalar(f"train/{name}", value, step)

    def on_eval(
        self, report: Mapping[str, Any], samples: Sequence[Prediction], labels: LabelSet
    ) -> None:
        """Writes the scores, the confusion matrix and the samples."""
        split, step = report["split"], report["step"]
        writer = self._open(step)
        for name, score in report.items():
            if isinstance(score, float):
                writer.add_scalar(f"{split}/{name}", score, step)
        for name, score in zip(labels.names, report["class_iou"], strict=True):
            if score is not None and math.isfinite(score):
                writer.add_scalar(f"{split}/class_iou/{name}", score, step)
        pictures = {"confusion": draw_confusion(np.asarray(report["counts"]))}
        palette = full_palette(np.asarray(labels.colors))
        for sample in samples:
            row = (sample.image, palette[sample.label], palette[sample.pred])
            pictures[sample.id] = np.concatenate(row, axis=1)
        for name, picture in pictures.items():
            writer.add_image(f"{split}/{name}", picture, step, dataformats="HWC")

    def close(self) -> None:
        """Writes what is still to be written: tensorboardX does it in a thread of its own."""
        if self._writer:
            self._writer.close()

    def _open(self, step: int) -> Any:
        if self._writer is None:
            # TensorBoard forgets what a launch that was stopped wrote of the steps that follow.
            folder = str(self._folder)
            self._writer = self._make_writer(folder, purge_step=step, flush_secs=_FLUSH_S)
        return self._writer


def draw_confusion(counts: Int[np.ndarray, "k k"]) -> UInt8[np.ndarray, "H W 3"]:
    """Draws confusion counts as cells: the share of the row, from white (0) to black (1)."""
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    cells = np.round(255 * (1 - share)).astype(np.uint8)
    return np.repeat(np.kron(cells, np.ones((_CELL_PX, _CELL_PX), np.uint8))[..., None], 3, axis=2)
