"""Label maps as pictures."""

import numpy as np
import pytest
from PIL import Image

from fcn_jax.data.sets.voc import LABELS as VOC
from fcn_jax.ops.palette import (
    VOID_COLOR,
    class_palette,
    full_palette,
    save_label_png,
    voc_palette,
)
from tests import oracles

COLORS = np.array([(10, 20, 30), (40, 50, 60), (70, 80, 90)], np.uint8)


def test_voc_palette_is_unchanged():
    np.testing.assert_array_equal(voc_palette(), oracles.load_golden("voc_palette")["colors"])


def test_voc_classes_are_unchanged():
    golden = oracles.load_golden("voc_palette")
    assert (list(VOC.names), VOC.ignore_label) == (golden["classes"], golden["ignore"])
    np.testing.assert_array_equal(VOC.colors, golden["colors"][: VOC.num_classes])


@pytest.mark.parametrize("num_colors", [1, 21, 256])
def test_voc_palette_begins_alike_at_every_length(num_colors):
    np.testing.assert_array_equal(voc_palette(num_colors=num_colors), voc_palette()[:num_colors])


def test_voc_palette_gives_every_index_its_own_color():
    assert len({tuple(color) for color in voc_palette().tolist()}) == 256


def test_void_has_the_color_of_voc_outlines():
    assert VOID_COLOR == tuple(oracles.load_golden("voc_palette")["colors"][255])
    for colors in (COLORS, np.zeros((256, 3), np.uint8)):  # even if there is a class for it
        np.testing.assert_array_equal(full_palette(colors)[255], VOID_COLOR)


@pytest.mark.parametrize("dtype", ["uint8", "int32", "int64"])
def test_saved_label_png_reads_back_as_labels_and_shows_the_colors(rng, tmp_path, dtype):
    label = rng.choice([0, 1, 2, 255], (5, 4)).astype(dtype)
    save_label_png(tmp_path / "label.png", label, COLORS)
    with Image.open(tmp_path / "label.png") as image:
        assert image.mode == "P"
        np.testing.assert_array_equal(np.asarray(image), label)
        shown = np.asarray(image.convert("RGB"))
    for pixel in np.ndindex(label.shape):
        expected = VOID_COLOR if label[pixel] == 255 else COLORS[label[pixel]]
        np.testing.assert_array_equal(shown[pixel], expected)


# Machado, Oliveira and Fernandes 2009, severity 1, in linear RGB.
VISION = {
    "normal": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
SRGB_TO_XYZ = [
    [0.4124564, 0.3575761, 0.1804375],
    [0.2126729, 0.7151522, 0.0721750],
    [0.0193339, 0.1191920, 0.9503041],
]


def smallest_distance(colors, vision):
    """Returns the smallest distance in CIELAB (D65) of two colours as this vision sees them."""
    colors = np.asarray(colors) / 255
    linear = np.where(colors <= 0.04045, colors / 12.92, ((colors + 0.055) / 1.055) ** 2.4)
    seen = (linear @ np.transpose(VISION[vision])).clip(0, 1)
    ratio = seen @ np.transpose(SRGB_TO_XYZ) / [0.95047, 1, 1.08883]
    root = np.where(ratio > (6 / 29) ** 3, np.cbrt(ratio), ratio / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = root.T
    lab = np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], -1)
    distances = np.linalg.norm(lab[:, None] - lab, axis=-1)
    return distances[~np.eye(len(lab), dtype=bool)].min()


@pytest.mark.parametrize("vision", VISION)
def test_25_classes_black_and_void_can_be_told_apart(vision):
    colors = [*class_palette(num_colors=25).tolist(), (0, 0, 0), VOID_COLOR]
    assert smallest_distance(colors, vision) > 19.5
    assert smallest_distance(voc_palette(num_colors=25), vision) < 9  # what it takes the place of
    for num_colors, bound in ((10, 22.3), (40, 11.3), (100, 6.7), (255, 4.3)):
        assert smallest_distance(class_palette(num_colors=num_colors), vision) > bound


def test_class_palette_has_255_colors():
    with pytest.raises(ValueError, match="num_colors=256; there are 255 colours"):
        class_palette(num_colors=256)
