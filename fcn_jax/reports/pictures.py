"""Images of a comparison with their truth, predictions and errors, in one palette.

All are in the colours of the first truth: other files may have those of another day.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

from fcn_jax.errors import UserError
from fcn_jax.reports.runs import Run
from fcn_jax.train.samples import open_picture

VOID = 255
# Of an error map: right, wrong, unlabelled. Lightness alone tells them apart.
ERROR_COLORS = np.array([(222, 226, 230), (196, 30, 58), (150, 156, 162)], np.uint8)


@dataclass(frozen=True, eq=False)
class Scene:
    """An image and what some runs say of it.

    Attributes:
        id: Name of the image.
        image: RGB.
        label: Class of every pixel.
        preds: Class of every pixel, as each run has it.
    """

    id: str
    image: UInt8[np.ndarray, "h w 3"]
    label: UInt8[np.ndarray, "h w"]
    preds: list[UInt8[np.ndarray, "h w"]]

    def errors(self, index: int) -> UInt8[np.ndarray, "h w"]:
        """Returns where a run is right (0) and wrong (1); 2 where nothing is labelled."""
        wrong = (self.preds[index] != self.label).astype(np.uint8)
        return np.where(self.label == VOID, np.uint8(2), wrong)

    def pixel_acc(self, index: int) -> float:
        """Returns the share of the labelled pixels that a run predicts right; NaN if none is."""
        errors = self.errors(index)
        labelled = errors < 2
        return float((errors[labelled] == 0).mean()) if labelled.any() else float("nan")


def read_scene(runs: Sequence[Run], image_id: str) -> Scene:
    """Reads an image that all of these runs have among their samples.

    Raises:
        UserError: If a picture is damaged, or those of a run are of another size.
    """
    image, label, _ = runs[0].sample_files(image_id)
    files = [label, *(run.sample_files(image_id)[2] for run in runs)]
    numbers = [np.asarray(open_picture(file)) for file in files]
    picture = np.asarray(open_picture(image).convert("RGB"))
    for file, of in zip(files, numbers, strict=True):
        if of.shape != picture.shape[:2] or of.dtype != np.uint8:
            raise UserError(f"{file} is no label map of {image}: its shape is {of.shape}")
    return Scene(image_id, picture, numbers[0], numbers[1:])


def read_palette(run: Run, image_id: str) -> UInt8[np.ndarray, "256 3"]:
    """Reads the colours in which a run shows its classes."""
    file = run.sample_files(image_id)[1]
    colors = np.array(open_picture(file).getpalette("RGB") or [], np.uint8).reshape(-1, 3)
    palette = np.zeros((256, 3), np.uint8)
    palette[: len(colors)] = colors
    return palette
