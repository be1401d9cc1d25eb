"""A folder of predictions: which are there already, and how they are written.

A picture counts as done when all that is wanted of it is there and not older than itself; files
are there whole or not at all. So whoever is stopped goes on, and several may work in one folder.
"""

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from fcn_jax.atomic_file import LEFTOVER, replacing
from fcn_jax.data.files.photos import Photo
from fcn_jax.data.files.storage import UPRIGHT, turn_upright
from fcn_jax.data.labels import LabelSet
from fcn_jax.errors import UserError
from fcn_jax.inference.overlay import draw_overlay
from fcn_jax.ops.palette import save_label_png
from fcn_jax.train.json_file import read_json, write_json

SETTINGS = "predict.json"
# Where the server of PASCAL VOC looks for the masks of a competition, such as comp6_test.
_VOC_MASKS = "results/VOC2012/Segmentation/{competition}_cls"
_LARGEST_OVERLAY = 2048  # pixels of a side; of larger pictures every n-th pixel is drawn


class PredictionFolder:
    """Where predictions are written: `masks/NAME.png`, `overlays/NAME.jpg`, `probabilities/`.

    Args:
        path: The folder; it is made where it is not there.
        labels: Classes of the network.
        settings: What the predictions depend on, as JSON holds it.
        overlays: Whether overlays are wanted.
        probabilities: Whether probabilities are wanted, as float16 in `.npz`.
        competition: Competition of the VOC server, whose layout the masks get; '' for `masks/`.

    Raises:
        UserError: If the folder holds predictions that depend on other settings.
    """

    def __init__(
        self,
        path: Path,
        labels: LabelSet,
        settings: Mapping[str, Any],
        *,
        overlays: bool = True,
        probabilities: bool = False,
        competition: str = "",
    ):
        self.path, self._labels = path, labels
        folder = _VOC_MASKS.format(competition=competition) if competition else "masks"
        self.masks = path / folder
        self.overlays = path / "overlays" if overlays else None
        self.probabilities = path / "probabilities" if probabilities else None
        self._agree(settings)

    def _agree(self, settings: Mapping[str, Any]) -> None:
        file = self.path / SETTINGS
        if file.exists():
            before = read_json(file)
            differing = [k for k in {**before, **settings} if before.get(k) != settings.get(k)]
            if differing:
                key = differing[0]
                raise UserError(
                    f"{self.path} holds predictions with {key}={before.get(key)}, now it is "
                    f"{settings.get(key)}\ngive another --output, or remove the folder"
                )
        else:
            self.path.mkdir(parents=True, exist_ok=True)
            write_json(file, settings)

    def is_done(self, photo: Photo) -> bool:
        """Says whether there is nothing to do for a picture."""
        try:
            written = photo.path.stat().st_mtime
            return all(file.stat().st_mtime >= written for file in self._files(photo))
        except OSError:
            return False

    def _files(self, photo: Photo) -> Iterator[Path]:
        yield self._file(self.masks, photo, ".png")
        if self.overlays:
            yield self._file(self.overlays, photo, ".jpg")
        if self.probabilities:
            yield self._file(self.probabilities, photo, ".npz")

    def _file(self, folder: Path, photo: Photo, suffix: str) -> Path:
        return folder / f"{photo.name}{suffix}"

    def write(
        self,
        photo: Photo,
        image: UInt8[np.ndarray, "h w 3"],
        pred: UInt8[np.ndarray, "h w"],
        *,
        probabilities: Float[np.ndarray, "h w k"] | None = None,
        orientation: int = UPRIGHT,
    ) -> None:
        """Writes what is wanted of a picture.

        Args:
            photo: The picture.
            image: Its pixels, as stored.
            pred: Class of each of them.
            probabilities: Probabilities of the classes, where they are wanted.
            orientation: Orientation that the file asks for. The mask lies on the stored pixels and
                asks for the same; the overlay is upright.
        """
        if self.probabilities:
            file = _make_place(self._file(self.probabilities, photo, ".npz"))
            with replacing(file) as beside, beside.open("wb") as stream:
                np.savez_compressed(stream, probabilities=probabilities.astype(np.float16))
        if self.overlays:
            upright = (turn_upright(array, orientation) for array in (image, pred))
            self._write_overlay(photo, *upright)
        self._write_mask(photo, pred, orientation=orientation)

    @contextlib.contextmanager
    def collect(self, photo: Photo, *, height: int, width: int) -> Iterator["_Stripes"]:
        """Gives what takes the stripes of a large picture; at the end they are written."""
        place = _make_place(self._file(self.masks, photo, ".png"))
        raw = place.with_name(f".{os.getpid()}-{place.name}{LEFTOVER}")
        try:
            stripes = _Stripes(np.memmap(raw, np.uint8, "w+", shape=(height, width)))
            yield stripes
            if self.overlays:
                self._write_overlay(photo, *stripes.thumbnail())
            self._write_mask(photo, stripes.pred)
        finally:
            raw.unlink(missing_ok=True)

    def _write_mask(
        self, photo: Photo, pred: UInt8[np.ndarray, "h w"], *, orientation: int = UPRIGHT
    ) -> None:
        file = _make_place(self._file(self.masks, photo, ".png"))
        with replacing(file) as beside:
            save_label_png(beside, pred, np.asarray(self._labels.colors), orientation=orientation)

    def _write_overlay(
        self, photo: Photo, image: UInt8[np.ndarray, "h w 3"], pred: UInt8[np.ndarray, "h w"]
    ) -> None:
        file = _make_place(self._file(self.overlays, photo, ".jpg"))
        with replacing(file) as beside:
            draw_overlay(image, pred, self._labels).save(beside, "JPEG", quality=92)


class _Stripes:
    """The stripes of a large picture and of its prediction, as they come.

    Attributes:
        pred: The prediction, on the disk.
    """

    def __init__(self, pred: np.memmap):
        self.pred = pred
        self._step = -(-max(pred.shape) // _LARGEST_OVERLAY)
        self._image: list[np.ndarray] = []
        self._num_rows = self._num_preds = 0

    def take_rows(self, rows: UInt8[np.ndarray, "n w 3"]) -> None:
        """Takes the next rows of the picture."""
        first = -self._num_rows % self._step
        self._image.append(rows[first :: self._step, :: self._step].copy())
        self._num_rows += len(rows)

    def take_pred(self, pred: UInt8[np.ndarray, "n w"]) -> None:
        """Takes the next rows of the prediction."""
        self.pred[self._num_preds : self._num_preds + len(pred)] = pred
        self._num_preds += len(pred)

    def thumbnail(self) -> tuple[UInt8[np.ndarray, "h w 3"], UInt8[np.ndarray, "h w"]]:
        """Returns picture and prediction, small."""
        step = self._step
        return np.concatenate(self._image), np.ascontiguousarray(self.pred[::step, ::step])


def _make_place(file: Path) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    return file
