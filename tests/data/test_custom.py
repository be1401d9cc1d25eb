"""A user's folder without faults: labels, splits, and the build. `test_broken` has the rest."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fcn_jax.data.files import chance
from fcn_jax.data.files.classes_txt import read_classes
from fcn_jax.ops.palette import class_palette

from .conftest import (
    CUSTOM_CLASSES,
    CUSTOM_NAMES,
    draw_custom_label,
    save_custom_label,
    write_custom,
)

VAL = ["c", "f"]  # by the hash of their names, with seed 0 and a share of 0.4
TRAIN = [name for name in CUSTOM_NAMES if name not in VAL]


def ids_of(dataset, split):
    return [record["id"] for record in dataset.source(split)]


def labels_of(dataset):
    return {r["id"]: r["label"] for split in ("train", "val") for r in dataset.source(split)}


def test_custom_holds_the_files_and_the_classes(custom_dir, get_custom):
    dataset = get_custom(custom_dir)
    assert dict(zip(dataset.labels.names, dataset.labels.colors, strict=True)) == CUSTOM_CLASSES
    assert dataset.splits == ("train", "val")
    assert {split: ids_of(dataset, split) for split in dataset.splits} == {
        "train": TRAIN,
        "val": VAL,
    }
    for record in dataset.source("val"):
        image = np.asarray(Image.open(custom_dir / "images" / f"{record['id']}.jpg"))
        label = np.asarray(Image.open(custom_dir / "labels" / f"{record['id']}.png"))
        np.testing.assert_array_equal(record["image"], image)
        np.testing.assert_array_equal(record["label"], label)


def test_grey_palette_and_colour_labels_are_the_same_label_maps(tmp_path, get_custom):
    kinds = [
        labels_of(get_custom(write_custom(tmp_path / kind, kind=kind)))
        for kind in ("grey", "palette", "colours")
    ]
    for name in CUSTOM_NAMES:
        assert 255 in kinds[0][name]
        for other in kinds[1:]:
            np.testing.assert_array_equal(other[name], kinds[0][name])


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_palette_label_of_few_bits_is_read_as_its_numbers(custom_dir, get_custom, bits):
    label = np.random.default_rng(0).integers(0, 2, (12, 16), np.uint8)
    picture = Image.fromarray(label)
    picture.putpalette([0, 0, 0, 128, 0, 0])
    picture.save(custom_dir / "labels" / "c.png", bits=bits)
    np.testing.assert_array_equal(labels_of(get_custom(custom_dir))["c"], label)


def test_last_line_void_gives_the_colour_of_void(custom_dir, get_custom):
    with (custom_dir / "classes.txt").open("a") as file:
        file.write("void 9 9 9\n")
    label = np.zeros((12, 16, 3), np.uint8)
    label[2:4] = 9
    label[5] = CUSTOM_CLASSES["dog"]
    Image.fromarray(label).save(custom_dir / "labels" / "c.png")
    dataset = get_custom(custom_dir)
    assert dataset.labels.num_classes == 3
    expected = np.zeros((12, 16), np.uint8)
    expected[2:4], expected[5] = 255, 2
    np.testing.assert_array_equal(labels_of(dataset)["c"], expected)


def test_classes_need_no_colours_and_names_may_hold_spaces(custom_dir, get_custom):
    (custom_dir / "classes.txt").write_bytes(b"\xef\xbb\xbfbackground\r\nwild cat\r\ndog\r\n\r\n")
    labels = get_custom(custom_dir).labels
    assert labels.names == ("background", "wild cat", "dog")
    np.testing.assert_array_equal(labels.colors, class_palette(num_colors=3))


def test_colours_that_nobody_said_do_not_rename_a_build(tmp_path):
    """They are not part of what a data set is, so that what was built in VOC's is found again."""
    (tmp_path / "classes.txt").write_text("background\ncat\n")
    assert read_classes(tmp_path / "classes.txt").meaning == (
        "(LabelSet(names=('background', 'cat'), colors=((0, 0, 0), (128, 0, 0)), "
        "ignore_label=255), {})"
    )


# --- splits -----------------------------------------------------------------------------------


def test_more_images_never_move_those_that_are_there(custom_dir, get_custom):
    before = get_custom(custom_dir)
    before = {split: set(ids_of(before, split)) for split in before.splits}
    rng = np.random.default_rng(1)
    for name in ("0", "between", "g", "h", "z"):
        image = rng.integers(0, 256, (12, 16, 3), np.uint8)
        Image.fromarray(image).save(custom_dir / "images" / f"{name}.png")
        save_custom_label(custom_dir / "labels" / f"{name}.png", draw_custom_label(rng))
    after = get_custom(custom_dir)
    after = {split: set(ids_of(after, split)) for split in after.splits}
    assert all(before[split] < after[split] for split in before)


def test_seed_and_share_choose_the_split(custom_dir, get_custom):
    assert ids_of(get_custom(custom_dir, split_seed=2), "val") == ["a", "c", "f"]
    assert ids_of(get_custom(custom_dir, val_frac=0.55), "val") == ["b", "c", "e", "f"]


def test_chance_gives_val_its_share():
    names = [f"image_{number}" for number in range(4000)]
    for frac in (0.1, 0.5):
        share = np.mean([chance.draw(name, 0) < frac for name in names])
        assert abs(share - frac) < 4 * np.sqrt(frac * (1 - frac) / len(names))
    both = np.mean([chance.draw(name, 0) < 0.5 and chance.draw(name, 1) < 0.5 for name in names])
    assert abs(both - 0.25) < 0.03  # seeds are independent


def test_folders_are_splits(custom_dir, get_custom):
    for kind in ("images", "labels"):
        for split, names in (("train", "abc"), ("val", "de"), ("test", "f")):
            (custom_dir / kind / split).mkdir()
            for file in sorted((custom_dir / kind).glob("*.*")):
                if file.stem in names:
                    os.rename(file, custom_dir / kind / split / file.name)
    dataset = get_custom(custom_dir)
    assert {split: ids_of(dataset, split) for split in dataset.splits} == {
        "train": ["a", "b", "c"],
        "val": ["d", "e"],
        "test": ["f"],
    }


LISTS = {
    "names": "b\na\n",
    "image names": "b.jpg\na.jpg\n",
    "pairs": "images/b.jpg labels/b.png\nimages/a.jpg labels/a.png\n",
    "paths of another machine": "/home/me/x/images/b.jpg C:\\x\\labels\\b.png\n"
    "/images/a.jpg /labels/a.png\n",
    "Windows line ends": "b\r\n\r\n a \r\n",
}


@pytest.mark.parametrize("lines", LISTS.values(), ids=LISTS)
def test_lists_are_splits(custom_dir, get_custom, lines):
    (custom_dir / "train.txt").write_text(lines, newline="")
    (custom_dir / "val.txt").write_text("f\n")
    dataset = get_custom(custom_dir)
    assert {split: ids_of(dataset, split) for split in dataset.splits} == {
        "train": ["b", "a"],
        "val": ["f"],
    }
    expected = np.asarray(Image.open(custom_dir / "labels" / "b.png"))
    np.testing.assert_array_equal(dataset.source("train")[0]["label"], expected)


def test_lists_of_segnet_name_the_files_of_a_folder_of_each_split(custom_dir, get_custom):
    shutil.move(custom_dir / "images", custom_dir / "train")
    shutil.move(custom_dir / "labels", custom_dir / "trainannot")
    for split, names in (("train", "ab"), ("val", "c")):
        lines = [f"/SegNet/train/{name}.jpg /SegNet/trainannot/{name}.png\n" for name in names]
        (custom_dir / f"{split}.txt").write_text("".join(lines))
    assert ids_of(get_custom(custom_dir), "train") == ["a", "b"]


def test_paths_with_spaces_are_separated_by_a_tab(custom_dir, get_custom):
    for file in [*custom_dir.glob("images/a.*"), *custom_dir.glob("labels/a.*")]:
        os.rename(file, file.with_stem("my a"))
    (custom_dir / "train.txt").write_text("images/my a.jpg\tlabels/my a.png\nb\n")
    (custom_dir / "val.txt").write_text("c\n")
    assert ids_of(get_custom(custom_dir), "train") == ["my a", "b"]


# --- builds -----------------------------------------------------------------------------------


def test_custom_is_built_once_and_read_without_its_folder(custom_dir, get_custom, capsys):
    expected = get_custom(custom_dir)
    labels = labels_of(expected)
    assert capsys.readouterr().err.count("building custom (6 images)") == 1
    labels_of(get_custom(custom_dir))
    assert capsys.readouterr().err == ""
    shutil.rmtree(custom_dir)
    dataset = get_custom()
    assert dataset.labels == expected.labels
    for name, label in labels_of(dataset).items():
        np.testing.assert_array_equal(label, labels[name])


def test_without_a_build_the_expected_folder_is_shown(get_custom):
    with pytest.raises(FileNotFoundError, match=r"(?s)needs source_dir.*FOLDER/classes\.txt"):
        get_custom()


@pytest.mark.parametrize("change", ["label", "image", "classes", "split"])
def test_changed_folder_is_another_build(custom_dir, get_custom, change):
    old = get_custom(custom_dir).fingerprint
    options = {}
    if change == "label":
        save_custom_label(custom_dir / "labels" / "c.png", np.eye(12, 16, dtype=np.uint8))
    elif change == "image":
        Image.new("RGB", (16, 12)).save(custom_dir / "images" / "c.jpg")
    elif change == "classes":
        (custom_dir / "classes.txt").write_text("background\ncat\ncow\n")
    else:
        options = {"split_seed": 2}
    dataset = get_custom(custom_dir, **options)
    assert dataset.fingerprint != old
    record = dataset.source("val")[ids_of(dataset, "val").index("c")]
    if change == "label":
        np.testing.assert_array_equal(record["label"], np.eye(12, 16))
    if change == "image":
        assert record["image"].max() == 0


@pytest.mark.parametrize("move", [os.rename, shutil.copytree])
def test_moved_or_copied_folder_is_the_same_build(custom_dir, get_custom, capsys, move):
    old = get_custom(custom_dir)
    labels_of(old)
    move(custom_dir, custom_dir.with_name("moved"))
    os.utime(custom_dir.with_name("moved") / "images/a.jpg")
    capsys.readouterr()
    new = get_custom(custom_dir.with_name("moved"))
    labels_of(new)
    assert new.fingerprint == old.fingerprint and capsys.readouterr().err == ""


def test_image_replaced_by_one_of_the_same_size_and_time_is_another_build(custom_dir, get_custom):
    file = custom_dir / "images/c.jpg"
    old, times = (
        get_custom(custom_dir).fingerprint,
        (file.stat().st_atime_ns, file.stat().st_mtime_ns),
    )
    data = bytearray(file.read_bytes())
    data[-20] ^= 1
    file.write_bytes(data)
    os.utime(file, ns=times)
    assert get_custom(custom_dir).fingerprint != old


def test_classes_of_a_folder_can_be_selected(custom_dir, get_custom):
    every = labels_of(get_custom(custom_dir))
    dataset = get_custom(custom_dir, classes=("dog", "background"))
    for name, label in labels_of(dataset).items():
        expected = np.choose(np.where(every[name] > 2, 1, every[name]), [1, 255, 0])
        np.testing.assert_array_equal(label, expected)


def test_source_dir_may_begin_with_a_tilde(custom_dir, get_custom, monkeypatch):
    monkeypatch.setenv("HOME", str(custom_dir.parent))
    assert len(get_custom(Path("~") / custom_dir.name).source("train")) == 4
