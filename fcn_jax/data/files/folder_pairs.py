"""Images and labels that have the same names in two folders, and folders that are splits."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from fcn_jax.data.files.file_names import (
    IMAGES,
    LABELS,
    SUFFIXES,
    find_folder,
    is_picture,
    list_pictures,
    list_visible,
)
from fcn_jax.data.files.pairs import Pair
from fcn_jax.data.files.problems import MissingFile, OnProblem, Problem, list_folder, name_some
from fcn_jax.data.files.split_names import REQUIRED_SPLITS, SPLITS, split_of


class FolderSplits(NamedTuple):
    """Splits that folders make.

    Attributes:
        pairs: Pairs of each split.
        folders: Folders of the images.
        left_out: Reason why a split is left out, by split.
    """

    pairs: Mapping[str, Sequence[Pair]]
    folders: Sequence[Path]
    left_out: Mapping[str, str]


def match(images: Path, labels: Path, on_problem: OnProblem) -> list[Pair]:
    """Pairs the pictures of two folders by their paths in them, without suffix."""
    image_files = list_pictures(images, on_problem)
    label_files = list_pictures(labels, on_problem)
    if not image_files:
        on_problem(
            MissingFile(
                f"{images} holds no picture ({list_folder(images)}); expected "
                f"*{' *'.join(SUFFIXES)}",
                kind="empty folder",
            )
        )
    unmatched = [
        (file, "label", labels) for name, file in image_files.items() if name not in label_files
    ]
    unmatched += [
        (file, "image", images) for name, file in label_files.items() if name not in image_files
    ]
    for file, partner, folder in unmatched:
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


def find_split_folders(folder: Path, *, on_problem: OnProblem) -> dict[str, Path]:
    """Returns the folders in a folder that are called as splits, by split."""
    found: dict[str, list[Path]] = {}
    for path in list_visible(folder):
        if path.is_dir() and (split := split_of(path.name)):
            found.setdefault(split, []).append(path)
    for split, paths in found.items():
        if paths[1:]:
            on_problem(
                Problem(
                    f"{folder} holds {name_some([path.name for path in paths])}, all of which may "
                    f"be {split}; keep one of them",
                    kind="two folders of one meaning",
                )
            )
    return {
        split: min(paths, key=lambda path: path.name != split) for split, paths in found.items()
    }


def read_folders(images: Path, labels: Path, on_problem: OnProblem) -> FolderSplits:
    """Reads images/train and labels/train, and so on."""
    visible = list_visible(images)
    below = find_split_folders(images, on_problem=on_problem)
    unknown = [p.name for p in visible if p.is_dir() and not split_of(p.name)]
    files = [path.name for path in visible if is_picture(path) and path.is_file()]
    if unknown:
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
    label_folders = find_split_folders(labels, on_problem=on_problem)
    folders = {
        split: (below.get(split, images / split), label_folders.get(split, labels / split))
        for split in SPLITS
        if split in below or split in REQUIRED_SPLITS
    }
    return _read_splits(folders, on_problem)


def find_folders_of_splits(source: Path, *, on_problem: OnProblem) -> dict[str, tuple[Path, Path]]:
    """Returns train/images and train/labels, and so on; nothing if no split has images."""
    folders = {}
    for split, folder in find_split_folders(source, on_problem=on_problem).items():
        images = find_folder(folder, IMAGES, on_problem=on_problem)
        labels = find_folder(folder, LABELS, on_problem=on_problem)
        if images:
            folders[split] = images, labels or folder / LABELS[0]
    return folders


def read_folders_of_splits(
    source: Path, folders: Mapping[str, tuple[Path, Path]], on_problem: OnProblem
) -> FolderSplits:
    """Reads what `find_folders_of_splits` found."""
    expected = {split: (source / split / "images", source / split / "labels") for split in SPLITS}
    return _read_splits(
        {
            split: folders.get(split, expected[split])
            for split in SPLITS
            if split in folders or split in REQUIRED_SPLITS
        },
        on_problem,
    )


def _read_splits(folders: Mapping[str, tuple[Path, Path]], on_problem: OnProblem) -> FolderSplits:
    """Reads the folders of images and of labels of each split."""
    pairs, left_out = {}, {}
    for split, (images, labels) in folders.items():
        missing = [folder for folder in (images, labels) if not folder.is_dir()]
        has_labels = labels.is_dir() and list_pictures(labels, lambda problem: None)
        if split not in REQUIRED_SPLITS and images.is_dir() and not has_labels:
            left_out[split] = f"the images of {images} have no labels in {labels}"
        elif missing:
            on_problem(
                MissingFile(
                    f"the folder {missing[0]} is missing; expected images/train, labels/train, "
                    "images/val, labels/val",
                    kind="missing folder",
                )
            )
        else:
            pairs[split] = match(images, labels, on_problem)
    return FolderSplits(pairs, [images for images, _ in folders.values()], left_out)
