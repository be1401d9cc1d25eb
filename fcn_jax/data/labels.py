"""A set of classes: names, display colours, and the value that means "no label"."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fcn_jax.errors import UserError
from fcn_jax.ops.palette import class_palette, voc_palette

IGNORE_LABEL = 255  # the label value of void pixels, in every data set of the house
VOID_NAME = "void"  # what users call it where they name classes

Color = tuple[int, int, int]  # red, green, blue in [0, 255]


@dataclasses.dataclass(frozen=True)
class LabelSet:
    """Class names and display colours, both in the order of the class numbers.

    Attributes:
        names: Name of each class.
        colors: One (red, green, blue) in [0, 255] per class.
        ignore_label: Value of void pixels; never a class number.
    """

    names: tuple[str, ...]
    colors: tuple[Color, ...]
    ignore_label: int = IGNORE_LABEL

    def __post_init__(self):
        if len(self.names) != len(self.colors):
            raise UserError(f"{len(self.names)} class names but {len(self.colors)} colors")
        for number, name in enumerate(self.names):
            if not name.isprintable():
                raise UserError(
                    f"the name of class {number}, {name!r}, has signs that do not print"
                )
        if 0 <= self.ignore_label < len(self.names):
            raise UserError(
                f"ignore_label={self.ignore_label} is the number of class "
                f"{self.names[self.ignore_label]!r}; choose a value that no class has, such as 255"
            )

    @property
    def num_classes(self) -> int:
        return len(self.names)

    @classmethod
    def in_voc_colors(cls, names: Sequence[str]) -> "LabelSet":
        """Makes a label set whose colours are the first ones of PASCAL VOC's colour map."""
        return cls(tuple(names), _as_tuples(voc_palette(num_colors=len(names))))

    @classmethod
    def in_default_colors(cls, names: Sequence[str]) -> "LabelSet":
        """Makes a label set in colours that can be told apart; for classes that nobody coloured."""
        return cls(tuple(names), _as_tuples(class_palette(num_colors=len(names))))

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
            raise UserError(
                f"data.classes: unknown classes {unknown}; known: {', '.join(self.names)}"
            )
        if len(set(classes)) < len(classes):
            raise UserError(f"data.classes={list(classes)} name a class twice; name each once")
        if len(classes) < 2:
            raise UserError(
                f"data.classes={list(classes)} name one class, and no score could be wrong: "
                "pixels of "
                "all others become void. Name a second one, such as the background"
            )
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


def _as_tuples(colors: np.ndarray) -> tuple[Color, ...]:
    return tuple((red, green, blue) for red, green, blue in colors.tolist())
