import subprocess
import sys

import pytest

from fcn_jax.data.datasets import DATASETS, Dataset, get_dataset
from fcn_jax.data.labels import SHAPES


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


def test_listing_the_names_imports_no_heavy_library():
    script = (
        "import sys, fcn_jax.data.datasets as d; print(sorted(d.DATASETS));"
        "print(sorted({'tensorflow_datasets', 'grain', 'jax', 'PIL'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", script]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    names = sorted(DATASETS.keys() - {"tiny"})  # which the tests of training add
    assert result.stdout == f"{names}\n[]\n", result.stderr
