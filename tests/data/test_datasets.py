import subprocess
import sys

import numpy as np
import pytest

from fcn_jax.data.datasets import DATASETS, Dataset, get_dataset
from fcn_jax.data.labels import SHAPES, VOC


def test_get_dataset_rejects_unknown_name():
    with pytest.raises(ValueError, match=r"unknown data set 'cityscape'; known: \['camvid'"):
        get_dataset("cityscape")


def test_source_rejects_unknown_split():
    dataset = Dataset(name="shapes", labels=SHAPES, splits=("train", "val"), builder=None)
    with pytest.raises(ValueError, match=r"'shapes' has no split 'test'; it has \['train', 'val'"):
        dataset.source("test")


def test_shapes_rejects_source_dir():
    with pytest.raises(ValueError, match=r"takes no source_dir \(got '/data'\)"):
        get_dataset("shapes", source_dir="/data")


ANIMALS = ("background", "cat", "cow", "dog", "horse", "person", "sheep")


def test_classes_select_and_number_the_classes(voc_dir, get_voc):
    every, animals = get_voc(voc_dir), get_voc(voc_dir, classes=ANIMALS)
    assert animals.labels.names == ANIMALS and animals.splits == every.splits
    assert len(animals.source("train")) == len(every.source("train"))  # no image is left out
    for before, after in zip(every.source("trainval"), animals.source("trainval"), strict=True):
        np.testing.assert_array_equal(after["image"], before["image"])
        expected = np.full_like(before["label"], 255)
        for number, name in enumerate(ANIMALS):
            expected[before["label"] == VOC.names.index(name)] = number
        np.testing.assert_array_equal(after["label"], expected)
        assert after["label"].dtype == np.uint8


def test_listing_the_names_imports_no_heavy_library():
    script = (
        "import sys, fcn_jax.data.datasets as d; print(sorted(d.DATASETS));"
        "print(sorted({'tensorflow_datasets', 'grain', 'jax', 'PIL'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", script]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    names = sorted(DATASETS.keys() - {"tiny"})  # which the tests of training add
    assert result.stdout == f"{names}\n[]\n", result.stderr


def test_options_of_custom_mean_nothing_to_sets_that_come_with_splits(camvid_dir, tmp_path):
    folders = {"source_dir": str(camvid_dir), "data_dir": str(tmp_path / "built")}
    options = {"val_frac": 0.5, "split_seed": 1, "mask_key": "", "mask_classes": ()}
    assert get_dataset("camvid", **folders, **options).splits == ("train", "val")
