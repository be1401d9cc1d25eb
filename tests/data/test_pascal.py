import json

import numpy as np
import pytest

from fcn_jax.data.sets import voc
from fcn_jax.data.sets.builds import FolderBuilder, FolderConfig

from .conftest import write_sbd, write_voc

# Of VOC2012, "as" and "bs" are in the train list of SBD too, "at" and "bt" in its val list.
LISTS = {
    "voc2012": {"train": ["a", "as", "at"], "val": ["b", "bs", "bt", "v", "w"]},
    "sbd": {"train": ["s1", "as", "bs", "s2"], "val": ["t1", "bt", "at"]},
    "voc2011": {"train": ["a", "as"], "val": ["w", "bs", "b", "v"]},
}
FOLDERS = {
    "voc2012": "VOCdevkit/VOC2012",
    "voc2011": "VOCdevkit/VOC2011",
    "sbd": "benchmark_RELEASE/dataset",
}


def write(folder, *parts):
    for seed, part in enumerate(parts):
        write_part = write_sbd if part == "sbd" else write_voc
        write_part(folder / FOLDERS[part], LISTS[part], seed=seed)
    return folder


@pytest.fixture
def whole(tmp_path):
    return write(tmp_path / "data", *LISTS)


def make_pascal(lists):
    configs = [
        FolderConfig(name="x", part=part, source_dir=part, ids=ids) for part, ids in lists.items()
    ]
    return voc.DATA_SET.make_reader(configs, "")


def ids_of(dataset, split):
    return [record["id"] for record in dataset.source(split)]


def test_every_split_holds_the_ids_that_its_definition_says(whole, get_voc):
    dataset = get_voc(whole)
    assert {split: ids_of(dataset, split) for split in dataset.splits} == {
        "train": ["a", "as", "at"],
        "val": ["b", "bs", "bt", "v", "w"],
        "trainval": ["a", "as", "at", "b", "bs", "bt", "v", "w"],
        "train_aug": ["a", "as", "at", "s1", "s2", "t1"],
        "trainval_aug": ["a", "as", "at", "b", "bs", "bt", "v", "w", "s1", "s2", "t1"],
        "sbd_train": ["s1", "as", "bs", "s2"],
        "sbd_val": ["t1", "bt", "at"],
        "voc11_train": ["a", "as"],
        "voc11_val": ["w", "bs", "b", "v"],
        "seg11valid": ["w", "b", "v"],
    }


def test_images_that_two_splits_share_are_named(whole, get_voc):
    dataset = get_voc(whole).select(["background", "cat"])
    shared = dataset.find_shared("sbd_train", "val")
    assert shared.startswith("val shares 1 image, such as bs, with sbd_train")
    assert dataset.find_shared("train_aug", "val") == ""
    assert dataset.find_shared("train", "train") == ""  # a score on what was trained on, as named


def test_where_both_label_an_image_the_aug_splits_take_the_label_of_voc(whole, get_voc):
    dataset = get_voc(whole)
    voc_label = {record["id"]: record["label"] for record in dataset.source("trainval")}
    sbd_label = {
        record["id"]: record["label"]
        for split in ("sbd_train", "sbd_val")
        for record in dataset.source(split)
    }
    for record in dataset.source("trainval_aug"):
        label = voc_label.get(record["id"], sbd_label.get(record["id"]))
        np.testing.assert_array_equal(record["label"], label)
    assert all(not np.array_equal(voc_label[name], sbd_label[name]) for name in ("as", "at", "bs"))


def test_no_part_stores_an_image_twice(whole, get_voc, tmp_path):
    dataset = get_voc(whole)
    for split in dataset.splits:
        dataset.source(split)
    infos = (tmp_path / "built").glob("*/*/1.0.0/dataset_info.json")
    stored = {
        json.loads(info.read_text())["name"]: {
            split["name"]: sum(map(int, split["shardLengths"]))
            for split in json.loads(info.read_text())["splits"]
        }
        for info in infos
    }
    assert stored == {
        part: {split: len(ids) for split, ids in lists.items()} for part, lists in LISTS.items()
    }


def test_part_is_built_when_it_is_first_read(whole, get_voc, capsys):
    dataset = get_voc(whole)
    assert "building" not in capsys.readouterr().err
    dataset.source("train")
    assert capsys.readouterr().err.count("building voc2012") == 1
    dataset.source("seg11valid")  # made from the images of VOC2011; of SBD only the list counts
    assert capsys.readouterr().err.split()[:2] == ["building", "voc2011"]
    dataset.source("train_aug")
    assert capsys.readouterr().err.split()[:2] == ["building", "sbd"]


@pytest.mark.parametrize(
    ("parts", "split", "message"),
    [
        (["voc2012"], "train_aug", "because SBD is missing .*benchmark_RELEASE/dataset"),
        (["voc2012", "sbd"], "seg11valid", "because VOC2011 is missing .*VOCdevkit/VOC2011"),
        (["sbd"], "val", "because VOC2012 is missing"),
        (["voc2012"], "seg11valid", "because VOC2011 and SBD are missing"),
    ],
)
def test_split_of_a_missing_part_is_explained(tmp_path, get_voc, parts, split, message):
    folder = write(tmp_path / "data", *parts)
    with pytest.raises(FileNotFoundError, match=rf"(?s)no split '{split}', {message}.*data.source"):
        get_voc(folder).source(split)


def test_unknown_split_is_refused(whole, get_voc):
    with pytest.raises(ValueError, match=r"'voc' has no split 'test'; it has \['train', 'val'"):
        get_voc(whole).source("test")


@pytest.mark.parametrize(
    ("part", "split", "name", "message"),
    [
        ("voc2012", "train", "v", "splits train and val share 1 image, such as v"),
        ("sbd", "val", "s2", "splits sbd_train and sbd_val share 1 image, such as s2"),
        ("voc2011", "val", "t1", "splits train_aug and seg11valid share 1 image, such as t1"),
        ("voc2011", "val", "a", "splits train_aug and seg11valid share 1 image, such as a"),
    ],
)
def test_lists_that_leak_are_refused(part, split, name, message):
    make_pascal(LISTS)
    lists = {**LISTS, part: {**LISTS[part], split: [*LISTS[part][split], name]}}
    with pytest.raises(ValueError, match=message):
        make_pascal(lists)


def test_lists_of_the_published_sizes_make_splits_of_the_published_sizes():
    # How many ids the lists share, from the published lists: 9118 images are in SBD only, 6820 of
    # them in its train list; 545 of VOC2012 val are there too; seg11valid lies in VOC2012 val.
    train, val = ([f"{split}{i}" for i in range(n)] for split, n in (("t", 1464), ("v", 1449)))
    only_sbd = [f"s{i}" for i in range(9118)]
    sbd_train = only_sbd[:6820] + val[:545] + train[: 8498 - 6820 - 545]
    sbd_val = only_sbd[6820:] + val[545 : 545 + 2857 - 2298]
    reader = make_pascal(
        {
            "voc2012": {"train": train, "val": val},
            "sbd": {"train": sbd_train, "val": sbd_val},
            "voc2011": {"train": train[:1112], "val": val[545 - 375 : 545 + 736]},
        }
    )
    assert voc.DATA_SET.find_differences(reader.splits) == []
    assert {split: len(picks) for split, picks in reader.splits.items()} == {
        "train": 1464,
        "val": 1449,
        "trainval": 2913,
        "train_aug": 10582,
        "trainval_aug": 12031,
        "sbd_train": 8498,
        "sbd_val": 2857,
        "voc11_train": 1112,
        "voc11_val": 1111,
        "seg11valid": 736,
    }


def test_seg11valid_is_read_from_the_list_that_fcn_released(tmp_path, get_voc):
    folder = write(tmp_path / "data", "voc2012")
    list_file = folder / FOLDERS["voc2012"] / "ImageSets/Segmentation/seg11valid.txt"
    list_file.write_text("w\nb\nv\nnot_in_this_part\n")
    dataset = get_voc(folder)
    assert "seg11valid" in dataset.splits
    assert ids_of(dataset, "seg11valid") == ["b", "v", "w"]  # in the order of val
    val = {record["id"]: record["label"] for record in dataset.source("val")}
    for record in dataset.source("seg11valid"):
        np.testing.assert_array_equal(record["label"], val[record["id"]])
    assert ids_of(get_voc(), "seg11valid") == ["b", "v", "w"]  # without the folder, too


def test_voc2011_and_sbd_go_before_the_released_list(whole, get_voc):
    list_file = whole / FOLDERS["voc2012"] / "ImageSets/Segmentation/seg11valid.txt"
    list_file.write_text("b\n")
    assert ids_of(get_voc(whole), "seg11valid") == ["w", "b", "v"]


# --- partly built -----------------------------------------------------------------------------


@pytest.fixture
def built(tmp_path):
    """The folder that `get_voc` builds in."""
    return str(tmp_path / "built")


def leave_built(whole, get_voc, *splits):
    """Builds what these splits need, and takes the folder away; returns the whole's fingerprint."""
    dataset = get_voc(whole)
    for split in splits:
        dataset.source(split)
    whole.rename(whole.with_name("elsewhere"))
    return dataset.fingerprint


PARTLY = "data set 'voc' is partly built: VOC2012 without VOC2011 and SBD"


def test_partly_built_set_is_not_read_as_whole(whole, get_voc, capsys):
    """As `prepare` leaves it that was stopped after the first part."""
    leave_built(whole, get_voc, "train", "val")
    capsys.readouterr()
    dataset = get_voc()
    assert capsys.readouterr().err.startswith(f"{PARTLY}; what is there was built from {whole}")
    assert dataset.splits == ("train", "val", "trainval")
    assert ids_of(dataset, "val") == LISTS["voc2012"]["val"]
    with pytest.raises(
        FileNotFoundError,
        match=rf"^{PARTLY}, which the split 'train_aug' needs\n.*rest is built .*source_dir=FOLDER",
    ):
        dataset.source("train_aug")


def test_build_that_was_stopped_is_known_by_its_folder(tmp_path, get_voc, monkeypatch, capsys):
    """What was built before of VOC2012 alone knows nothing of SBD."""

    def stop(*_):
        raise KeyboardInterrupt

    get_voc(write(tmp_path / "data", "voc2012")).source("train")
    with monkeypatch.context() as patch:
        patch.setattr(FolderBuilder, "make_record", stop)
        with pytest.raises(KeyboardInterrupt):
            get_voc(write(tmp_path / "data", "sbd")).source("sbd_train")
    capsys.readouterr()
    assert "train_aug" not in get_voc().splits
    assert "partly built: VOC2012 without SBD;" in capsys.readouterr().err
    get_voc(write(tmp_path / "data", "sbd")).source("sbd_train")
    capsys.readouterr()
    assert "train_aug" in get_voc().splits
    assert "partly" not in capsys.readouterr().err


def test_second_choice_does_not_stand_in_for_what_is_not_built(whole, get_voc, built):
    lists = whole / FOLDERS["voc2012"] / "ImageSets" / "Segmentation"
    (lists / "seg11valid.txt").write_text("w\n")
    fingerprint = leave_built(whole, get_voc, "train")
    for dataset in (get_voc(), voc.DATA_SET.open("", built, fingerprint=fingerprint)):
        assert "seg11valid" not in dataset.splits and "seg11valid" not in dataset.ids
        with pytest.raises(FileNotFoundError, match="which the split 'seg11valid' needs"):
            dataset.source("seg11valid")


def test_partly_built_set_is_found_by_the_fingerprint_of_the_whole(whole, get_voc, built):
    fingerprint = leave_built(whole, get_voc, "train")
    dataset = voc.DATA_SET.open("", built, fingerprint=fingerprint)
    assert dataset.fingerprint == fingerprint
    assert ids_of(dataset, "train") == LISTS["voc2012"]["train"]
    with pytest.raises(FileNotFoundError, match="needs source_dir: none is built"):
        voc.DATA_SET.open("", built, fingerprint="0" * 16)


def test_set_of_fewer_parts_is_whole_by_its_own_fingerprint(tmp_path, get_voc, built, capsys):
    folder = write(tmp_path / "data", "voc2012")
    fingerprint = leave_built(folder, get_voc, "train")
    (tmp_path / "built" / "sbd" / "begun").mkdir(parents=True)
    capsys.readouterr()
    voc.DATA_SET.open("", built, fingerprint=fingerprint)
    assert "partly" not in capsys.readouterr().err
