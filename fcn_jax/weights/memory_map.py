"""Files as memory: arrays that are views of a file, and pages that are given back once read.

A file that is mapped costs no memory until it is read, and what was read can be dropped again, so
that half a gigabyte of weights is converted in little more than the size of the result.
"""

import mmap
from pathlib import Path

import numpy as np


def map_file(path: str | Path) -> mmap.mmap:
    """Maps a file that is not empty, read only."""
    with open(path, "rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def view(buffer, dtype: np.typing.DTypeLike, start: int, count: int) -> np.ndarray:
    """Returns `count` items from byte `start` on as an array, without a copy."""
    if count == 0:  # at the end of a buffer numpy takes no offset
        return np.empty(0, dtype)
    return np.frombuffer(buffer, dtype, count, start)


def drop_pages(array: np.ndarray) -> None:
    """Gives back the memory of the mapped file that `array` is a view of; it is read again on use.

    Does nothing for an array of its own memory, or where the system cannot.
    """
    owner = array
    while isinstance(owner, np.ndarray):
        owner = owner.base
    if isinstance(owner, memoryview):
        owner = owner.obj
    if isinstance(owner, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        owner.madvise(mmap.MADV_DONTNEED)
