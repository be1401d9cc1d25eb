"""Splits by chance: the hash of an image's name and the seed say where it goes.

More images never move those that are there from one split to the other. Not if files or folders
seem to say how images are split and are not understood.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from fcn_jax.data.files import split_files
from fcn_jax.data.files.entries import UNDERSTOOD
from fcn_jax.data.files.file_names import list_pictures
from fcn_jax.data.files.folder_pairs import find_split_folders
from fcn_jax.data.files.pairs import Pair
from fcn_jax.data.files.problems import OnProblem, Problem
from fcn_jax.data.files.split_names import REQUIRED_SPLITS, begins_with_split


def draw(name: str, seed: int) -> float:
    """Returns a number in [0, 1) that depends on the name and the seed alone."""
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def draw_splits(
    pairs: Sequence[Pair], images: Path, on_problem: OnProblem, *, val_frac: float, split_seed: int
) -> dict[str, list[Pair]]:
    """Puts a share `val_frac` of the images into `val`; a split without images is a problem."""
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


def refuse_hints(
    source: Path,
    images: Path,
    files: Sequence[Path],
    names: Sequence[str],
    on_problem: OnProblem,
) -> list[str]:
    """Refuses to split by chance where something seems to say how; returns what is remarked on."""
    remarks = []
    for file in files:
        if split_files.names_splits(file) and (
            split_files.is_foreign(file) or split_files.names_images(file, names)
        ):
            on_problem(
                Problem(
                    f"{file} seems to say how images are split, and is not understood: write "
                    "train.txt and val.txt, or call the file otherwise if it does not; "
                    f"{UNDERSTOOD}",
                    kind="list that is not understood",
                )
            )
        elif split_files.names_splits(file):
            remarks += split_files.remark_unread(source, [file])
        elif split_files.names_images(file, names):
            remarks.append(
                f"{file.name} names images and is not read; lists are called train.txt, val.txt"
            )
    for split, folder in find_split_folders(source, on_problem=on_problem).items():
        if not list_pictures(folder, lambda problem: None):
            continue
        if split in REQUIRED_SPLITS:
            on_problem(
                Problem(
                    f"{folder} holds pictures beside {images}, and nothing says how these are "
                    "split: move all to images/train, labels/train, images/val, labels/val, or "
                    "write train.txt and val.txt",
                    kind="folder that is not understood",
                )
            )
        else:
            remarks.append(f"{folder} is not read: labelled images belong into images/ and labels/")
    begin = Counter(filter(None, (begins_with_split(Path(name).name) for name in names)))
    if "train" in begin and len(begin) > 1:
        counts = ", ".join(f"{count} of {split}" for split, count in begin.most_common())
        remarks.append(
            f"names of images begin as splits are called ({counts}), which does not count: write "
            "train.txt and val.txt"
        )
    return remarks
