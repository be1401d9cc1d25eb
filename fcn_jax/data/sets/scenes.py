"""Scenes of large regions, solid figures and thin structures, drawn from a seed.

Each image is a wall (background) with, each in about half of the images, a textured sky above and
ground below, a few solid figures, and thin structures two to four pixels wide: poles, wires and
fences, which a network with an output stride of 32 cannot follow. Classes differ in hue, shape and
texture; colour, light and noise vary.

Labels are exact: everything is drawn as a mask, without anti-aliasing. As in PASCAL VOC a void line
surrounds every object. It lies outside of the object and never covers a thin structure.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float, UInt8

from fcn_jax.data.labels import LabelSet

# Colours near those in the images, so that a prediction reads at a glance.
LABELS = LabelSet(
    names=(
        "background", "sky", "ground", "disk", "square", "triangle", "ring", "star", "checker",
        "pole", "wire", "fence",
    ),
    colors=(
        (150, 140, 125), (130, 180, 230), (90, 125, 60), (205, 50, 50), (50, 70, 200),
        (225, 205, 50), (205, 60, 185), (245, 140, 30), (240, 240, 240), (95, 30, 120),
        (25, 25, 30), (20, 165, 160),
    ),
)  # fmt: skip

SPLITS = ("train", "val")
MIN_SIDE, MAX_SIDE = 96, 128  # pixels; each side of an image is drawn from this range
PRESENCE = 0.5  # probability that an image has a class; the background is always there
MAX_FIGURES = 2  # of one class, in an image that has it
VOID_PX = 2  # width of the void line

Mask = Bool[np.ndarray, "h w"]


def draw_scene(
    seed: int, split: str, index: int
) -> tuple[UInt8[np.ndarray, "h w 3"], UInt8[np.ndarray, "h w"]]:
    """Draws one image with its label; a function of the arguments alone."""
    rng = np.random.default_rng((seed, SPLITS.index(split), index))
    height, width = (int(side) for side in rng.integers(MIN_SIDE, MAX_SIDE + 1, size=2))
    scene = _Scene(rng, height, width)
    present = rng.random(LABELS.num_classes) < PRESENCE
    for class_name, draw in _REGIONS.items():
        if present[LABELS.names.index(class_name)]:
            scene.add(class_name, draw(rng, scene.y, scene.x))
    for class_name, draw in _FIGURES.items():
        if present[LABELS.names.index(class_name)]:
            for _ in range(rng.integers(1, MAX_FIGURES + 1)):
                scene.add(class_name, _find_room(rng, scene, draw))
    for class_name, (draw, fewest, most) in _THIN.items():
        if present[LABELS.names.index(class_name)]:
            for _ in range(rng.integers(fewest, most + 1)):
                scene.add(class_name, draw(rng, scene.y, scene.x))
    return scene.finish(), scene.label


class _Scene:
    """An image in the making: colours in [0, 255] as floats, and its label."""

    def __init__(self, rng: np.random.Generator, height: int, width: int):
        self.rng = rng
        self.y, self.x = np.mgrid[:height, :width].astype(np.float64)
        self.label = np.zeros((height, width), np.uint8)
        self.colors = self._paint("background")

    def add(self, class_name: str, mask: Mask) -> None:
        """Puts an object on top of what is there, and its void line around it."""
        line = _dilate(mask, VOID_PX) & ~mask & ~np.isin(self.label, _THIN_LABELS)
        self.colors[mask] = self._paint(class_name)[mask]
        self.label[line] = LABELS.ignore_label
        self.label[mask] = LABELS.names.index(class_name)

    def finish(self) -> UInt8[np.ndarray, "h w 3"]:
        """Lights the scene from one side and adds the noise of a camera."""
        rng = self.rng
        angle = rng.uniform(0, 2 * np.pi)
        across = np.cos(angle) * (self.x / self.x.max() - 0.5)
        down = np.sin(angle) * (self.y / self.y.max() - 0.5)
        light = rng.uniform(0.85, 1.1) + rng.uniform(0.0, 0.3) * (across + down)
        noise = rng.normal(0, rng.uniform(5, 14), self.colors.shape)
        return np.clip(self.colors * light[..., None] + noise, 0, 255).astype(np.uint8)

    def _paint(self, class_name: str) -> Float[np.ndarray, "h w 3"]:
        """Fills the whole image with the colour and the texture of one object of a class."""
        color = np.array(LABELS.colors[LABELS.names.index(class_name)], np.float64)
        color += self.rng.uniform(-22, 22, size=3)
        texture = _TEXTURES[class_name](self.rng, self.y, self.x)
        return color + texture[..., None]


# Textures: brightness to add, in [-255, 255], over the whole image.


def _wall(rng, y, x):
    return 12 * np.sin(x / rng.uniform(5, 9) + rng.uniform(0, 6)) * np.sin(y / rng.uniform(5, 9))


def _haze(rng, y, x):
    return rng.uniform(-35, 35) * (y / y.max())


def _speckle(rng, y, x):
    coarse = rng.normal(0, 22, (y.shape[0] // 2 + 1, y.shape[1] // 2 + 1))
    return coarse.repeat(2, axis=0).repeat(2, axis=1)[: y.shape[0], : y.shape[1]]


def _shade(rng, y, x):
    return rng.uniform(-0.3, 0.3) * (y - y.mean()) + rng.uniform(-0.3, 0.3) * (x - x.mean())


def _stripes(rng, y, x):
    return 25.0 * ((y + rng.integers(6)) % 6 < 3)


def _squares(rng, y, x):
    cell = rng.integers(4, 6)
    dark = ((y + rng.integers(9)) // cell + (x + rng.integers(9)) // cell) % 2
    return -195.0 * dark


def _plain(rng, y, x):
    return np.zeros_like(y)


_TEXTURES: dict[str, Callable] = {
    "background": _wall,
    "sky": _haze,
    "ground": _speckle,
    "disk": _shade,
    "square": _stripes,
    "triangle": _shade,
    "ring": _shade,
    "star": _shade,
    "checker": _squares,
    "pole": _plain,
    "wire": _plain,
    "fence": _plain,
}

# Regions and thin structures: `draw(rng, y, x)` -> mask over the image.


def _waves(rng, x):
    return rng.uniform(2, 5) * np.sin(x / rng.uniform(8, 20) + rng.uniform(0, 6))


def _draw_sky(rng, y, x) -> Mask:
    return y < y.max() * rng.uniform(0.15, 0.35) + _waves(rng, x)


def _draw_ground(rng, y, x) -> Mask:
    return y > y.max() * rng.uniform(0.65, 0.85) + _waves(rng, x)


def _draw_pole(rng, y, x) -> Mask:
    """A vertical bar, 2 to 4 pixels wide."""
    left = rng.integers(2, x.shape[1] - 6)
    top = rng.uniform(0, 0.45) * y.max()
    bottom = top + rng.uniform(0.35, 0.6) * y.max()
    return (x >= left) & (x < left + rng.integers(2, 5)) & (y >= top) & (y <= bottom)


def _draw_wire(rng, y, x) -> Mask:
    """A sagging line from side to side, 2 to 3 pixels thick."""
    along = x / x.max()
    start, end = rng.uniform(0.1, 0.8, size=2) * y.max()
    middle = start + (end - start) * along + rng.uniform(4, 16) * 4 * along * (1 - along)
    slope = np.gradient(middle, axis=1)
    return np.abs(y - middle) < rng.uniform(1.0, 1.5) * np.sqrt(1 + slope**2)


def _draw_fence(rng, y, x) -> Mask:
    """Upright bars and two rails, each 2 pixels wide, with gaps of 5 to 7 pixels."""
    height, width = rng.integers(16, 25), rng.integers(34, 57)
    top = rng.integers(0, y.shape[0] - height)
    left = rng.integers(0, x.shape[1] - width)
    pitch = rng.integers(7, 10)
    inside = (y >= top) & (y < top + height) & (x >= left) & (x < left + width)
    bars = (x - left) % pitch < 2
    rails = (np.abs(y - top - 4) < 1.5) | (np.abs(y - top - height + 5) < 1.5)
    return inside & (bars | rails)


# Figures: `draw(rng, dy, dx, radius)` -> mask, from the offset to the centre, already turned.


def _draw_disk(rng, dy, dx, radius) -> Mask:
    return np.hypot(dy, dx) < radius


def _draw_square(rng, dy, dx, radius) -> Mask:
    return np.maximum(np.abs(dy), np.abs(dx)) < 0.85 * radius


def _draw_triangle(rng, dy, dx, radius) -> Mask:
    return (dy < 0.6 * radius) & (np.abs(dx) < 0.65 * (dy + 1.1 * radius))


def _draw_ring(rng, dy, dx, radius) -> Mask:
    distance = np.hypot(dy, dx)
    return (distance < 1.1 * radius) & (distance > 0.55 * radius)


def _draw_star(rng, dy, dx, radius) -> Mask:
    """Five points: the border is straight between radii of 1.25 and of 0.55 times `radius`."""
    turn = np.pi / 5
    angle = np.abs((np.arctan2(dy, dx) + turn) % (2 * turn) - turn)  # 0 at a point, turn between
    outer, inner = 1.25 * radius, 0.55 * radius
    along, across = np.hypot(dy, dx) * np.cos(angle), np.hypot(dy, dx) * np.sin(angle)
    edge_x, edge_y = inner * np.cos(turn) - outer, inner * np.sin(turn)
    return edge_x * across - edge_y * (along - outer) > 0


def _find_room(rng: np.random.Generator, scene: _Scene, draw: Callable) -> Mask:
    """Returns the mask of a figure at that one of a few random places where it covers least."""
    best, best_overlap = None, np.inf
    figures = np.isin(scene.label, _FIGURE_LABELS)
    for _ in range(8):
        radius = rng.uniform(9, 17)
        cy = rng.uniform(radius, scene.y.shape[0] - radius)
        cx = rng.uniform(radius, scene.x.shape[1] - radius)
        angle = rng.uniform(-0.5, 0.5)
        dy, dx = scene.y - cy, scene.x - cx
        dy, dx = np.cos(angle) * dy - np.sin(angle) * dx, np.sin(angle) * dy + np.cos(angle) * dx
        mask = draw(rng, dy, dx, radius)
        overlap = np.mean(figures[mask])
        if overlap < best_overlap:
            best, best_overlap = mask, overlap
    return best


def _dilate(mask: Mask, pixels: int) -> Mask:
    """Grows a mask by `pixels` in all eight directions."""
    padded = np.pad(mask, pixels)
    rows = np.zeros_like(padded[:, pixels : pixels + mask.shape[1]])
    for shift in range(2 * pixels + 1):
        rows = rows | padded[:, shift : shift + mask.shape[1]]
    grown = np.zeros_like(mask)
    for shift in range(2 * pixels + 1):
        grown = grown | rows[shift : shift + mask.shape[0]]
    return grown


_REGIONS: dict[str, Callable] = {"sky": _draw_sky, "ground": _draw_ground}
_FIGURES: dict[str, Callable] = {
    "disk": _draw_disk,
    "square": _draw_square,
    "triangle": _draw_triangle,
    "ring": _draw_ring,
    "star": _draw_star,
    "checker": _draw_square,
}
_THIN: dict[str, tuple[Callable, int, int]] = {  # with the fewest and the most in one image
    "pole": (_draw_pole, 2, 4),
    "wire": (_draw_wire, 1, 3),
    "fence": (_draw_fence, 1, 2),
}
_FIGURE_LABELS = [LABELS.names.index(name) for name in _FIGURES]
_THIN_LABELS = [LABELS.names.index(name) for name in _THIN]
