"""A data set that TFDS has prepared, in miniature, as oxford_iiit_pet is made."""

import subprocess
import sys

import numpy as np
import pytest
import tensorflow_datasets as tfds

from fcn_jax.data.datasets import get_dataset
from fcn_jax.data.sets import records
from fcn_jax.data.sets import tfds as prepared

MASK = np.random.default_rng(0).integers(1, 4, (7, 9), np.uint8)
NAMES = ("sky", "ground", "bird", "cat")


class TinyPets(tfds.core.ShardBasedBuilder, skip_registration=True):
    """Images with a mask of 1, 2, 3 that says nothing about its values, and one that has names."""

    name = "tiny_pets"
    VERSION = tfds.core.Version("4.0.0")
    code_path = None
    MASKS = ("segmentation_mask", "named_mask")

    def _info(self):
        masks = {
            "segmentation_mask": tfds.features.Image(shape=(None, None, 1)),
            "named_mask": tfds.features.LabeledImage(
                shape=(None, None, 1), labels=list(NAMES), encoding_format="png"
            ),
        }
        features = {
            "image": tfds.features.Image(shape=(None, None, 3)),
            "label": tfds.features.ClassLabel(num_classes=3),
            **{key: masks[key] for key in self.MASKS},
        }
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _shard_iterators_per_split(self, dl_manager):
        def make(num_images):
            for index in range(num_images):
                image = records.array_to_png(np.full((*MASK.shape, 3), index, np.uint8))
                masks = {key: records.array_to_png(MASK) for key in self.MASKS}
                yield index, {"image": image, "label": 1, **masks}

        return {"train": [lambda: make(3)], "test": [lambda: make(2)]}


class OneMask(TinyPets, skip_registration=True):
    MASKS = ("named_mask",)


def write(builder_class, data_dir, **options):
    with records.quiet_tfds():
        builder = builder_class(data_dir=data_dir, **options)
        builder.download_and_prepare(file_format=records.FILE_FORMAT)
    return data_dir


@pytest.fixture(scope="module")
def pets_dir(tmp_path_factory):
    return write(TinyPets, tmp_path_factory.mktemp("pets"))


def get(data_dir, name="tfds:tiny_pets", **options):
    return get_dataset(name, data_dir=str(data_dir), **options)


def test_mask_is_read_by_the_values_of_its_classes(pets_dir):
    classes = ("pet:1", "background:2", "void:3")
    dataset = get(pets_dir, mask_key="segmentation_mask", mask_classes=classes)
    assert dataset.labels.names == ("pet", "background")
    assert set(dataset.splits) == {"train", "test"}
    source = dataset.source("train")
    assert len(source) == 3 and len(dataset.source("test")) == 2
    np.testing.assert_array_equal(source[2]["label"], np.choose(MASK - 1, [0, 1, 255]))
    np.testing.assert_array_equal(source[2]["image"], np.full((7, 9, 3), 2))
    assert source[2]["id"] == "train_000002" and source[2]["label"].dtype == np.uint8
    with pytest.raises(IndexError, match="index 3 is outside of the 3 images"):
        source[3]


def test_two_values_may_be_one_class(pets_dir):
    dataset = get(pets_dir, mask_key="segmentation_mask", mask_classes=("a:1", "b:2", "a:3"))
    np.testing.assert_array_equal(dataset.source("test")[0]["label"], MASK == 2)


def test_mask_with_names_needs_no_classes(tmp_path):
    dataset = get(write(OneMask, tmp_path), "tfds:one_mask")
    assert dataset.labels.names == NAMES
    np.testing.assert_array_equal(dataset.source("train")[0]["label"], MASK)
    selected = get(tmp_path, "tfds:one_mask", classes=("cat", "sky"))
    expected = np.where(MASK == 3, 0, 255)
    np.testing.assert_array_equal(selected.source("train")[0]["label"], expected)


def test_nothing_needs_tensorflow(pets_dir):
    code = (
        "import sys; from fcn_jax.data.datasets import get_dataset\n"
        f"dataset = get_dataset('tfds:tiny_pets', data_dir={str(pets_dir)!r}, "
        "mask_key='named_mask')\n"
        "print(dataset.source('train')[1]['label'].shape, 'tensorflow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "(7, 9) False\n", done.stderr


MISTAKES = {
    "two masks": (
        {},
        r"\['named_mask', 'segmentation_mask'\] features that may be the mask.*mask_key",
    ),
    "no such mask": ({"mask_key": "mask"}, "and not 'mask'"),
    "values without names": (
        {"mask_key": "segmentation_mask"},
        r"(?s)its first masks hold \[1, 2, 3\].*mask_classes=NAME:VALUE",
    ),
    "no value": (
        {"mask_key": "named_mask", "mask_classes": ("pet",)},
        "holds 'pet'; expected NAME:V",
    ),
    "value twice": (
        {"mask_key": "named_mask", "mask_classes": ("a:1", "b:1")},
        "holds 'b:1'; expected",
    ),
    "one class": ({"mask_key": "named_mask", "mask_classes": ("a:1", "void:2")}, "two classes"),
    "source_dir": ({"source_dir": "x"}, "'tfds:tiny_pets' takes no source_dir"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_get_dataset_rejects(name, pets_dir):
    options, message = MISTAKES[name]
    with pytest.raises(ValueError, match=message):
        get(pets_dir, **options)


def test_value_of_no_class_is_refused_when_it_is_read(pets_dir):
    dataset = get(pets_dir, mask_key="segmentation_mask", mask_classes=("pet:1", "background:2"))
    with pytest.raises(
        ValueError, match=r"train_000000: segmentation_mask holds \[3\], which no cl"
    ):
        dataset.source("train")[0]


def test_missing_data_set_says_how_to_prepare_it(tmp_path):
    with pytest.raises(FileNotFoundError, match="tfds build pets --file_format=array_record"):
        get(tmp_path, "tfds:pets:1.0.0")


def test_highest_version_is_read_unless_one_is_named(tmp_path):
    for version in ("4.0.0/features.json", "10.0.0/features.json", "9.1.0/features.json"):
        (tmp_path / "pets" / version).parent.mkdir(parents=True)
        (tmp_path / "pets" / version).write_text("")
    assert prepared.find_build("pets", data_dir=str(tmp_path)).name == "10.0.0"
    assert prepared.find_build("pets:4.0.0", data_dir=str(tmp_path)).name == "4.0.0"
    (tmp_path / "pets" / "small" / "1.0.0").mkdir(parents=True)
    (tmp_path / "pets" / "small" / "1.0.0" / "features.json").write_text("")
    with pytest.raises(ValueError, match=r"prepared as \['pets', 'pets/small'\]; say which"):
        prepared.find_build("pets", data_dir=str(tmp_path))
    assert prepared.find_build("pets/small", data_dir=str(tmp_path)).parent.name == "small"


@pytest.mark.parametrize("name", ["custom", "voc", "shapes"])
def test_no_other_set_takes_the_options_of_tfds(name, tmp_path):
    with pytest.raises(ValueError, match=f"{name!r} takes no mask_key"):
        get_dataset(name, source_dir=str(tmp_path), mask_key="mask")
