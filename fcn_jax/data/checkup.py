"""A user's files before they are built: every problem with them, and what they hold.

A problem is what a build refuses; a remark is what it accepts but somebody should know.
"""

import dataclasses
import functools
import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int

from fcn_jax.data.datasets import survey_folder
from fcn_jax.data.files.consistency import find_lack
from fcn_jax.data.files.file_names import list_visible
from fcn_jax.data.files.pairs import Pair, PairReader
from fcn_jax.data.files.problems import Problem, name_some
from fcn_jax.data.files.storage import UPRIGHT
from fcn_jax.data.files.survey import Place, Survey
from fcn_jax.data.labels import Color, LabelSet
from fcn_jax.errors import counted

NUM_THREADS = min(8, os.cpu_count() or 1)  # Pillow decodes without the lock of the interpreter


class Facts(NamedTuple):
    """What is kept of a pair that can be read.

    Attributes:
        pair: Where its files are.
        size: Height and width.
        counts: Pixels of each label value.
        image_kind: Format and mode of the image file.
        label_kind: How the label file stores the numbers.
        palette: Colours that the label file itself gives to numbers.
        orientation: EXIF orientation of the image.
        digest: Digest of the pixels of the image.
    """

    pair: Pair
    size: tuple[int, int]
    counts: Int[np.ndarray, "256"]
    image_kind: str
    label_kind: str
    palette: Mapping[int, Color]
    orientation: int
    digest: bytes

    @property
    def values(self) -> tuple[int, ...]:
        """Label values that occur."""
        return tuple(np.flatnonzero(self.counts).tolist())


@dataclasses.dataclass(frozen=True)
class Checkup:
    """What was found.

    Attributes:
        labels: Classes, those that were selected.
        facts: Facts of the pairs of each list "part/list"; None where a pair cannot be read.
        splits: Places of the pairs of each split.
        problems: What a build refuses.
        remarks: What a build accepts, in words.
        split_by: What the splits were made by, in words.
    """

    labels: LabelSet
    facts: Mapping[str, Sequence[Facts | None]]
    splits: Mapping[str, Sequence[Place]]
    problems: Sequence[Problem]
    remarks: Sequence[str]
    split_by: str

    def read(self, split: str) -> list[Facts]:
        """Returns the facts of the pairs of a split that can be read."""
        found = (self.facts[listed][index] for listed, index in self.splits.get(split, ()))
        return [facts for facts in found if facts]

    def find_lack(self, split: str) -> Problem | None:
        """Returns the problem that a split holds fewer than two classes, if all of it is read."""
        found = self.read(split)
        if not found or len(found) < len(self.splits[split]):
            return None
        return find_lack(split, len(found), sum(f.counts for f in found), self.labels)

    def count_pixels(self, split: str) -> Int[np.ndarray, "n k"]:
        """Returns the pixels of each class in each image of a split; void does not count."""
        counts = [facts.counts[: self.labels.num_classes] for facts in self.read(split)]
        return np.array(counts, np.int64).reshape(-1, self.labels.num_classes)


def check_folder(
    name: str,
    *,
    on_pair: Callable[[int, int], None] = lambda done, total: None,
    classes: Sequence[str] = (),
    **options: Any,
) -> Checkup:
    """Reads everything that a build of a data set would read.

    Args:
        name: Name of a data set that is built from a user's files.
        on_pair: Is told how many pairs of how many have been read.
        classes: Classes to tell apart, as `get_dataset` takes them.
        **options: Options of the data set, as `get_dataset` takes them.
    """
    problems: list[Problem] = []
    survey = survey_folder(name, problems.append, **options)
    facts = {f"{part.name}/{listed}": [] for part in survey.parts for listed in part.pairs}
    total = sum(len(pairs) for part in survey.parts for pairs in part.pairs.values())
    for part in survey.parts:
        consistency = part.make_consistency()
        tasks = [(listed, pair) for listed, pairs in part.pairs.items() for pair in pairs]
        examine_pair = functools.partial(examine, part.read_pair)
        with ThreadPoolExecutor(NUM_THREADS) as pool:
            results = pool.map(examine_pair, (pair for _, pair in tasks))
            for (listed, _), (found, its_problems) in zip(tasks, results, strict=True):
                problems += its_problems
                if found and consistency:
                    consistency.add(
                        listed,
                        found.pair.label_file,
                        found.counts,
                        found.palette,
                        kind=found.label_kind,
                        on_problem=problems.append,
                    )
                facts[f"{part.name}/{listed}"].append(found)
                on_pair(sum(map(len, facts.values())), total)
        if consistency and all(None not in facts[f"{part.name}/{listed}"] for listed in part.pairs):
            consistency.finish(on_problem=problems.append)
    remarks = [
        *survey.list_remarks(),
        *_find_unlisted(survey),
        *_find_oddities(facts, survey.labels),
        *_find_copies(survey, facts),
    ]
    labels = survey.labels
    if classes:
        labels = labels.select(classes)
        select = functools.partial(_select, np.frombuffer(labels.table_from(survey.labels), "u1"))
        facts = {listed: [select(found) for found in facts[listed]] for listed in facts}
    return Checkup(labels, facts, survey.splits, problems, remarks, survey.split_by)


def examine(read_pair: PairReader, pair: Pair) -> tuple[Facts | None, list[Problem]]:
    """Reads a pair; returns what is kept of it, or why it cannot be read."""
    problems: list[Problem] = []
    reading = read_pair(pair, problems.append)
    if not reading:
        return None, problems
    image, label = reading
    shape = repr(image.pixels.shape).encode()
    facts = Facts(
        pair=pair,
        size=reading.size,
        counts=reading.counts,
        image_kind=image.kind,
        label_kind=label.kind,
        palette=label.palette,
        orientation=image.orientation,
        digest=hashlib.sha256(shape + image.pixels.tobytes()).digest(),
    )
    return facts, problems


def _select(table: np.ndarray, facts: Facts | None) -> Facts | None:
    if not facts:
        return None
    counts = np.zeros(256, np.int64)
    np.add.at(counts, table, facts.counts)
    return facts._replace(counts=counts)


def _find_unlisted(survey: Survey) -> list[str]:
    """Says what lies beside the files of the pairs and belongs to none."""
    lists = [pairs for part in survey.parts for pairs in part.pairs.values()]
    used = {file for pairs in lists for pair in pairs for file in pair[1:]}
    remarks = []
    for folder in sorted({file.parent for file in used}):
        files = [path for path in list_visible(folder) if path.is_file()]
        others = [path.name for path in files if path not in used]
        if others:
            remarks.append(
                f"{folder}: {len(others)} of {len(files)} files are not used: {name_some(others)}"
            )
    return remarks


def _find_oddities(lists: Mapping[str, Sequence[Facts | None]], labels: LabelSet) -> list[str]:
    every = [facts for found in lists.values() for facts in found if facts]
    remarks = []
    for title, odd in [
        (
            "stored turned (EXIF), and read as they are stored, as their labels are",
            [facts for facts in every if facts.orientation != UPRIGHT],
        ),
        (
            "with transparency, which is dropped",
            [facts for facts in every if facts.image_kind.endswith("A")],
        ),
    ]:
        if odd:
            names = name_some([facts.pair.image_file.name for facts in odd])
            remarks.append(f"{counted(len(odd), 'image')} {title}: {names}")
    kinds = Counter(facts.label_kind for facts in every)
    if len(kinds - Counter(["MATLAB"] * kinds["MATLAB"])) > 1:
        parts = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
        remarks.append(f"labels are stored in several ways: {parts}")
    blank = [facts for facts in every if not facts.counts[:255].any()]
    if blank:
        names = name_some([facts.pair.label_file.name for facts in blank])
        remarks.append(f"{counted(len(blank), 'label')}, void at every pixel: {names}")
    for number, class_name in enumerate(labels.names):
        alone = [f for f in every if {number, labels.ignore_label} == {*f.values}]
        if alone:
            names = name_some([facts.pair.label_file.name for facts in alone])
            remarks.append(
                f"{counted(len(alone), 'label')} of class {class_name!r} and void "
                f"({labels.ignore_label}) alone: {names}"
            )
    return remarks


def _find_copies(survey: Survey, lists: Mapping[str, Sequence[Facts | None]]) -> list[str]:
    """Says which images show the same pixels, though their files may differ."""
    by_digest = defaultdict(dict)
    for split, picks in survey.splits.items():
        for listed, index in picks:
            if facts := lists[listed][index]:
                name = facts.pair.id
                if not survey.ids_are_global:
                    name = f"{listed.rpartition('/')[2]}/{name}"
                by_digest[facts.digest].setdefault(name, []).append(split)
    groups = [copies for copies in by_digest.values() if len(copies) > 1]
    remarks = []
    for title, chosen in [
        (
            "of different splits show the same picture",
            [copies for copies in groups if len(set(map(tuple, copies.values()))) > 1],
        ),
        (
            "of one split show the same picture",
            [copies for copies in groups if len(set(map(tuple, copies.values()))) == 1],
        ),
    ]:
        if chosen:
            examples = [" = ".join(copies) for copies in chosen]
            remarks.append(f"{sum(map(len, chosen))} images {title}: {name_some(examples)}")
    return remarks
