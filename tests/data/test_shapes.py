import numpy as np
import pytest

from fcn_jax.data.sets import records, scenes, shapes
from fcn_jax.data.sets.shapes import LABELS as SHAPES

NUM_SCENES = 30


@pytest.fixture(scope="module")
def drawn():
    return {
        split: [scenes.draw_scene(0, split, index) for index in range(NUM_SCENES)]
        for split in scenes.SPLITS
    }


def test_scene_is_a_function_of_its_arguments(drawn):
    image, label = scenes.draw_scene(0, "val", 3)
    np.testing.assert_array_equal(image, drawn["val"][3][0])
    np.testing.assert_array_equal(label, drawn["val"][3][1])


def test_scenes_differ_by_seed_split_and_index():
    keys = [(0, "train", 0), (1, "train", 0), (0, "val", 0), (0, "train", 1)]
    assert len({scenes.draw_scene(*key)[0].tobytes() for key in keys}) == 4


@pytest.mark.parametrize("split", scenes.SPLITS)
def test_every_class_is_in_every_split(drawn, split):
    found = {value for _, label in drawn[split] for value in np.unique(label)}
    assert found == {*range(SHAPES.num_classes), SHAPES.ignore_label}


def test_scenes_have_many_sizes(drawn):
    sides = [side for _, label in drawn["train"] for side in label.shape]
    assert min(sides) >= scenes.MIN_SIDE and max(sides) <= scenes.MAX_SIDE
    assert len({label.shape for _, label in drawn["train"]}) > NUM_SCENES // 2
    assert all(image.shape == (*label.shape, 3) for image, label in drawn["train"])


def test_void_line_surrounds_objects_but_spares_thin_structures():
    scene = scenes._Scene(np.random.default_rng(0), 100, 100)
    pole, wire = (np.zeros((100, 100), bool) for _ in range(2))
    pole[10:90, 50:52] = True
    wire[40:43, :] = True
    scene.add("pole", pole)
    scene.add("wire", wire)
    expected = np.full((100, 100), SHAPES.names.index("background"), np.uint8)
    expected[8:92, 48:54] = SHAPES.ignore_label
    expected[38:45, :] = SHAPES.ignore_label
    expected[pole] = SHAPES.names.index("pole")
    expected[wire] = SHAPES.names.index("wire")
    np.testing.assert_array_equal(scene.label, expected)


def test_built_set_holds_the_scenes_in_order(tmp_path, drawn, capsys):
    config = shapes.ShapesConfig(num_train=4, num_val=2)
    builder = records.build(shapes.Shapes(data_dir=tmp_path, config=config), message="building")
    for split, num_images in (("train", 4), ("val", 2)):
        source = records.RecordSource(builder, split)
        assert len(source) == num_images
        for index in range(num_images):
            assert source[index]["id"] == f"{split}_{index:05d}"
            np.testing.assert_array_equal(source[index]["image"], drawn[split][index][0])
            np.testing.assert_array_equal(source[index]["label"], drawn[split][index][1])
    assert capsys.readouterr() == ("", "building\n")  # nothing else is printed
