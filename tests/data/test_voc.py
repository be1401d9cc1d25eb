import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from PIL import Image

from fcn_jax.data.files.lists import read_ids
from fcn_jax.data.sets import voc
from fcn_jax.data.sets.builds import find_only_build
from fcn_jax.data.sets.voc import LABELS as VOC
from fcn_jax.ops.palette import VOID_COLOR, full_palette

from .conftest import VOC_LISTS, save_palette_label, save_sbd_label, write_sbd, write_voc

TRAIN_ID, VAL_ID = VOC_LISTS["train"][1], VOC_LISTS["val"][0]


@pytest.fixture
def folder(voc_dir) -> Path:
    return voc_dir / "VOCdevkit" / "VOC2012"


def read_files(folder, name):
    image = np.asarray(Image.open(folder / "JPEGImages" / f"{name}.jpg"))
    return image, np.asarray(Image.open(folder / "SegmentationClass" / f"{name}.png"))


def test_split_of_a_list_that_no_layout_has_is_refused():
    splits = {"train": voc.Split(1, take=("voc2012/training",))}
    with pytest.raises(ValueError, match=r"'train' of voc .*voc2012/training.*say list_names="):
        dataclasses.replace(voc.DATA_SET, splits=splits)


def test_voc_holds_the_files_in_list_order(voc_dir, folder, get_voc):
    dataset = get_voc(voc_dir)
    assert dataset.splits == ("train", "val", "trainval") and dataset.labels is VOC
    for split, ids in VOC_LISTS.items():
        source = dataset.source(split)
        assert [record["id"] for record in source] == ids
        for record, name in zip(source, ids, strict=True):
            image, label = read_files(folder, name)
            np.testing.assert_array_equal(record["image"], image)
            np.testing.assert_array_equal(record["label"], label)


def test_void_outlines_are_kept(voc_dir, get_voc):
    assert all((record["label"] == 255).any() for record in get_voc(voc_dir).source("trainval"))


def test_jpeg_bytes_are_stored_untouched(voc_dir, folder, get_voc, tmp_path):
    get_voc(voc_dir).source("train")
    stored = b"".join(file.read_bytes() for file in (tmp_path / "built").rglob("*train.array_rec*"))
    # array_record may compress, but finds nothing to gain in a JPEG of noise
    assert (folder / "JPEGImages" / f"{TRAIN_ID}.jpg").read_bytes()[200:400] in stored


@pytest.mark.parametrize("below", ["", "VOCdevkit", "VOCdevkit/VOC2012"])
def test_voc_is_found_from(below, voc_dir, get_voc):
    assert len(get_voc(voc_dir / below).source("trainval")) == 4


def test_voc2011_is_found_as_its_archive_unpacks(tmp_path, get_voc):
    write_voc(tmp_path / "TrainVal" / "VOCdevkit" / "VOC2011", VOC_LISTS)
    assert get_voc(tmp_path).splits == ("voc11_train", "voc11_val")


def test_sbd_is_found_from_its_own_folder(tmp_path, get_voc):
    write_sbd(tmp_path / "benchmark_RELEASE" / "dataset", VOC_LISTS)
    for folder in (
        tmp_path,
        tmp_path / "benchmark_RELEASE",
        tmp_path / "benchmark_RELEASE/dataset",
    ):
        assert get_voc(folder).splits == ("sbd_train", "sbd_val")


def test_folder_that_happens_to_be_called_dataset_is_not_sbd(tmp_path, get_voc):
    write_voc(tmp_path / "dataset" / "VOCdevkit" / "VOC2012", VOC_LISTS)
    assert get_voc(tmp_path / "dataset").splits == ("train", "val", "trainval")


def test_voc_is_built_once(voc_dir, get_voc, capsys):
    get_voc(voc_dir).source("train")
    assert "building voc2012 (4 images)" in capsys.readouterr().err
    get_voc(voc_dir).source("val")
    assert "building" not in capsys.readouterr().err


def test_part_of_voc_is_always_said_in_one_line(voc_dir, get_voc, capsys):
    for _ in range(2):
        get_voc(voc_dir)
        out, err = capsys.readouterr()
        assert out == "" and err.count("\n") == 1
        assert "train 2 of 1464, val 2 of 1449, trainval 4 of 2913" in err


def test_no_source_dir_means_the_only_build(voc_dir, get_voc):
    with pytest.raises(FileNotFoundError, match="(?s)needs source_dir.*SegmentationClass"):
        get_voc()
    expected = get_voc(voc_dir).source("val")[1]["image"]
    np.testing.assert_array_equal(get_voc().source("val")[1]["image"], expected)
    with pytest.raises(FileNotFoundError, match=r"no split 'train_aug', because SBD .*none is bui"):
        get_voc().source("train_aug")


def test_changed_files_are_another_build(voc_dir, folder, get_voc):
    get_voc(voc_dir).source("val")
    label = np.full(read_files(folder, VAL_ID)[1].shape, 5, np.uint8)
    save_palette_label(folder / "SegmentationClass" / f"{VAL_ID}.png", label)
    np.testing.assert_array_equal(get_voc(voc_dir).source("val")[0]["label"], label)
    list_file = folder / "ImageSets/Segmentation/val.txt"
    list_file.write_text("\n".join(reversed(VOC_LISTS["val"])))
    np.testing.assert_array_equal(get_voc(voc_dir).source("val")[1]["label"], label)
    with pytest.raises(ValueError, match="'voc2012' is built 3 times .*say which"):
        get_voc()


def test_metadata_hold_the_ids(voc_dir, folder, get_voc, tmp_path):
    get_voc(voc_dir).source("val")
    build = find_only_build("voc2012", data_dir=str(tmp_path / "built"))
    assert (build.source_dir, build.ids, build.subsets) == (str(folder), VOC_LISTS, {})


def test_rgb_label_is_read_through_the_palette_of_voc(voc_dir, folder, get_voc):
    label = read_files(folder, VAL_ID)[1]
    colors = full_palette(np.array(VOC.colors))[label]
    assert (colors[label == 255] == VOID_COLOR).all()
    Image.fromarray(colors).save(folder / "SegmentationClass" / f"{VAL_ID}.png")
    np.testing.assert_array_equal(get_voc(voc_dir).source("val")[0]["label"], label)


# --- SBD --------------------------------------------------------------------------------------


def test_sbd_label_is_the_segmentation_of_its_struct(tmp_path):
    label = np.random.default_rng(0).integers(0, 21, (7, 9), np.uint8)
    label[0, 0] = 255
    save_sbd_label(tmp_path / "a.mat", label)
    np.testing.assert_array_equal(voc.read_sbd_label(tmp_path / "a.mat").numbers, label)


@pytest.mark.parametrize(
    "variables",
    [
        {"GTinst": {"Segmentation": np.zeros((2, 2), np.uint8)}},
        {"GTcls": {"Boundaries": np.zeros((2, 2), np.uint8)}},
        {"GTcls": np.zeros((2, 2), np.uint8)},
    ],
)
def test_read_sbd_label_rejects_another_struct(tmp_path, variables):
    scipy.io.savemat(tmp_path / "a.mat", variables)
    with pytest.raises(ValueError, match=r"a\.mat: cannot read GTcls\.Segmentation"):
        voc.read_sbd_label(tmp_path / "a.mat")


@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.9])
def test_read_sbd_label_rejects_cut_off_file(tmp_path, share):
    file = tmp_path / "a.mat"
    save_sbd_label(file, np.random.default_rng(0).integers(0, 21, (40, 40), np.uint8))
    data = file.read_bytes()
    file.write_bytes(data[: int(share * len(data))])
    with pytest.raises(ValueError, match=r"a\.mat: cannot read GTcls\.Segmentation"):
        voc.read_sbd_label(file)


@pytest.mark.parametrize(
    "segmentation", [np.full((2, 3), 300), np.full((2, 3), 0.5), np.zeros((2, 3, 4))]
)
def test_read_sbd_label_rejects_what_is_no_label(tmp_path, segmentation):
    save = {"GTcls": {"Segmentation": segmentation}}
    scipy.io.savemat(tmp_path / "a.mat", save)
    with pytest.raises(ValueError, match=r"a\.mat: GTcls\.Segmentation must hold one class number"):
        voc.read_sbd_label(tmp_path / "a.mat")


# --- broken folders ---------------------------------------------------------------------------


def test_voc_rejects_folder_without_any_part(tmp_path, get_voc):
    with pytest.raises(FileNotFoundError, match="(?s)where is no folder.*JPEGImages.*source_dir="):
        get_voc(tmp_path / "nowhere")


def test_voc_rejects_missing_list(voc_dir, folder, get_voc):
    (folder / "ImageSets/Segmentation/val.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"(?s)list .*val\.txt is missing.*source_dir="):
        get_voc(voc_dir)


@pytest.mark.parametrize(
    ("kind", "file"),
    [("image", f"JPEGImages/{VAL_ID}.jpg"), ("label", f"SegmentationClass/{VAL_ID}.png")],
)
def test_voc_rejects_id_without_file(voc_dir, folder, get_voc, kind, file):
    (folder / file).unlink()
    with pytest.raises(
        FileNotFoundError, match=rf"val\.txt lists {VAL_ID}, but its {kind} .*{file}"
    ):
        get_voc(voc_dir)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("2007_000033 1\n", r"val\.txt, line 1: expected one id, got '2007_000033 1'"),
        ("2007_000033\n\n2007_000033\n", r"val\.txt, line 3: 2007_000033 is listed twice .*line 1"),
        ("\n  \n", r"val\.txt lists no image"),
    ],
)
def test_voc_rejects_list(voc_dir, folder, get_voc, text, message):
    (folder / "ImageSets/Segmentation/val.txt").write_text(text)
    with pytest.raises(ValueError, match=message):
        get_voc(voc_dir)


def test_list_with_windows_line_ends_spaces_and_byte_order_mark_is_read(tmp_path):
    (tmp_path / "val.txt").write_bytes(b"\xef\xbb\xbf2007_000033 \r\n\r\n\t2008_000007\r\n")
    assert read_ids(tmp_path / "val.txt") == ["2007_000033", "2008_000007"]


def test_voc_rejects_truncated_jpeg(voc_dir, folder, get_voc):
    file = folder / "JPEGImages" / f"{VAL_ID}.jpg"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ValueError, match=rf"{VAL_ID}\.jpg: cannot read this file as an image"):
        get_voc(voc_dir).source("val")


def test_voc_rejects_label_of_another_size(voc_dir, folder, get_voc):
    save_palette_label(folder / f"SegmentationClass/{VAL_ID}.png", np.zeros((16, 21), np.uint8))
    with pytest.raises(
        ValueError, match=rf"{VAL_ID}\.png: label is 21x16 but image .*{VAL_ID}\.jp"
    ):
        get_voc(voc_dir).source("val")


@pytest.mark.parametrize("value", [21, 254])
def test_voc_rejects_label_value(voc_dir, folder, get_voc, value):
    path = folder / "SegmentationClass" / f"{VAL_ID}.png"
    good = read_files(folder, VAL_ID)[1]
    bad = np.where(good == 255, np.uint8(value), good)
    save_palette_label(path, bad)
    with pytest.raises(ValueError, match=rf"{VAL_ID}\.png: label value {value} .*0\.\.20 and 255"):
        get_voc(voc_dir).source("val")
    save_palette_label(path, good)
    assert len(get_voc(voc_dir).source("val")) == 2  # nothing was left in the way


def test_sbd_rejects_label_value(tmp_path, get_voc):
    write_sbd(tmp_path / "dataset", VOC_LISTS)
    file = tmp_path / "dataset" / "cls" / f"{TRAIN_ID}.mat"
    save_sbd_label(file, np.full_like(voc.read_sbd_label(file).numbers, 21))
    with pytest.raises(ValueError, match=rf"{TRAIN_ID}\.mat: label value 21 is not allowed"):
        get_voc(tmp_path).source("sbd_train")


# --- the real folder --------------------------------------------------------------------------

# Images that hold a class, train / val, in the 993-image part of VOC2012 that this was developed
# on, counted once by a script of its own.
PART_COUNTS = {
    "person": (101, 114),
    "cat": (131, 119),
    "dog": (121, 128),
    "horse": (68, 79),
    "sheep": (63, 57),
    "cow": (62, 71),
    "chair": (27, 23),
    "sofa": (23, 25),
    "pottedplant": (15, 13),
    "bottle": (13, 5),
    "diningtable": (13, 7),
    "tvmonitor": (13, 9),
    "car": (12, 14),
}


@pytest.fixture(scope="module")
def real_folder() -> Path:
    folder = os.environ.get("FCN_JAX_VOC2012", "")
    found = voc.VOC2012.find(Path(folder)) if folder else None
    if not found:
        pytest.skip("set FCN_JAX_VOC2012 to a folder VOCdevkit to run this")
    return found


@pytest.mark.slow
def test_real_voc_is_read_as_it_is(real_folder, get_voc):
    dataset = get_voc(real_folder)
    for split in ("train", "val"):
        source = dataset.source(split)
        names = (real_folder / f"ImageSets/Segmentation/{split}.txt").read_text().split()
        assert len(source) == len(names)
        for index in range(0, len(names), 97):
            image, label = read_files(real_folder, names[index])
            assert source[index]["id"] == names[index]
            np.testing.assert_array_equal(source[index]["image"], image)
            np.testing.assert_array_equal(source[index]["label"], label)


@pytest.mark.slow
def test_real_voc_has_the_known_number_of_images_per_class(real_folder):
    ids = voc.VOC2012.survey(real_folder, VOC, voc.EXPECTED_FILES).ids
    assert not set(ids["train"]) & set(ids["val"])
    if tuple(map(len, ids.values())) != (491, 502):
        pytest.skip("the numbers are those of the 993-image part of VOC2012")
    found = {split: np.zeros(256, int) for split in ids}
    for split, names in ids.items():
        for name in names:
            label = voc.read_voc_label(real_folder / "SegmentationClass" / f"{name}.png")
            found[split] += np.bincount(label.numbers.ravel(), minlength=256) > 0
    for split, column in (("train", 0), ("val", 1)):
        counts = {name: found[split][VOC.names.index(name)] for name in PART_COUNTS}
        assert counts == {name: pair[column] for name, pair in PART_COUNTS.items()}
        assert found[split][0] <= found[split][255] == len(ids[split])  # void is in every image
