"""What files that list images say: the entries of text lists, tables (CSV) and JSON.

A list names the images of one split. A table gives each image its split, in a column of a CSV file
or as lists by split in JSON.
"""

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from fcn_jax.data.files.problems import OnProblem, Problem
from fcn_jax.data.files.split_names import split_of
from fcn_jax.data.files.text_file import read_text

TEXT_SUFFIXES = ("", ".txt", ".lst", ".list")
TABLE_SUFFIXES = (".csv", ".tsv")
LIST_SUFFIXES = (*TEXT_SUFFIXES, *TABLE_SUFFIXES, ".json")

UNDERSTOOD = (
    "a list has a name, or 'image label', per line; CSV may have a header, image,label or "
    "image,split; JSON is [names] or {train: [names], val: [names]}"
)

_IMAGE_KEYS = (
    "image", "images", "img", "image_path", "img_path", "image_file", "image_name", "image_id",
    "filename", "file_name", "file", "path", "name", "id",
)  # fmt: skip
_LABEL_KEYS = (
    "label", "labels", "label_path", "label_file", "mask", "masks", "mask_path", "mask_file",
    "annotation", "segmentation", "target", "gt",
)  # fmt: skip
_SPLIT_KEYS = ("split", "set", "subset", "partition", "phase", "fold")
_KIND = "line of a list"


class Entry(NamedTuple):
    """What a file says of one image.

    Attributes:
        where: Line or entry of the file.
        text: The line; '' if the file itself separates the words.
        words: Image, or image and label, where the file separates them.
    """

    where: str
    text: str = ""
    words: tuple[str, ...] = ()


def read_entries(file: Path, on_problem: OnProblem) -> list[Entry] | None:
    """Reads a list, or returns None after a problem; empty lines and spaces around do not count."""
    if file.suffix.lower() == ".json":
        return _read_json_list(file, on_problem)
    if file.suffix.lower() in TABLE_SUFFIXES:
        rows = _read_rows(file)
        if rows is not None:
            return [entry for _, entry in rows]
    text = read_text(file, on_problem, kind=_KIND)
    return (
        None
        if text is None
        else [
            Entry(f"line {number}", line.strip())
            for number, line in enumerate(text.split("\n"), start=1)
            if line.strip()
        ]
    )


def read_table(file: Path) -> dict[str, list[Entry]] | None:
    """Reads the list of each split from a table; None if the file is none, or is not clear."""
    problems: list[Problem] = []
    pairs: list[tuple[str, Entry]] = []
    if file.suffix.lower() == ".json":
        pairs = _read_json_table(file, problems.append)
    elif file.suffix.lower() in TABLE_SUFFIXES:
        pairs = _read_rows(file) or []
    splits: dict[str, list[Entry]] = {}
    for name, entry in pairs:
        splits.setdefault(split_of(name) or "", []).append(entry)
    return splits if splits and not problems and "" not in splits else None


def _read_rows(file: Path) -> list[tuple[str, Entry]] | None:
    """Reads the rows of a CSV file as (name of the split, entry); None without a header."""
    lines = (read_text(file, [].append, kind=_KIND) or "").split("\n")
    first = next((line for line in lines if line.strip()), "")
    delimiter = max("\t;,", key=first.count)
    try:
        numbered = enumerate(csv.reader(lines, delimiter=delimiter), start=1)
        rows = [(number, [*map(str.strip, row)]) for number, row in numbered if any(row)]
    except csv.Error:
        return None
    header = rows[0][1] if rows else []
    names = [cell.casefold().replace(" ", "_") for cell in header]
    image, label, split = (
        next((key for key in keys if key in names), None)
        for keys in (_IMAGE_KEYS, _LABEL_KEYS, _SPLIT_KEYS)
    )
    if not image:
        return None
    found = []
    for number, row in rows[1:]:
        cells = dict(zip(names, row, strict=False))
        words = tuple(cells[key] for key in (image, label) if key and cells.get(key))
        found.append((cells.get(split, ""), Entry(f"line {number}", words=words)))
    return found


def _read_json(file: Path, on_problem: OnProblem) -> Any:
    """Returns what a file holds; None after a problem."""
    text = read_text(file, on_problem, kind=_KIND)
    if text is None:
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        return on_problem(Problem(f"{file} is no JSON ({error}); {UNDERSTOOD}", kind=_KIND))


def _read_json_list(file: Path, on_problem: OnProblem) -> list[Entry] | None:
    value = _read_json(file, on_problem)
    if value is None:
        return None
    if isinstance(value, Mapping):
        value = next((value[key] for key in ("images", "files", "items") if key in value), None)
    found = _parse_items(value)
    if found is None:
        return on_problem(Problem(f"{file} is not understood: {UNDERSTOOD}", kind=_KIND))
    return [entry for _, entry in found]


def _read_json_table(file: Path, on_problem: OnProblem) -> list[tuple[str, Entry]]:
    value = _read_json(file, on_problem)
    if isinstance(value, Mapping) and not any(map(split_of, value)) and _are_text(value.values()):
        return [(split, Entry(f"entry {name!r}", words=(name,))) for name, split in value.items()]
    if isinstance(value, Mapping):
        lists = {key: _parse_items(items) for key, items in value.items() if split_of(key)}
        return [
            (key, entry._replace(where=f"{key}, {entry.where}"))
            for key, items in lists.items()
            for _, entry in items or [("not understood", Entry(""))]
        ]
    return _parse_items(value) or []


def _parse_items(items: Any) -> list[tuple[str, Entry]] | None:
    """Returns (name of the split, entry) of each item; None if one cannot be understood."""
    if not isinstance(items, Sequence) or isinstance(items, str):
        return None
    found = []
    for number, item in enumerate(items, start=1):
        split, words = "", ()
        if isinstance(item, str):
            words = (item,)
        elif isinstance(item, Mapping):
            image, label, split = (
                next((item[key] for key in keys if isinstance(item.get(key), str)), "")
                for keys in (_IMAGE_KEYS, _LABEL_KEYS, _SPLIT_KEYS)
            )
            words = tuple(filter(None, (image, label)))
        elif isinstance(item, Sequence):
            words = tuple(item)
        if not words or not _are_text(words):
            return None
        found.append((split, Entry(f"entry {number}", words=words)))
    return found


def _are_text(values: Iterable[Any]) -> bool:
    return all(isinstance(value, str) for value in values)
