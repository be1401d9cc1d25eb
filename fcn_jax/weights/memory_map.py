"""Arrays that are views of a mapped file, and pages of it that are given back once they were read.

A mapped file takes no memory until it is read, and pages that were read can be dropped again, so
that half a gigabyte of weights is converted in little more memory than the result takes.
"""

import mmap
from pathlib import Path

import numpy as np


def map_file(path: str | Path) -> mmap.mmap:
    """Maps a file, which must not be empty, for reading alone."""
    with open(path, "rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def view(
    buffer: mmap.mmap | bytes, dtype: np.typing.DTypeLike, start: int, count: int
) -> np.ndarray:
    """Returns `count` items from byte `start` on as an array, without a copy."""
    if count == 0:  # at the end of a buffer numpy takes no offset
        return np.empty(0, dtype)
    return np.frombuffer(buffer, dtype, count, start)


def drop_pages(array: np.ndarray) -> None:
    """Gives back the memory of the mapped file that `array` is a view of.

    The pages are read again when they are used. The function does nothing for an array that has
    memory of its own, or where the system cannot do it.
    """
    owner = array
    while isinstance(owner, np.ndarray):
        owner = owner.base
    if isinstance(owner, memoryview):
        owner = owner.obj
    if isinstance(owner, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        owner.madvise(mmap.MADV_DONTNEED)
