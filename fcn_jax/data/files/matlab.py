"""Labels that are arrays in MATLAB files, read by scipy and strictly: what is unclear is refused.

The values of such an array are a data set's own. A table says which class each of them is, and a
value that is not in the table is refused.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import scipy.io
from jaxtyping import Int, Shaped, UInt8

from fcn_jax.data.files.pictures import UPRIGHT, LabelFile
from fcn_jax.data.files.problems import Problem, name_some
from fcn_jax.data.labels import LabelSet

_HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_HDF5_STARTS = (0, 512)  # MATLAB puts 512 bytes of its own in front


def read_mat_label(
    path: Path, *, variable: str, table: Mapping[int, int] | None = None
) -> LabelFile:
    """Reads the label that a variable of a `.mat` file holds.

    Args:
        path: Where the file is.
        variable: Name of the variable, or "name.field" for a field of a struct.
        table: Label of each value; without it, the values are the labels.

    Raises:
        Problem: For a file that scipy cannot read, without that variable, or with other values.
    """
    array = _read_variable(path, variable)
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


def _read_variable(path: Path, variable: str) -> Shaped[np.ndarray, "..."]:
    name, *fields = variable.split(".")
    try:
        found = scipy.io.loadmat(path, variable_names=[name])
        if name in found:
            array = found[name]
            for field in fields:
                array = array[field][0, 0]
            array = np.asarray(array)
            if array.dtype.kind in "biuf":
                return array
            reason = f"it is no array of numbers, but of {array.dtype}"
        else:
            names = [name for name, *_ in scipy.io.whosmat(path)]
            reason = f"the file holds {name_some(names) if names else 'nothing'}"
    except FileNotFoundError:
        raise
    except Exception as error:  # loadmat raises almost anything for a damaged file
        if _is_hdf5(path):
            raise Problem(
                f"{path}: this is a MATLAB 7.3 file (HDF5), which scipy cannot read; load it in "
                "MATLAB and save it again with the option '-v7'",
                kind="MATLAB 7.3 file",
            ) from error
        raise Problem(
            f"{path}: cannot read {variable} from this file ({error!r}); expected a MATLAB 5 file "
            "that holds it",
            kind="unreadable or damaged file",
        ) from error
    raise Problem(
        f"{path}: cannot read {variable} from this file ({reason}); expected a MATLAB 5 file that "
        "holds it",
        kind="MATLAB file of another kind",
    )


def _is_hdf5(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(max(_HDF5_STARTS) + len(_HDF5_SIGNATURE))
    return any(head.startswith(_HDF5_SIGNATURE, start) for start in _HDF5_STARTS)


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
