"""A folder whose files are summed up, so that no bit of them changes unseen."""

import json
import zlib
from pathlib import Path

from fcn_jax.atomic_file import sync, write_text
from fcn_jax.train.json_file import parse

_CHUNK_BYTES = 2**24


class Damage(Exception):
    """What is wrong with the bytes of a folder that was sealed."""


def seal(folder: Path) -> None:
    """Writes `checksums.json`, and waits until everything in a folder is on the disk.

    What it replaces is removed next: a power cut must not take both.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    checksums = {str(file.relative_to(folder)): _sum_up(file) for file in files}
    write_text(folder / "checksums.json", json.dumps(checksums, indent=1) + "\n")
    for path in (*folder.rglob("*"), folder):
        sync(path)


def check_seal(folder: Path) -> None:
    """Raises Damage unless the files of a folder are those that were sealed."""
    if not (folder / "checksums.json").exists():
        return  # of a run of before
    try:
        checksums = parse((folder / "checksums.json").read_bytes())
    except ValueError:
        checksums = {}
    if not checksums:
        raise Damage("its checksums.json cannot be read")
    for name, checksum in checksums.items():
        try:
            if _sum_up(folder / name) != checksum:
                raise Damage(f"{name} is not what was saved")
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError, ValueError) as error:
            raise Damage(f"{name!r} is missing") from error


def _sum_up(file: Path) -> str:
    """Returns the CRC-32 of a file: the fastest sum at hand, and no bit flips unseen by it."""
    checksum = 0
    with file.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            checksum = zlib.crc32(chunk, checksum)
    return f"{checksum:08x}"
