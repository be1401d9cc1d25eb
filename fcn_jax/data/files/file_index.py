"""Which files of a folder a word of a list may mean."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from fcn_jax.data.files.file_names import composed, is_picture, list_pictures

Names = Mapping[str, Sequence[Path]]


class FileIndex:
    """Finds files by their names; every folder is listed once.

    Spellings in Unicode do not count, nor the case of a suffix, nor a suffix that is left out.
    """

    def __init__(self):
        self._names: dict[Path, Names] = {}
        self._stems: dict[Path, Names] = {}
        self._below: dict[Path, Names] = {}

    def find(self, folder: Path, parts: Sequence[str]) -> list[Path]:
        """Returns the files that a path may mean, seen from a folder."""
        *above, name = parts
        folders = [folder]
        for part in above:
            folders = [path for folder in folders for path in self._list(folder, part)]
        found = [path for folder in folders for path in self._list(folder, name)]
        found = [path for path in found if path.is_file()]
        return found or [
            path
            for folder in folders
            for path in self._stems.get(folder, {}).get(composed(name), ())
            or self._find_other_case(folder, Path(composed(name)))
        ]

    def find_below(self, folder: Path, name: str) -> list[Path]:
        """Returns the pictures of a name, with or without suffix, anywhere below a folder."""
        if folder not in self._below:
            pictures = list_pictures(folder, lambda problem: None) if folder.is_dir() else {}
            self._below[folder] = _group((path.name, path) for path in pictures.values())
            self._below[folder] |= _group((path.stem, path) for path in pictures.values())
        return list(self._below[folder].get(composed(name), ()))

    def _list(self, folder: Path, name: str) -> Sequence[Path]:
        if folder not in self._names:
            paths = sorted(folder.iterdir()) if folder.is_dir() else []
            self._names[folder] = _group((path.name, path) for path in paths)
            pictures = [path for path in paths if is_picture(path) and path.is_file()]
            self._stems[folder] = _group((path.stem, path) for path in pictures)
        return self._names[folder].get(composed(name), ())

    def _find_other_case(self, folder: Path, name: Path) -> list[Path]:
        found = self._stems.get(folder, {}).get(name.stem, ())
        return [path for path in found if path.suffix.lower() == name.suffix.lower()]


def _group(named) -> dict[str, list[Path]]:
    groups = defaultdict(list)
    for name, path in named:
        groups[composed(name)].append(path)
    return dict(groups)
