"""Seeded damage to files: what a disk, a cable or a hand does to bytes.

`FCN_JAX_FUZZ=2000` makes so many trials of each law; without it there are a few.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

NUM_TRIALS = int(os.environ.get("FCN_JAX_FUZZ", "12"))


def mutate(rng: np.random.Generator, data: bytes) -> bytes:
    """Flips a bit, cuts, empties, overwrites, cuts out, repeats or exchanges a few bytes."""
    if not data:
        return bytes(rng.integers(0, 256, 8, np.uint8))
    at, length = int(rng.integers(len(data))), int(rng.integers(1, 40))
    noise = bytes(rng.integers(0, 256, length, np.uint8))
    match rng.integers(8):
        case 0 | 1 | 2:
            return data[:at] + bytes([data[at] ^ 1 << int(rng.integers(8))]) + data[at + 1 :]
        case 3:
            return data[:at]
        case 4:
            return data[:at] + noise + data[at + length :]
        case 5:
            return data[:at] + data[at + length :]
        case 6:
            return data[:at] + data[at : at + length] + data[at:]
        case _:
            return b""


def mutations(folder: Path, *, seed: int = 0) -> Iterator[Path]:
    """Damages one file of a folder after the other, and mends each when it is asked for the next.

    Yields:
        The file that is damaged.
    """
    rng = np.random.default_rng(seed)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    for _ in range(NUM_TRIALS):
        file = files[rng.integers(len(files))]
        whole = file.read_bytes()
        file.write_bytes(mutate(rng, whole))
        yield file
        file.write_bytes(whole)
