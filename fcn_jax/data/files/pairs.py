"""An image and its label: two files of a user's that are read together."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int, UInt8

from fcn_jax.data.files.pictures import (
    ImageFile,
    LabelFile,
    check_label,
    read_image_file,
    read_label_file,
)
from fcn_jax.data.files.problems import MissingFile, OnProblem, Problem, refuse
from fcn_jax.data.files.storage import SIDEWAYS
from fcn_jax.data.files.value_table import look_up
from fcn_jax.data.labels import IGNORE_LABEL, LabelSet


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
        numbers: Class, or void, of each value in the files; None if values are classes.
        void_is_named: Whether the user has said what means unlabelled.
        orient: Whether an image that is stored turned (EXIF) must have a label that shows by its
            size which way it lies. Published data sets are known to lie as they are stored.
    """

    labels: LabelSet
    read_label: Callable[[Path], LabelFile] = read_label_file
    void: int = IGNORE_LABEL
    numbers: Mapping[int, int] | None = None
    void_is_named: bool = False
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
        if self.numbers is not None:
            return label._replace(numbers=_translate(path, label.numbers, self.numbers))
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


def _translate(
    path: Path, values: UInt8[np.ndarray, "h w"], numbers: Mapping[int, int]
) -> UInt8[np.ndarray, "h w"]:
    try:
        return look_up(path, values, numbers)
    except Problem as problem:
        raise Problem(
            f"{problem}. Name it where the classes are named: 'NUMBER background' if it is one, "
            "'NUMBER void' if it means unlabelled",
            kind=problem.kind,
        ) from None


def _attempt(read: Callable, path: Path, on_problem: OnProblem):
    try:
        return read(path)
    except Problem as problem:
        on_problem(problem)
    except FileNotFoundError:  # it was there when the folder was listed
        on_problem(
            MissingFile(
                f"{path} went away while it was read; give the command again", kind="missing file"
            )
        )
    return None


def _size(array: np.ndarray) -> str:
    return f"{array.shape[1]}x{array.shape[0]}"
