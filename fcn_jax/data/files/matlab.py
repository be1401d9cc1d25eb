"""Labels that are arrays in MATLAB files, read strictly: what is unclear is refused."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from fcn_jax.data.files.mat_file import read_mat_array
from fcn_jax.data.files.pictures import LabelFile
from fcn_jax.data.files.problems import Problem
from fcn_jax.data.files.storage import UPRIGHT
from fcn_jax.data.files.value_table import look_up


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
        values = look_up(path, values, table)
    return LabelFile(values, "MATLAB", {}, UPRIGHT)
