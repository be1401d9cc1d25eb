import numpy as np
import pytest

from fcn_jax.data.labels import LabelSet
from fcn_jax.data.sets.camvid import LABELS as CAMVID
from fcn_jax.data.sets.nyud import LABELS as NYUD
from fcn_jax.data.sets.pascal_context import LABELS as PASCAL_CONTEXT
from fcn_jax.data.sets.shapes import LABELS as SHAPES
from fcn_jax.data.sets.siftflow import GEOMETRIC_LABELS as SIFTFLOW_GEOMETRIC
from fcn_jax.data.sets.siftflow import SEMANTIC_LABELS as SIFTFLOW
from fcn_jax.data.sets.voc import LABELS as VOC
from fcn_jax.ops.palette import VOID_COLOR, voc_palette

IN_VOC_COLORS = [VOC, PASCAL_CONTEXT, SIFTFLOW, SIFTFLOW_GEOMETRIC, NYUD]


@pytest.mark.parametrize("labels", [SHAPES, CAMVID, *IN_VOC_COLORS])
def test_label_sets_tell_classes_apart(labels):
    assert len(set(labels.names)) == len(set(labels.colors)) == labels.num_classes


def test_label_set_rejects_ignore_label_that_is_a_class():
    with pytest.raises(ValueError, match="ignore_label=1 is the number of class 'b'"):
        LabelSet(names=("a", "b"), colors=((0, 0, 0), (1, 1, 1)), ignore_label=1)


def test_label_set_rejects_missing_color():
    with pytest.raises(ValueError, match="2 class names but 1 colors"):
        LabelSet(names=("a", "b"), colors=((0, 0, 0),))


@pytest.mark.parametrize("labels", IN_VOC_COLORS)
def test_voc_colors_are_its_colour_map(labels):
    np.testing.assert_array_equal(labels.colors, voc_palette(num_colors=labels.num_classes))
    assert VOID_COLOR not in labels.colors


@pytest.mark.parametrize(
    ("labels", "num_classes", "some"),
    [
        (PASCAL_CONTEXT, 60, {0: "background", 11: "diningtable", 28: "clothes", 59: "wood"}),
        (SIFTFLOW, 33, {0: "awning", 5: "building", 27: "sky", 32: "window"}),
        (SIFTFLOW_GEOMETRIC, 3, {0: "sky", 1: "horizontal", 2: "vertical"}),
        (NYUD, 40, {0: "wall", 19: "floor mat", 31: "night stand", 39: "otherprop"}),
    ],
)
def test_classes_have_the_published_numbers(labels, num_classes, some):
    assert labels.num_classes == num_classes
    assert {number: labels.names[number] for number in some} == some


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


@pytest.mark.parametrize(
    "name", ["red\x1b[31m", "two\nlines", "tab\t", "left\u202eright", "\udcff"]
)
def test_names_print(name):
    with pytest.raises(ValueError, match="the name of class 1, .* has signs that do not print"):
        LabelSet(("sky", name), ((0, 0, 0), (1, 1, 1)))
