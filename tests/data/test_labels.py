import pytest

from fcn_jax.data.labels import CAMVID, SHAPES, LabelSet


@pytest.mark.parametrize("labels", [SHAPES, CAMVID])
def test_label_sets_tell_classes_apart(labels):
    assert len(set(labels.names)) == len(set(labels.colors)) == labels.num_classes


def test_label_set_rejects_ignore_label_that_is_a_class():
    with pytest.raises(ValueError, match="ignore_label=1 is the number of class 'b'"):
        LabelSet(names=("a", "b"), colors=((0, 0, 0), (1, 1, 1)), ignore_label=1)


def test_label_set_rejects_missing_color():
    with pytest.raises(ValueError, match="2 class names but 1 colors"):
        LabelSet(names=("a", "b"), colors=((0, 0, 0),))
