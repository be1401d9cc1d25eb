import inspect
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fcn_jax.data.datasets import DATASETS, Dataset, find_takers, get_dataset, survey_folder
from fcn_jax.data.sets.shapes import LABELS as SHAPES
from fcn_jax.data.sets.voc import LABELS as VOC


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


OWN_OPTIONS = {"custom": {"val_frac", "split_seed"}, "tfds:pets": {"mask_key", "mask_classes"}}


@pytest.mark.parametrize("name", sorted({*DATASETS, *OWN_OPTIONS} - {"tiny"}))
def test_takers_of_a_set_are_its_options_and_document_them(name):
    keys = {"source_dir", "data_dir", "classes"} | OWN_OPTIONS.get(name, set())
    found = {
        parameter.name: taker
        for taker in find_takers(name)
        for parameter in inspect.signature(taker).parameters.values()
        if parameter.kind is parameter.KEYWORD_ONLY
        and parameter.name not in ("on_problem", "fingerprint")
    }
    assert set(found) == keys
    for key, taker in found.items():
        assert re.search(
            rf"\n    Args:\n(?s:.*)\n        {key}: [A-Z]",
            inspect.cleandoc(taker.__doc__).replace("\n", "\n    "),
        )


@pytest.mark.parametrize("name", ["camvid", "shapes", "voc"])
def test_options_of_another_set_are_refused(name, tmp_path):
    message = f"data set {name!r} takes no val_frac and no split_seed; it has no options of its own"
    with pytest.raises(ValueError, match=message):
        get_dataset(name, source_dir=str(tmp_path), val_frac=0.5, split_seed=1)
    with pytest.raises(
        ValueError, match="'custom' takes no mask_key; it takes val_frac, split_see"
    ):
        survey_folder("custom", [].append, source_dir=str(tmp_path), mask_key="mask")


def test_fingerprint_says_what_is_drawn_or_prepared(tmp_path):
    shapes = get_dataset("shapes", data_dir=str(tmp_path))
    assert shapes.fingerprint == get_dataset("shapes", data_dir=str(tmp_path / "b")).fingerprint
    assert re.fullmatch("[0-9a-f]{16}", shapes.fingerprint)
    assert shapes.select(("sky", "disk")).fingerprint == shapes.fingerprint
    assert not list(tmp_path.iterdir())  # nothing was built to say so


def make_old(built: Path, part: str, *, keep: tuple[str, ...]) -> None:
    """Makes a build what it was when its name was no fingerprint of the content."""
    (folder,) = (built / part).glob("*/1.0.0")
    metadata = json.loads((folder / "metadata.json").read_text())
    metadata |= {key: metadata["labels"][key] for key in ("names", "colors")}
    old = {key: metadata[key] for key in keep}
    (folder / "metadata.json").write_text(json.dumps(old))
    folder.parent.rename(built / part / "0123456789abcdef")


@pytest.mark.parametrize(
    ("name", "part", "keep"),
    [
        ("camvid", "camvid", ("source_dir",)),
        ("custom", "custom", ("source_dir", "names", "colors")),
        ("voc", "voc2012", ("source_dir", "ids", "subsets")),
    ],
)
def test_old_build_is_read_until_there_is_a_new_one(
    name, part, keep, tmp_path, camvid_dir, custom_dir, voc_dir
):
    source_dir = {"camvid": camvid_dir, "custom": custom_dir, "voc": voc_dir}[name]
    built = tmp_path / "built"

    def get(source_dir="", **options):
        return get_dataset(name, source_dir=str(source_dir), data_dir=str(built), **options)

    options = {"val_frac": 0.4} if name == "custom" else {}
    new = get(source_dir, **options)
    expected = {split: list(new.source(split)) for split in new.splits}
    make_old(built, part, keep=keep)
    old = get()
    assert old.fingerprint == "0123456789abcdef" and old.labels == new.labels
    assert set(old.splits) == set(new.splits)
    for split, records in expected.items():
        for before, after in zip(records, old.source(split), strict=True):
            np.testing.assert_array_equal(after["image"], before["image"])
            np.testing.assert_array_equal(after["label"], before["label"])
            assert after["id"] == before["id"]
    get(source_dir, **options).source("val")  # builds it anew, by its content
    assert get().fingerprint == new.fingerprint
