"""The pictures that somebody names: files, folders, patterns and lists of them."""

import glob
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from fcn_jax.atomic_file import local_path
from fcn_jax.data.files.entries import LIST_SUFFIXES, Entry, read_entries
from fcn_jax.data.files.file_index import FileIndex
from fcn_jax.data.files.file_names import SUFFIXES, composed, is_picture, list_pictures
from fcn_jax.data.files.problems import MissingFile, Problem, list_folder, refuse
from fcn_jax.errors import MissingError, UserError

_MAGIC = re.compile(r"[*?[]")


class Photo(NamedTuple):
    """A picture file.

    Attributes:
        path: Where it is.
        name: What its outputs are called: a path without suffix, unlike those of all others.
    """

    path: Path
    name: str


def list_photos(words: Sequence[str]) -> list[Photo]:
    """Lists the pictures that words name, each once, in the order of the words.

    A word is a picture, a folder (with all that is below it), a pattern such as `photos/*.jpg`
    (`**` for any folders), or a list of pictures: a text file with a path on each line, CSV or
    JSON. Paths in a list are seen from the folder of the list, or from the present one.

    Names are paths from the folder that was named, from the fixed part of a pattern, or as a list
    writes them.

    Raises:
        UserError: If a word names nothing, or two files would get outputs of one name.
    """
    photos: dict[str, Photo] = {}
    for word in words:
        found = 0
        for path, name in _find(word):
            found += 1
            photo = photos.setdefault(name, Photo(path, name))
            if photo.path.resolve() != path.resolve():
                raise UserError(
                    f"{photo.path} and {path} would both be called {name}\n"
                    "rename one, or give them to two commands with an --output each"
                )
        if not found:
            raise MissingError(f"{word} holds no picture ({', '.join(SUFFIXES)})")
    return list(photos.values())


def _find(word: str) -> Iterator[tuple[Path, str]]:
    path = local_path(word)
    if path.is_dir():
        for name, picture in list_pictures(path, refuse).items():
            yield picture, name
    elif path.is_file():
        if path.suffix.lower() in LIST_SUFFIXES and path.suffix:
            yield from _read_list(path)
        else:
            yield path, composed(path.stem)
    elif _MAGIC.search(word):
        yield from _find_matching(str(path))
    else:
        raise MissingError(
            f"there is no {word}: give a picture, a folder, a pattern such as 'photos/*.jpg', or a "
            f"list of paths\n{list_folder(path.parent)}"
        )


def _find_matching(pattern: str) -> Iterator[tuple[Path, str]]:
    parts = Path(pattern).parts
    fixed = next(i for i, part in enumerate(parts) if _MAGIC.search(part))
    root = Path(*parts[:fixed])
    for match in sorted(glob.glob(pattern, recursive=True)):
        if is_picture(Path(match)) and Path(match).is_file():
            name = Path(match).relative_to(root).with_suffix("")
            yield Path(match), composed(name.as_posix())


def _read_list(file: Path) -> Iterator[tuple[Path, str]]:
    index = FileIndex()
    for entry in read_entries(file, refuse) or ():
        path = _find_entry(file, entry, index)
        word = Path(_word(entry))
        is_inside = not word.is_absolute() and ".." not in word.parts
        name = word.with_name(path.name) if is_inside else Path(path.name)
        yield path, composed(name.with_suffix("").as_posix())


def _find_entry(file: Path, entry: Entry, index: FileIndex) -> Path:
    word = Path(_word(entry)).expanduser()
    places = [word] if word.is_absolute() else [file.parent / word, Path(word)]
    for place in places:
        if place.is_file():
            return place
        found = index.find(place.parent, [place.name]) if place.name else []
        if len(found) == 1:
            return found[0]
        if found:
            raise Problem(
                f"{file}, {entry.where}: {word} may be {' or '.join(map(str, found))}; write it "
                "with its suffix",
                kind="line of a list",
            )
    raise MissingFile(
        f"{file}, {entry.where}: there is no picture {word}, seen from {file.parent} or from here",
        kind="missing file",
    )


def _word(entry: Entry) -> str:
    return entry.words[0] if entry.words else entry.text
