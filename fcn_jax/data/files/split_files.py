"""Where a user's folder says how its images are split: lists, tables, and what is not understood.

Lists may have the usual names of splits in any case (`Train.txt`, `val_list.csv`), and lie in the
folder or in one below it.
"""

import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from fcn_jax.data.files.entries import (
    LIST_SUFFIXES,
    TABLE_SUFFIXES,
    TEXT_SUFFIXES,
    Entry,
    read_table,
)
from fcn_jax.data.files.file_names import IMAGES, LABELS, composed, list_visible
from fcn_jax.data.files.problems import OnProblem, Problem, name_some
from fcn_jax.data.files.split_names import SPLITS, mentions_split, split_of
from fcn_jax.data.files.text_file import read_text

_OF_VOC = Path("ImageSets/Segmentation")
# Files of other programs that may say how images are split, and are not read.
_NO_TEXT = (".mat", ".npy", ".npz", ".pkl", ".xlsx")
_FOREIGN = (".jsonl", ".yaml", ".yml", ".xml", *_NO_TEXT)
_BETWEEN_WORDS = r"[\s,;:\"'\[\]{}]+"
_LARGEST_BYTES = 64 << 20  # a text above it is not looked at


class SplitFiles(NamedTuple):
    """Files that say how images are split.

    Attributes:
        lists: File of the list of each split.
        table: Entries of each split, where one file has them all; empty if there are lists.
        used: Files that these are from.
        others: Further files that may say it, and are not read.
    """

    lists: Mapping[str, Path]
    table: Mapping[str, Sequence[Entry]]
    used: Sequence[Path]
    others: Sequence[Path]


def find_split_files(source: Path, *, on_problem: OnProblem) -> SplitFiles:
    """Looks for lists and tables in a folder and in those up to three levels below it.

    Of several lists for a split, the one nearest to `train.txt` in the folder itself counts; a
    problem is two that are equally near.
    """
    files = [
        file
        for folder in _walk(source)
        for file in list_visible(folder)
        if _may_count(file, source) and file.is_file()
    ]

    def rank(file: Path) -> tuple[int, ...]:
        """Orders lists of one split: the first counts."""
        suffix, stem = file.suffix.lower(), file.stem
        exactness = (stem != split_of(stem)) + (stem.casefold() != split_of(stem))
        depth = len(file.relative_to(source).parts)
        return (
            depth * (file.parent != source / _OF_VOC),
            suffix == ".json",
            exactness,
            LIST_SUFFIXES.index(suffix),
        )

    lists: dict[str, list[Path]] = {}
    for file in files:
        if file.suffix.lower() in LIST_SUFFIXES and (split := split_of(file.stem)):
            lists.setdefault(split, []).append(file)
    chosen = {split: min(lists[split], key=rank) for split in SPLITS if split in lists}
    for split, found in lists.items():
        equal = [file for file in found if rank(file) == rank(chosen[split])]
        if equal[1:]:
            on_problem(
                Problem(
                    f"{name_some(list(map(str, equal)))} are lists of {split} alike; keep one, as "
                    f"{split}.txt",
                    kind="two lists of one split",
                )
            )
    table, used = {}, list(chosen.values())
    if not chosen:
        tables = {file: read_table(file) for file in files if _may_be_table(file)}
        tables = {file: splits for file, splits in tables.items() if splits}
        if len(tables) > 1:
            on_problem(
                Problem(
                    f"{name_some(list(map(str, tables)))} say each which images are in which "
                    "split; keep one of them",
                    kind="two lists of one split",
                )
            )
        for file, splits in list(tables.items())[:1]:
            table, used = splits, [file]
    return SplitFiles(chosen, table, used, [file for file in files if file not in used])


def lie_in(source: Path, files: Sequence[Path]) -> bool:
    """Says whether lists lie in the folder itself, in a form that is made for nothing else."""
    return any(file.parent == source and file.suffix.lower() != ".json" for file in files)


def names_splits(file: Path) -> bool:
    """Says whether a file is called after splits, or is a YAML file with keys that are."""
    if mentions_split(file.stem):
        return True
    text = _peek(file) if file.suffix.lower() in (".yaml", ".yml") else ""
    return bool(re.search(r"^(train|val|test)\s*:", text, re.MULTILINE))


def names_images(file: Path, names: Collection[str]) -> bool:
    """Says whether half of the lines of a file hold names of images, and of more than one."""
    lines = [line for line in _peek(file).split("\n") if line.strip()]
    names = {name.rpartition("/")[2] for name in names}
    hits = [
        names & {Path(composed(word)).stem for word in [line, *re.split(_BETWEEN_WORDS, line)]}
        for line in lines
    ]
    return 2 * sum(map(bool, hits)) >= len(lines) and len(set().union(*hits)) > 1


def is_foreign(file: Path) -> bool:
    """Says whether a file is of a form that is never read."""
    return file.suffix.lower() in _FOREIGN


def _walk(folder: Path, *, levels: int = 3) -> Iterator[Path]:
    """Yields a folder and those below it that may hold lists."""
    yield folder
    for below in list_visible(folder) if levels else ():
        if below.is_dir():
            yield from _walk(
                below, levels=levels - 1 if below.name not in (*IMAGES, *LABELS) else 0
            )


def _may_count(file: Path, source: Path) -> bool:
    suffix = file.suffix.lower()
    if file.parent == source:
        return suffix in (*LIST_SUFFIXES, *_FOREIGN)
    if file.parent.name in (*IMAGES, *LABELS):  # where every image may have a text of its own
        return suffix in TEXT_SUFFIXES and bool(split_of(file.stem))
    return suffix in (*LIST_SUFFIXES, *_FOREIGN) and mentions_split(file.stem)


def _may_be_table(file: Path) -> bool:
    return file.suffix.lower() in (*TABLE_SUFFIXES, ".json") and _is_small(file)


def _is_small(file: Path) -> bool:
    return file.stat().st_size <= _LARGEST_BYTES


def _peek(file: Path) -> str:
    if file.suffix.lower() in _NO_TEXT or not _is_small(file):
        return ""
    return read_text(file, [].append, kind="") or ""


def remark_unread(source: Path, files: Sequence[Path]) -> list[str]:
    """Says which files are called after splits and are passed over."""
    if not files:
        return []
    names = name_some([os.path.relpath(file, source) for file in files])
    return [f"not read, though called after splits: {names}"]
