"""What a check counts is what a build holds."""

import numpy as np
import pytest

from fcn_jax.data.checkup import check_folder
from fcn_jax.data.datasets import survey_folder
from fcn_jax.data.sets.voc import LABELS as VOC

from .conftest import VOC_LISTS, write_sbd, write_voc


def test_pixels_are_those_of_the_built_splits(voc_dir, get_voc):
    write_sbd(voc_dir / "benchmark_RELEASE/dataset", {"train": ["s1"], "val": ["2009_000001"]})
    classes = ("person", "background", "cat", "dog")
    for options in ({}, {"classes": classes}):
        dataset = get_voc(voc_dir, **options)
        checkup = check_folder("voc", source_dir=str(voc_dir), **options)
        assert checkup.problems == [] and checkup.labels == dataset.labels
        assert set(checkup.splits) == set(dataset.splits)
        for split in dataset.splits:
            source = dataset.source(split)
            expected = [
                [(record["label"] == number).sum() for number in range(dataset.labels.num_classes)]
                for record in source
            ]
            np.testing.assert_array_equal(checkup.count_pixels(split), expected)
            assert [f.pair.id for f in checkup.read(split)] == [r["id"] for r in source]
            assert [f.size for f in checkup.read(split)] == [r["label"].shape for r in source]


def test_broken_pair_leaves_the_others_of_its_split(voc_dir):
    (voc_dir / "VOCdevkit/VOC2012/JPEGImages" / f"{VOC_LISTS['val'][0]}.jpg").write_bytes(b"")
    checkup = check_folder("voc", source_dir=str(voc_dir))
    assert [facts.pair.id for facts in checkup.read("val")] == VOC_LISTS["val"][1:]
    assert len(checkup.splits["val"]) == 2 and len(checkup.read("trainval")) == 3


def test_same_photograph_in_two_parts_of_voc_is_no_copy(tmp_path):
    write_voc(tmp_path / "VOCdevkit/VOC2012", VOC_LISTS)
    write_voc(tmp_path / "VOCdevkit/VOC2011", VOC_LISTS)
    assert check_folder("voc", source_dir=str(tmp_path)).remarks == []


def test_progress_counts_every_pair(custom_dir):
    told = []
    check_folder("custom", source_dir=str(custom_dir), on_pair=lambda *done: told.append(done))
    assert told == [(done, 6) for done in range(1, 7)]


def test_survey_rejects_what_comes_from_no_folder():
    with pytest.raises(ValueError, match="'shapes' is not built from files"):
        survey_folder("shapes", [].append, source_dir="x")
    with pytest.raises(ValueError, match=r"which folder is meant\? --config\.data\.source_dir"):
        survey_folder("custom", [].append, source_dir="")


def test_survey_lists_pairs_without_reading_them(voc_dir):
    survey = survey_folder("voc", [].append, source_dir=str(voc_dir))
    assert survey.labels is VOC
    assert [pair.id for pair in survey.parts[0].pairs["val"]] == VOC_LISTS["val"]
    assert survey.splits["val"] == [("voc2012/val", 0), ("voc2012/val", 1)]
