import numpy as np
import pytest

from fcn_jax.data.labels import CAMVID, SHAPES, VOC, LabelSet
from fcn_jax.ops.palette import voc_palette


@pytest.mark.parametrize("labels", [SHAPES, CAMVID, VOC])
def test_label_sets_tell_classes_apart(labels):
    assert len(set(labels.names)) == len(set(labels.colors)) == labels.num_classes


def test_label_set_rejects_ignore_label_that_is_a_class():
    with pytest.raises(ValueError, match="ignore_label=1 is the number of class 'b'"):
        LabelSet(names=("a", "b"), colors=((0, 0, 0), (1, 1, 1)), ignore_label=1)


def test_label_set_rejects_missing_color():
    with pytest.raises(ValueError, match="2 class names but 1 colors"):
        LabelSet(names=("a", "b"), colors=((0, 0, 0),))


def test_voc_colors_are_its_colour_map():
    np.testing.assert_array_equal(VOC.colors, voc_palette(21))


def test_selected_classes_keep_their_colors_in_the_order_given():
    animals = VOC.select(("background", "cat", "cow"))
    assert animals.names == ("background", "cat", "cow") and animals.ignore_label == 255
    assert animals.colors == ((0, 0, 0), (64, 0, 0), (64, 128, 0))


def test_table_keeps_selected_classes_and_makes_all_others_void():
    table = VOC.select(("cow", "background")).table_from(VOC)
    assert len(table) == 256 and table[10] == 0 and table[0] == 1
    assert set(table[1:10] + table[11:]) == {255}


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (("background", "cats"), r"unknown classes \['cats'\]; known: background, aeroplane"),
        (("cat", "dog", "cat"), "name a class twice"),
    ],
)
def test_select_rejects_classes(classes, message):
    with pytest.raises(ValueError, match=message):
        VOC.select(classes)
