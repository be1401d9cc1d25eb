"""An image and its label: two files of a user's that are read together."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from fcn_jax.data.files.pictures import (
    ImageFile,
    LabelFile,
    check_label,
    read_image_file,
    read_label_file,
)
from fcn_jax.data.files.problems import MissingFile, OnProblem, Problem, refuse
from fcn_jax.data.files.storage import SIDEWAYS
from fcn_jax.data.labels import IGNORE_LABEL, Color, LabelSet


class Pair(NamedTuple):
    """Where an image and its label are."""

    id: str
    image_file: Path
    label_file: Path


class Reading(NamedTuple):
    """What the two files of a pair hold; the label in class numbers, with void."""

    image: ImageFile
    label: LabelFile

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.label.numbers.shape

    @property
    def counts(self) -> Int[np.ndarray, "256"]:
        """Pixels of each label value."""
        return np.bincount(self.label.numbers.ravel(), minlength=256)


@dataclasses.dataclass(frozen=True)
class PairReader:
    """Reads pairs, and refuses what does not fit together.

    Attributes:
        labels: Classes of the data set.
        read_label: Reads one label file.
        void: Value in the files that means unlabelled; it becomes `labels.ignore_label`.
        orient: Whether an image that is stored turned (EXIF) must have a label that shows by its
            size which way it lies. Published data sets are known to lie as they are stored.
    """

    labels: LabelSet
    read_label: Callable[[Path], LabelFile] = read_label_file
    void: int = IGNORE_LABEL
    orient: bool = False

    def __call__(self, pair: Pair, on_problem: OnProblem = refuse) -> Reading | None:
        """Returns what the files hold; None if a problem was found and `on_problem` returned."""
        image = _attempt(read_image_file, pair.image_file, on_problem)
        label = _attempt(self._read_checked_label, pair.label_file, on_problem)
        if image is None or label is None:
            return None
        reading = Reading(image, label)
        if problem := self._compare(pair, reading):
            return on_problem(problem)
        return reading

    def _read_checked_label(self, path: Path) -> LabelFile:
        label = self.read_label(path)
        check_label(path, label.numbers, num_classes=self.labels.num_classes, void=self.void)
        ignore_label = np.uint8(self.labels.ignore_label)
        numbers = label.numbers
        if self.void != ignore_label:
            numbers = np.where(numbers == self.void, ignore_label, numbers)
        return label._replace(numbers=numbers)

    def _compare(self, pair: Pair, reading: Reading) -> Problem | None:
        image, label = reading
        height, width = image.pixels.shape[:2]
        turned = image.orientation != label.orientation
        if (height, width) != reading.size:
            shown = ""
            if turned and (width, height) == reading.size:
                shown = (
                    f"; the image is stored on its side (EXIF orientation {image.orientation}) and "
                    "the label is not: save the image the way it is shown"
                )
            return Problem(
                f"{pair.label_file}: label is {_size(label.numbers)} but image {pair.image_file} "
                f"is {_size(image.pixels)}; both must have the same width x height{shown}",
                kind="label of another size than its image",
            )
        sideways = (image.orientation in SIDEWAYS) != (label.orientation in SIDEWAYS)
        if self.orient and turned and not (sideways and height != width):
            return Problem(
                f"{pair.image_file}: EXIF says that the image is shown turned (orientation "
                f"{image.orientation}), its label says {label.orientation}, and nothing tells "
                f"which way {pair.label_file} was drawn; save both upright, without EXIF",
                kind="image that is shown turned (EXIF)",
            )
        return None


class Consistency:
    """What only several labels together show; to be told of each of them in order."""

    def __init__(self, labels: LabelSet):
        self._labels = labels
        self._palette: dict[int, tuple[Color, Path]] = {}
        self._counts = np.zeros(256, np.int64)

    def add(
        self,
        label_file: Path,
        counts: Int[np.ndarray, "256"],
        palette: Mapping[int, Color],
        *,
        on_problem: OnProblem = refuse,
    ) -> None:
        """Compares a label with those before it.

        Args:
            label_file: Where the label is.
            counts: Pixels of each number.
            palette: Colours of the numbers, as in `LabelFile`.
            on_problem: Is told of a number that has two colours.
        """
        self._counts += counts
        for number, color in palette.items():
            before, where = self._palette.setdefault(number, (color, label_file))
            if before != color:
                return on_problem(
                    Problem(
                        f"{label_file}: number {number} has the colour {color}, but "
                        f"{before} in {where}; a palette was reordered when a file was saved. Keep "
                        "the original files, or save labels as RGB with the colours in classes.txt",
                        kind="label with a reordered palette",
                    )
                )
        return None

    def finish(self, *, on_problem: OnProblem = refuse) -> None:
        """Looks at all labels together."""
        present = np.flatnonzero(self._counts[: self._labels.num_classes])
        if len(present) > 1 or not self._counts.any():
            return
        ignore_label = self._labels.ignore_label
        held = [f"class {self._labels.names[number]!r}" for number in present]
        hint = "there is nothing to tell apart"
        if self._counts[ignore_label]:
            held.append(f"unlabelled pixels ({ignore_label})")
            hint = f"if {ignore_label} is a class here, save it as that class's number"
        on_problem(
            Problem(
                f"all labels together hold only {' and '.join(held)}; {hint}",
                kind="labels of one class only",
            )
        )


def _attempt(read: Callable, path: Path, on_problem: OnProblem):
    try:
        return read(path)
    except Problem as problem:
        on_problem(problem)
    except FileNotFoundError:  # it was there when the folder was listed
        on_problem(MissingFile(f"{path} is gone", kind="missing file"))
    return None


def _size(array: np.ndarray) -> str:
    return f"{array.shape[1]}x{array.shape[0]}"
