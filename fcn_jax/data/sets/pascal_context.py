"""Pascal Context: the images of VOC2010 with every pixel labelled, 59 classes and background.

A label is the array `LabelMap` of a `.mat` file. Its values are the 459 numbers of `labels.txt`; a
class is found there by its name, without spaces. What is none of the 59 is background, and nothing
is void. `data.classes` with the other 59 names makes background void.

Source: Mottaghi et al. 2014; pascalcontext_layers.py and data/pascal-context of the released FCN.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from fcn_jax.data.files.matlab import read_mat_label
from fcn_jax.data.files.problems import MissingFile, OnProblem, Problem, name_some, refuse
from fcn_jax.data.labels import LabelSet
from fcn_jax.data.sets.folder_layout import FolderLayout, Table
from fcn_jax.data.sets.splits import PublishedSet, Split

# The 59 most frequent of 459 names, in the order and the spelling of the authors' 59_labels.txt.
NAMES = (
    "background, aeroplane, bicycle, bird, boat, bottle, bus, car, cat, chair, cow, diningtable, "
    "dog, horse, motorbike, person, pottedplant, sheep, sofa, train, tvmonitor, bag, bed, bench, "
    "book, building, cabinet, ceiling, clothes, computer, cup, door, fence, floor, flower, food, "
    "grass, ground, keyboard, light, mountain, mouse, curtain, platform, sign, plate, road, rock, "
    "shelves, sidewalk, sky, snow, bedcloth, track, tree, truck, wall, water, window, wood"
)
LABELS = LabelSet.in_voc_colors(NAMES.split(", "))

# What labels.txt calls some of the classes of 59_labels.txt.
OTHER_NAMES = {"diningtable": "table", "bedcloth": "bedclothes", "clothes": "cloth"}

NUM_VALUES = 2**16  # LabelMap is uint16

EXPECTED_FILES = """\
  VOCdevkit/VOC2010/ImageSets/Main/{train,val}.txt
  VOCdevkit/VOC2010/JPEGImages/*.jpg
  trainval/*.mat           the labels with 459 numbers, from the site of Pascal Context
  labels.txt               what the numbers mean, from there too
  59_labels.txt            if it is there, it is compared with the classes
in one folder: --config.data.source_dir=/path/to/it"""


def read_table(folder: Path, *, on_problem: OnProblem = refuse) -> Table:
    """Reads the class of each label value from labels.txt.

    A problem is a file that is missing or cannot be understood, a class that it does not name, and
    a 59_labels.txt that numbers the classes in another way.
    """
    names_file, classes_file = folder / "labels.txt", folder / "59_labels.txt"
    if not names_file.is_file():
        on_problem(
            MissingFile(f"{names_file} is missing; expected\n{EXPECTED_FILES}", kind="missing list")
        )
        return dict.fromkeys(range(NUM_VALUES), 0)  # so that the labels can be read all the same
    values = read_names(names_file, on_problem=on_problem)
    classes = _rename({name: n for n, name in enumerate(LABELS.names) if n})
    if unnamed := [name for name in classes if name not in values]:
        on_problem(
            Problem(
                f"{names_file} has no number for {name_some(unnamed)}; expected the list of 459 "
                "names that belongs to the labels",
                kind="list of other classes",
            )
        )
    if classes_file.is_file():
        _compare_classes(classes_file, classes, on_problem)
    # No list has 0; the released FCN takes it for background.
    return {0: 0, **{value: classes.get(name, 0) for name, value in values.items()}}


def _rename(classes: Mapping[str, int]) -> dict[str, int]:
    return {OTHER_NAMES.get(name, name): number for name, number in classes.items()}


def _compare_classes(file: Path, classes: Mapping[str, int], on_problem: OnProblem) -> None:
    names = read_names(file, on_problem=on_problem)
    found = _rename({name: number for name, number in names.items() if number})
    if found != classes:
        name, number = min(found.items() ^ classes.items(), key=lambda item: item[1])
        on_problem(
            Problem(
                f"{file}: '{number}: {name}' is in only one of this list and the classes of "
                "data set 'pascal_context'; to choose classes, use --config.data.classes",
                kind="list of other classes",
            )
        )


def read_names(file: Path, *, on_problem: OnProblem = refuse) -> dict[str, int]:
    """Reads lines `number: name`; returns the number of each name, which loses its spaces."""
    values: dict[str, int] = {}
    lines = file.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    for count, line in enumerate(lines, start=1):
        number, _, name = ("".join(part.split()) for part in line.partition(":"))
        if not (number or name):
            continue
        is_number = number.isdecimal() and int(number) < NUM_VALUES
        if not is_number or not name or name in values or int(number) in values.values():
            on_problem(
                Problem(
                    f"{file}, line {count}: expected 'number: name' with a number and a name of "
                    f"its own, got {line.strip()!r}",
                    kind="line of a list",
                )
            )
            continue
        values[name] = int(number)
    return values


LAYOUT = FolderLayout(
    name="pascal_context",
    title="Pascal Context",
    places=(".",),
    lists="VOCdevkit/VOC2010/ImageSets/Main/{}.txt",
    images="VOCdevkit/VOC2010/JPEGImages/{}.jpg",
    label_files="trainval/{}.mat",
    read_label=partial(read_mat_label, variable="LabelMap"),
    read_table=read_table,
)

DATA_SET = PublishedSet(
    name="pascal_context",
    title="Pascal Context",
    labels=LABELS,
    expected_files=EXPECTED_FILES,
    layouts=(LAYOUT,),
    splits={
        "train": Split(4998, take=("pascal_context/train",)),
        "val": Split(5105, take=("pascal_context/val",)),
    },
    disjoint=(("train", "val"),),
)
