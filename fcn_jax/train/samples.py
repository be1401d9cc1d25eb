"""Pictures of a run: some images, spread over a split, their labels and their predictions.

<split>/<id>.image.png, <split>/<id>.label.png and <split>/<id>.pred-<step>.png: a folder of an id
is a folder here, so that a/b and a_b are two images.
"""

import hashlib
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, UnidentifiedImageError

from fcn_jax.atomic_file import replacing
from fcn_jax.errors import UserError
from fcn_jax.ops.palette import save_label_png

if TYPE_CHECKING:  # reports read pictures without importing jax
    from fcn_jax.train.tally import Prediction

_IMAGE = ".image.png"

# Of 255 bytes that the usual file systems take: the endings, and those of a file that is written
# beside its place, need some.
_LONGEST_STEM = 180


class Samples:
    """Reads and writes the pictures of one run.

    Attributes:
        path: Folder of all splits.
    """

    def __init__(self, path: Path):
        self.path = path

    def files(self, image_id: str, *, split: str, step: int) -> tuple[Path, Path, Path]:
        """Returns where an image, its label and its prediction at a step are, or would be."""
        *above, stem = map(_short, image_id.split("/"))
        folder = self.path.joinpath(split, *above)
        endings = (_IMAGE, ".label.png", f".pred-{step}.png")
        image, label, pred = (folder / f"{stem}{ending}" for ending in endings)
        return image, label, pred

    def list_ids(self, split: str, step: int) -> list[str]:
        """Lists the images, by their ids, that have a label and a prediction at a step."""
        folder = self.path / split
        found = (file.relative_to(folder).as_posix() for file in folder.rglob(f"*{_IMAGE}"))
        ids = sorted(name.removesuffix(_IMAGE) for name in found)
        return [
            image_id
            for image_id in ids
            if all(file.is_file() for file in self.files(image_id, split=split, step=step))
        ]

    def save(self, sample: "Prediction", *, split: str, step: int, colors: np.ndarray) -> None:
        """Writes the three pictures of an image.

        Args:
            sample: Image, label and prediction.
            split: Split that the image is of.
            step: Step of the prediction.
            colors: RGB of the classes, `[k, 3]`.
        """
        image, label, pred = self.files(sample.id, split=split, step=step)
        image.parent.mkdir(parents=True, exist_ok=True)
        with replacing(image) as beside:
            Image.fromarray(sample.image).save(beside, "PNG")
        for file, numbers in ((label, sample.label), (pred, sample.pred)):
            with replacing(file) as beside:
                save_label_png(beside, numbers, colors)


def open_picture(file: Path) -> Image.Image:
    """Opens a picture of `samples/`, and reads it whole.

    Raises:
        UserError: If it is damaged.
    """
    try:
        picture = Image.open(file)
        picture.load()
    except (OSError, ValueError, SyntaxError) as error:
        told = "it is no picture" if isinstance(error, UnidentifiedImageError) else error
        samples = next(folder for folder in file.parents if folder.name == "samples")
        step = file.stem.rpartition(".pred-")[2]
        raise UserError(
            f"{file} is damaged: {told}\npython launch.py evaluate "
            f"--workdir={shlex.quote(str(samples.parent))} "
            f"--step={step if step.isdecimal() else 'NUMBER'} writes it anew"
        ) from error
    return picture


def _short(stem: str) -> str:
    """Shortens the stem of a file name to what a file system takes; one that is short stays."""
    name = stem.encode()
    if len(name) <= _LONGEST_STEM:
        return stem
    digest = hashlib.sha256(name).hexdigest()[:16]
    return f"{name[: _LONGEST_STEM - 17].decode(errors='ignore')}-{digest}"
