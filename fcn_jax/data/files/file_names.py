"""Names in a user's folder: which belong to a system, which are pictures, which mean the same.

Names are compared in Unicode's composed form (NFC), since a name that went through a Mac is spelt
otherwise (NFD) and looks the same.
"""

import os
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path

from fcn_jax.data.files.problems import MissingFile, OnProblem, Problem, name_some

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif")
IMAGES, LABELS = ("images", "JPEGImages"), ("labels", "SegmentationClass")  # folders

# What systems and programs leave behind, beside names that begin with a dot.
_OF_SYSTEMS = {
    "__macosx", "__pycache__", "$recycle.bin", "@eadir", "desktop.ini", "ehthumbs.db", "icon\r",
    "lost+found", "system volume information", "thumbs.db",
}  # fmt: skip
_APPLE_DOUBLE = "._"  # begins files that hold what a Mac knows of another one, and no picture


def is_passed_over(name: str) -> bool:
    """Says whether a file or folder is hidden, or a system's."""
    return name.startswith(".") or name.casefold() in _OF_SYSTEMS


def is_picture(path: Path) -> bool:
    """Says whether a path ends as pictures do, in any case."""
    return path.suffix.lower() in SUFFIXES


def composed(name: str) -> str:
    """Returns the form of a name by which it is compared."""
    return unicodedata.normalize("NFC", name)


def list_visible(folder: Path) -> list[Path]:
    """Lists what a folder holds, less what is passed over, in order."""
    return sorted(path for path in folder.iterdir() if not is_passed_over(path.name))


def find_folder(parent: Path, names: Iterable[str], *, on_problem: OnProblem) -> Path | None:
    """Returns the folder that has one of these names in any case; None if there is none.

    A problem is several of them; one that is spelt exactly comes first.
    """
    names = list(names)
    folded = {name.casefold() for name in names}
    if not parent.is_dir():
        return None
    found = [p for p in list_visible(parent) if p.name.casefold() in folded and p.is_dir()]
    if len(found) > 1:
        on_problem(
            Problem(
                f"{parent} holds {name_some([path.name for path in found])}, which mean the same; "
                "keep one of them",
                kind="two folders of one meaning",
            )
        )
    return min(found, key=lambda path: path.name not in names, default=None)


def list_pictures(folder: Path, on_problem: OnProblem) -> dict[str, Path]:
    """Returns the pictures in and below a folder by their names, sorted.

    A name is the path in the folder, composed and without suffix. A problem is a name that is no
    text, that two files have, or that belongs to no file.
    """
    pictures: dict[str, Path] = {}
    for path in _walk(folder):
        if not _is_text(str(path)):
            on_problem(
                Problem(f"the name of {str(path)!a} is no UTF-8 text; rename it", kind="file name")
            )
        elif not path.is_file():
            on_problem(
                MissingFile(
                    f"{path} is no file (a broken link?); put the file there, or remove this",
                    kind="missing file",
                )
            )
        else:
            name = composed(path.relative_to(folder).with_suffix("").as_posix())
            twin = pictures.setdefault(name, path)
            if twin != path:
                on_problem(two_of_one_name([path, twin]))
    return pictures


def two_of_one_name(paths: list[Path]) -> Problem:
    """Makes the problem of two files whose names mean the same."""
    first, second = paths[:2]
    how = "have the same name"
    if composed(first.name) == composed(second.name) and first.parent == second.parent:
        how = f"look the same and are spelt differently (Unicode: {first.name!a}, {second.name!a})"
    return Problem(
        f"{first} and {second.name} {how}; remove or rename one", kind="two files of one name"
    )


def find_hidden_pictures(folder: Path) -> list[Path]:
    """Lists what is passed over in and below a folder although it is a picture or holds some."""
    found = []
    for root, folders, files in os.walk(folder):
        for name in sorted(filter(is_passed_over, folders)):
            below = (Path(file) for _, _, names in os.walk(Path(root, name)) for file in names)
            if any(is_picture(p) and not p.name.startswith(_APPLE_DOUBLE) for p in below):
                found.append(Path(root, name))
        folders[:] = [name for name in folders if not is_passed_over(name)]
        found += [
            Path(root, name)
            for name in sorted(files)
            if is_passed_over(name) and is_picture(Path(name)) and name[:2] != _APPLE_DOUBLE
        ]
    return found


def _walk(folder: Path) -> Iterator[Path]:
    """Yields what ends as pictures do, through links to folders too, each folder once."""
    waiting, seen = [folder], {os.path.realpath(folder)}
    found = []
    while waiting:
        for path in list_visible(waiting.pop()):
            if is_picture(path):
                found.append(path)
            elif path.is_dir() and (real := os.path.realpath(path)) not in seen:
                seen.add(real)
                waiting.append(path)
    yield from sorted(found)


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
