"""What only several labels together show: one class in a split, two meanings of a number."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Int

from fcn_jax.data.files.problems import OnProblem, Problem, refuse
from fcn_jax.data.labels import Color, LabelSet


class Consistency:
    """Compares labels with each other; to be told of each of them in order.

    Args:
        labels: Classes of the data set.
        void_is_named: Whether the user has said what means unlabelled, so that it is no mistake.
    """

    def __init__(self, labels: LabelSet, *, void_is_named: bool):
        self._labels, self._void_is_named = labels, void_is_named
        self._palette: dict[int, tuple[Color, Path]] = {}
        self._counts: dict[str, np.ndarray] = {}
        self._num_labels: dict[str, int] = {}
        # By whether a label holds void, and whether it tells classes apart: one that does.
        self._examples: dict[tuple[bool, bool], Path] = {}

    def add(
        self,
        listed: str,
        label_file: Path,
        counts: Int[np.ndarray, "256"],
        palette: Mapping[int, Color],
        *,
        kind: str,
        on_problem: OnProblem = refuse,
    ) -> None:
        """Compares a label with those before it.

        Args:
            listed: Name of the list that it is in.
            label_file: Where the label is.
            counts: Pixels of each class and of void.
            palette: Colours of the numbers, as in `LabelFile`.
            kind: How the file stores the numbers, as in `LabelFile`.
            on_problem: Is told of a number that has two colours.
        """
        self._counts[listed] = self._counts.get(listed, 0) + counts
        self._num_labels[listed] = self._num_labels.get(listed, 0) + 1
        num_present = np.count_nonzero(counts[: self._labels.num_classes])
        has_void = bool(counts[self._labels.ignore_label])
        if kind != "colours" and num_present:
            self._examples.setdefault((has_void, num_present > 1), label_file)
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
        """Looks at all labels of each list together, and at all of them."""
        for listed, counts in self._counts.items():
            if problem := find_lack(listed, self._num_labels[listed], counts, self._labels):
                on_problem(problem)
        void_only = self._examples.get((True, False))
        several = self._examples.get((False, True))
        is_clear = self._void_is_named or (True, True) in self._examples
        if void_only and several and not is_clear:
            on_problem(self._make_mixture(void_only, several))

    def _make_mixture(self, void_only: Path, several: Path) -> Problem:
        ignore_label = self._labels.ignore_label
        return Problem(
            f"{void_only} holds {ignore_label} beside one class, and {several} several classes and "
            f"no {ignore_label}. If {ignore_label} is a class there, save it by its number; "
            f"if it means unlabelled, say so in classes.txt: '0 {self._labels.names[0]}', ..., "
            f"'{ignore_label} void'",
            kind="labels that number classes differently",
        )


def find_lack(
    split: str, num_labels: int, counts: Int[np.ndarray, "256"], labels: LabelSet
) -> Problem | None:
    """Returns the problem that labels of a split hold fewer than two classes, if they do."""
    present = np.flatnonzero(counts[: labels.num_classes])
    if len(present) > 1 or not num_labels:
        return None
    ignore_label = labels.ignore_label
    held = [f"class {labels.names[number]!r}" for number in present]
    hint = (
        "no score could be wrong; move images with other classes into it, or split the images "
        "otherwise"
    )
    if counts[ignore_label]:
        held.append(f"unlabelled pixels ({ignore_label})")
        hint = f"if {ignore_label} is a class here, save it as that class's number"
    return Problem(
        f"all labels of {split} ({num_labels}) hold only {' and '.join(held)}; {hint}",
        kind="labels of one class only",
    )
