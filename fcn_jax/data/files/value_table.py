"""The values that label files of a data set store, and the class, or void, that each stands for."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Integer, UInt8

from fcn_jax.data.files.problems import Problem, name_some
from fcn_jax.data.labels import LabelSet


def number_from_one(labels: LabelSet, *, void: Sequence[int]) -> dict[int, int]:
    """Makes the table of labels in which class 0 is 1, class 1 is 2, and so on.

    Args:
        labels: Classes of the data set.
        void: Values that mean unlabelled.
    """
    classes = {number + 1: number for number in range(labels.num_classes)}
    return {**dict.fromkeys(void, labels.ignore_label), **classes}


def look_up(
    path: Path, values: Integer[np.ndarray, "h w"], table: Mapping[int, int]
) -> UInt8[np.ndarray, "h w"]:
    """Returns the label of each value.

    Args:
        path: File that the values are from, for messages.
        values: Values as the file stores them.
        table: Label of each value that may be there.

    Raises:
        Problem: For a value that is not in the table.
    """
    first, last = min(table), max(table)
    lookup = np.full(last - first + 1, -1, np.int16)
    lookup[np.fromiter(table, np.int32) - first] = np.fromiter(table.values(), np.int16)
    values = values.astype(np.int32, copy=False)  # a table may reach beyond what the file can hold
    numbers = lookup[values.clip(first, last) - first]
    unknown = (numbers < 0) | (values < first) | (values > last)
    if unknown.any():
        found, counts = np.unique(values[unknown], return_counts=True)
        value, *others = map(str, found.tolist())
        nor = f", nor are {name_some(others)}" if others else ""
        raise Problem(
            f"{path}: label value {value} is not allowed ({counts[0]} pixels){nor}; allowed are "
            f"{len(table)} values in {first}..{last}",
            kind="label value outside the classes",
        )
    return numbers.astype(np.uint8)
