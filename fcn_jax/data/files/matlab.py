"""Labels that are arrays in MATLAB files, read strictly: what is unclear is refused.

The values of such an array are a data set's own. A table says which class each of them is, and a
value that is not in the table is refused.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int, UInt8

from fcn_jax.data.files.mat_file import read_mat_array
from fcn_jax.data.files.pictures import LabelFile
from fcn_jax.data.files.problems import Problem, name_some
from fcn_jax.data.files.storage import UPRIGHT
from fcn_jax.data.labels import LabelSet


def read_mat_label(
    path: Path, *, variable: str, table: Mapping[int, int] | None = None
) -> LabelFile:
    """Reads the label that a variable of a `.mat` file holds.

    Args:
        path: Where the file is.
        variable: Name of the variable, or "name.field" for a field of a struct.
        table: Label of each value; without it, the values are the labels.

    Raises:
        Problem: For a file that is damaged, without that variable, or with other values.
    """
    array = read_mat_array(path, variable)
    with np.errstate(invalid="ignore"):  # NaN becomes some number, which is not NaN
        values = array.astype(np.uint8 if table is None else np.int32)
    if values.ndim != 2 or (values != array).any():
        held = f" with values {array.min()}..{array.max()}" if array.size else ""
        raise Problem(
            f"{path}: {variable} must hold one class number per pixel, got shape {array.shape}"
            f"{held}",
            kind="label of an unsupported mode",
        )
    if table is not None:
        values = _look_up(path, values, table)
    return LabelFile(values, "MATLAB", {}, UPRIGHT)


def number_from_one(labels: LabelSet, *, void: Sequence[int]) -> dict[int, int]:
    """Makes the table of labels in which class 0 is 1, class 1 is 2, and so on.

    Args:
        labels: Classes of the data set.
        void: Values that mean unlabelled.
    """
    classes = {number + 1: number for number in range(labels.num_classes)}
    return {**dict.fromkeys(void, labels.ignore_label), **classes}


def _look_up(
    path: Path, values: Int[np.ndarray, "h w"], table: Mapping[int, int]
) -> UInt8[np.ndarray, "h w"]:
    first, last = min(table), max(table)
    lookup = np.full(last - first + 1, -1, np.int16)
    lookup[np.fromiter(table, np.int32) - first] = np.fromiter(table.values(), np.int16)
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
