"""Label maps as pictures."""

import numpy as np
import pytest
from PIL import Image

from fcn_jax.data.sets.voc import LABELS as VOC
from fcn_jax.ops.palette import VOID_COLOR, full_palette, save_label_png, voc_palette
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
