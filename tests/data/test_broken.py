"""Broken folders: a build refuses each by name, and `check_data` says the same, word for word."""

import os
import re

import numpy as np
import pytest
from PIL import Image

from fcn_jax.data.checkup import check_folder
from fcn_jax.data.datasets import get_dataset

from .conftest import (
    CUSTOM_CLASSES,
    MATLAB_SETS,
    VOC_LISTS,
    save_custom_label,
    save_mat_label,
    save_palette_label,
    write_camvid,
    write_custom,
    write_matlab_set,
    write_voc,
)
from .picture_writers import png, tiff

LABEL = np.random.default_rng(0).integers(0, 3, (12, 16), np.uint8)
IMAGE = np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8)


def save_image(name, *, array=IMAGE, mode="RGB", **options):
    return lambda folder: (
        Image.fromarray(array).convert(mode).save(folder / "images" / name, **options)
    )


def save_label(name, *, array=LABEL, mode="L", **options):
    return lambda folder: (
        Image.fromarray(array).convert(mode).save(folder / "labels" / name, **options)
    )


def keep_half(name):
    def cut(folder):
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[: len(data) // 2])

    return cut


def flip_bit_of_png(name):
    """Flips one bit of the compressed pixels."""

    def flip(folder):
        data = bytearray((folder / name).read_bytes())
        data[data.index(b"IDAT") + 12] ^= 1
        (folder / name).write_bytes(data)

    return flip


def write(name, content):
    def write_(folder):
        path = folder / name
        path.write_bytes(content) if isinstance(content, bytes) else path.write_text(content)

    return write_


def remove(name):
    return lambda folder: (folder / name).unlink()


def rename(old, new):
    return lambda folder: os.rename(folder / old, folder / new)


def do(*steps):
    def do_(folder):
        for step in steps:
            step(folder)

    return do_


def png_of_few_bits(name, bits):
    """A grey label of 1s; Pillow would read them as 255 // (2**bits - 1)."""
    return write(name, png(np.ones((12, 16, 1), int), bits))


def turned(name, orientation, array=IMAGE):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return save_image(name, array=array, exif=exif)


def palette_label(name, palette, array=LABEL):
    def save(folder):
        picture = Image.fromarray(array)
        picture.putpalette(palette)
        picture.save(folder / "labels" / name)

    return save


def in_folders(folder):
    for kind, suffix in (("images", "jpg"), ("labels", "png")):
        for split, names in (("train", "abcd"), ("val", "ef")):
            (folder / kind / split).mkdir()
            for name in names:
                rename(f"{kind}/{name}.{suffix}", f"{kind}/{split}/{name}.{suffix}")(folder)


def lists(train="a\nb\n", val="c\n"):
    return do(write("train.txt", train), write("val.txt", val))


def every_label(function):
    def change(folder):
        for path in sorted((folder / "labels").iterdir()):
            label = function(np.asarray(Image.open(path)))
            Image.fromarray(label).save(path)

    return change


def add_class_lines(text):
    def add(folder):
        with (folder / "classes.txt").open("a") as file:
            file.write(text)

    return add


no_colours = write("classes.txt", "background\ncat\ndog\n")
colours = np.zeros((256, 3), np.uint8)
colours[:3] = list(CUSTOM_CLASSES.values())
wrong_colours = colours.copy()
wrong_colours[1:3] = colours[2], colours[1]
colour_label = colours[LABEL]
smooth_label = colour_label.copy()
smooth_label[4, 5] = 64, 0, 0

# what is done to the folder: (kind, message)
BROKEN = {
    # the folder
    "no folder": (
        lambda f: os.rename(f, f.with_name("away")),
        "missing classes.txt",
        "there is no",
    ),
    "folder is a file": (
        do(lambda f: os.rename(f, f.with_name("away")), lambda f: f.write_text("")),
        "missing classes.txt",
        "is a file",
    ),
    "no classes.txt": (remove("classes.txt"), "missing classes.txt", r"holds images/, labels/\)"),
    "no images": (
        rename("images", "imgs"),
        "missing folder",
        "(?s)folder .*images is missing.*imgs",
    ),
    "no labels": (rename("labels", "masks"), "missing folder", "(?s)labels is missing.*masks"),
    "no picture": (
        lambda f: [os.rename(p, p.with_suffix(".xyz")) for p in (f / "images").iterdir()],
        "empty folder",
        r"images holds no picture .*a\.xyz",
    ),
    "folders that are no splits": (
        lambda f: (f / "images" / "monday").mkdir(),
        "unknown folder",
        "holds the folders monday",
    ),
    "no folder of val": (
        do(in_folders, lambda f: os.rename(f / "images/val", f / "images/test")),
        "missing folder",
        "images/val is missing",
    ),
    "no label folder of a split": (
        do(in_folders, rename("labels/val", "labels/v")),
        "missing folder",
        "labels/val is missing",
    ),
    "image beside the folders": (
        do(in_folders, rename("images/val/f.jpg", "images/f.jpg")),
        "image outside the splits",
        r"beside them, f\.jpg",
    ),
    "too few images for chance": (
        lambda f: [p.unlink() for n in "cf" for p in f.glob(f"*/{n}.*")],
        "empty split",
        "none of the 4 images of .* falls into val",
    ),
    # pairs
    "image without label": (remove("labels/c.png"), "image without label", r"c\.jpg has no label"),
    "label without image": (remove("images/c.jpg"), "label without image", r"c\.png has no image"),
    "labels of other names": (
        lambda f: [os.rename(p, p.with_stem(f"{p.stem}_mask")) for p in (f / "labels").iterdir()],
        "image without label",
        r"a\.jpg has no label: .*a_mask\.png, b_mask\.png",
    ),
    "name in another case": (
        rename("labels/c.png", "labels/C.png"),
        "image without label",
        r"c\.jpg has no label",
    ),
    "two images of one name": (
        save_image("c.png"),
        "two files of one name",
        r"c\.png and c\.jpg have the same name",
    ),
    "two labels of one name": (
        save_label("c.bmp"),
        "two files of one name",
        r"c\.png and c\.bmp have the same name",
    ),
    "broken link": (
        do(remove("images/c.jpg"), lambda f: (f / "images/c.jpg").symlink_to("nowhere.jpg")),
        "missing file",
        r"c\.jpg is no file",
    ),
    "folder with the name of a picture": (
        do(remove("labels/c.png"), lambda f: (f / "labels/c.png").mkdir()),
        "missing file",
        r"c\.png is no file",
    ),
    "file name that is no text": (
        lambda f: os.rename(f / "images/c.jpg", os.fsencode(f / "images") + b"/c\xff.jpg"),
        "file name",
        r"images/c\\udcff\.jpg' is no UTF-8",
    ),
    "copy of an image in another split": (
        lambda f: (f / "images/c.jpg").write_bytes((f / "images/a.jpg").read_bytes()),
        "image in two splits",
        r"c\.jpg of val is a copy of .*a\.jpg in train",
    ),
    # lists
    "list without the other": (write("train.txt", "a\n"), "missing list", r"val\.txt is missing"),
    "empty list": (lists(val="\n \n"), "empty list", r"val\.txt lists no image"),
    "name that is not there": (
        lists(val="c\nnope\n"),
        "missing file",
        r"val\.txt, line 2: the image 'nope' is missing",
    ),
    "label that is not there": (
        lists(val="images/c.jpg labels/nope.png\n"),
        "missing file",
        r"line 1: the label 'labels/nope\.png' is missing",
    ),
    "three words": (lists(val="c d e\n"), "line of a list", "line 1: .*got 3 words"),
    "image listed twice": (
        lists(val="c\nd\nimages/c.jpg labels/c.png\n"),
        "file listed twice",
        r"line 3: c is listed twice \(first on line 1\)",
    ),
    "image in both lists": (
        lists(train="a\nc\n"),
        "image in two splits",
        r"c\.jpg of val is in train too",
    ),
    "image that is its own label": (
        lists(val="images/c.jpg images/c.jpg\n"),
        "line of a list",
        "image and label at once",
    ),
    "name of two files": (
        do(save_image("c.png"), lists()),
        "two files of one name",
        r"'c' may be c\.jpg, c\.png",
    ),
    "list that is no text": (
        do(write("train.txt", "a\n"), write("val.txt", b"\xff\xfe\n")),
        "line of a list",
        r"val\.txt is no UTF-8",
    ),
    # classes.txt
    "empty classes.txt": (write("classes.txt", "\n"), "line of classes.txt", "names 0 classes"),
    "one class": (write("classes.txt", "cat\n"), "line of classes.txt", "names 1 class;"),
    "300 classes": (
        write("classes.txt", "".join(f"class{n}\n" for n in range(300))),
        "line of classes.txt",
        "names 300 classes; expected 2 to 255",
    ),
    "class named twice": (
        write("classes.txt", "background\ncat\ncat\n"),
        "line of classes.txt",
        "line 3: the class 'cat' is on line 2 as well",
    ),
    "colour given twice": (
        add_class_lines("cow 128 0 0\n"),
        "line of classes.txt",
        r"line 4: the colour \(128, 0, 0\) is that of line 2",
    ),
    "colour of one class missing": (
        add_class_lines("cow\n"),
        "line of classes.txt",
        "line 4: class 'cow' has no colour",
    ),
    "two numbers for a colour": (
        add_class_lines("cow 1 2\n"),
        "line of classes.txt",
        "line 4: expected three whole numbers in 0..255 after the name, got '1 2'",
    ),
    "colour above 255": (
        add_class_lines("cow 1 2 256\n"),
        "line of classes.txt",
        "line 4: expected three whole",
    ),
    "commas": (add_class_lines("cow,1,2,3\n"), "line of classes.txt", "line 4: .*without commas"),
    "empty line between classes": (
        add_class_lines("\ncow 1 2 3\n"),
        "line of classes.txt",
        "line 4: empty line",
    ),
    "comment": (add_class_lines("# animals\n"), "line of classes.txt", "line 4: comment"),
    "void among the classes": (
        write("classes.txt", "background 0 0 0\nvoid 1 1 1\ncat 128 0 0\n"),
        "line of classes.txt",
        "line 3: 'void' must be the last line",
    ),
    "void without a colour": (
        write("classes.txt", "background\ncat\ndog\nvoid\n"),
        "line of classes.txt",
        "line 4: 'void' is 255 and no class",
    ),
    "classes.txt in another encoding": (
        write("classes.txt", "k\xe4se\ncat\n".encode("latin-1")),
        "line of classes.txt",
        "no UTF-8 text",
    ),
    # images
    "empty image": (
        write("images/c.jpg", b""),
        "unreadable or damaged file",
        r"c\.jpg: cannot read",
    ),
    "image cut short": (keep_half("images/c.jpg"), "unreadable or damaged file", r"c\.jpg: cannot"),
    "text with the name of an image": (
        write("images/c.jpg", "version https://git-lfs.github.com/spec/v1\n"),
        "unreadable or damaged file",
        r"c\.jpg: cannot read",
    ),
    "image of 16 bits": (
        do(remove("images/c.jpg"), save_image("c.png", array=LABEL.astype(np.uint16), mode="I;16")),
        "image of an unsupported mode",
        r"c\.png: image mode I;16",
    ),
    "image of 1 bit": (
        do(remove("images/c.jpg"), save_image("c.png", mode="1")),
        "image of an unsupported mode",
        r"c\.png: image mode 1 ",
    ),
    "CMYK image": (save_image("c.jpg", mode="CMYK"), "image of an unsupported mode", "mode CMYK"),
    "grey image with transparency": (
        do(remove("images/c.jpg"), save_image("c.png", mode="LA")),
        "image of an unsupported mode",
        "mode LA",
    ),
    "animated image": (
        do(
            remove("images/c.jpg"),
            save_image("c.gif", save_all=True, append_images=[Image.new("RGB", (16, 12))]),
        ),
        "file of several pictures",
        r"c\.gif: this file holds 2 pictures",
    ),
    "image on its head": (turned("c.jpg", 3), "image that is shown turned (EXIF)", r"c\.jpg: EXIF"),
    "TIFF on its head": (
        do(remove("images/c.jpg"), save_image("c.tif", tiffinfo={274: 3})),
        "image that is shown turned (EXIF)",
        r"c\.tif: EXIF says .*\(orientation 3\)",
    ),
    "image of 16-bit colour": (
        do(remove("images/c.jpg"), write("images/c.png", png(IMAGE.astype(int) * 257, 16))),
        "image of an unsupported mode",
        "mode RGB is not supported .more than 8 bits per sample",
    ),
    "image of premultiplied colours": (
        do(
            remove("images/c.jpg"),
            write(
                "images/c.tif",
                tiff(IMAGE[:, :, [0, 1, 2, 0]], 8, photometric=2, tags={338: [1]}),
            ),
        ),
        "image of an unsupported mode",
        "colours multiplied by alpha",
    ),
    "image over the size limit": (
        write("images/c.jpg", b"P6 40000 10000 255\n"),
        "picture over the size limit",
        r"c\.jpg: this picture is too large .*400000000",
    ),
    "image of another size": (
        save_image("c.jpg", array=IMAGE[1:]),
        "label of another size than its image",
        r"c\.png: label is 16x12 but image .*c\.jpg is 16x11",
    ),
    "label of an image that is shown upright": (
        do(turned("c.jpg", 6), save_label("c.png", array=LABEL.T)),
        "label of another size than its image",
        "12x16 but .* is 16x12; .*stored on its side",
    ),
    # labels
    "empty label": (
        write("labels/c.png", b""),
        "unreadable or damaged file",
        r"c\.png: cannot read",
    ),
    "label cut short": (keep_half("labels/c.png"), "unreadable or damaged file", r"c\.png: cannot"),
    "label with a flipped bit": (
        flip_bit_of_png("labels/c.png"),
        "unreadable or damaged file",
        r"c\.png: cannot read",
    ),
    "JPEG label": (
        do(remove("labels/c.png"), save_label("c.jpg")),
        "label that is a JPEG",
        r"c\.jpg: this is a JPEG",
    ),
    "JPEG label called PNG": (
        save_label("c.png", format="JPEG"),
        "label that is a JPEG",
        r"c\.png: this is a JPEG",
    ),
    "label of a JPEG in a TIFF": (
        do(remove("labels/c.png"), save_label("c.tif", compression="jpeg")),
        "label that is a JPEG",
        r"c\.tif: this TIFF holds a JPEG",
    ),
    "grey TIFF label of 4 bits": (
        do(
            remove("labels/c.png"),
            write("labels/c.tif", tiff(LABEL[:, :, None], 4, photometric=1)),
        ),
        "label of an unsupported mode",
        "must have 8 bits per pixel, got 4",
    ),
    "label that was shrunk to a palette": (
        palette_label("c.png", bytes([2, 2, 2, 0, 0, 0, 1, 1, 1])),
        "label with a palette of greys",
        r"c\.png: number 0 is shown as grey level 2",
    ),
    "label value without class": (
        save_label("c.png", array=LABEL + np.uint8(1)),
        "label value outside the classes",
        r"c\.png: label value 3 .*0\.\.2 and 255",
    ),
    "label of 16 bits": (
        save_label("c.png", array=LABEL.astype(np.uint16), mode="I;16"),
        "label of an unsupported mode",
        "got mode I;16",
    ),
    "label of 1 bit": (
        save_label("c.png", array=LABEL * np.uint8(127), mode="1"),
        "label of an unsupported mode",
        "got mode 1",
    ),
    "grey label of 2 bits": (
        png_of_few_bits("labels/c.png", 2),
        "label of an unsupported mode",
        "must have 8 bits per pixel, got 2",
    ),
    "grey label of 4 bits": (
        png_of_few_bits("labels/c.png", 4),
        "label of an unsupported mode",
        "must have 8 bits per pixel, got 4",
    ),
    "label with transparency": (
        save_label("c.png", array=colour_label, mode="RGBA"),
        "label of an unsupported mode",
        "got mode RGBA",
    ),
    "colour label without colours of classes": (
        do(no_colours, save_label("c.png", array=colour_label, mode="RGB")),
        "label of an unsupported mode",
        "got mode RGB, and no colours of classes to read it by",
    ),
    "colour of no class": (
        save_label("c.png", array=smooth_label, mode="RGB"),
        "label colour that belongs to no class",
        r"c\.png: the colour \(64, 0, 0\), first at row 4, column 5",
    ),
    "palette in another order": (
        palette_label("c.png", wrong_colours.tobytes()),
        "label with a reordered palette",
        r"number 1 has the colour \(0, 128, 0\), which means 2",
    ),
    "two orders of a palette, and no colours of classes": (
        do(
            no_colours,
            palette_label("b.png", colours.tobytes()),
            palette_label("c.png", wrong_colours.tobytes()),
        ),
        "label with a reordered palette",
        r"c\.png: number 1 has the colour \(0, 128, 0\), but \(128, 0, 0\) in .*b\.png",
    ),
    "masks of 0 and 255": (
        every_label(lambda label: np.where(label == 0, np.uint8(0), np.uint8(255))),
        "labels of one class only",
        "only class 'background' and unlabelled pixels .*if 255 is a class here",
    ),
    "labels that are all black": (
        every_label(np.zeros_like),
        "labels of one class only",
        "hold only class 'background'; no score could be wrong; move",
    ),
    "labels that are all void": (
        every_label(lambda label: np.full_like(label, 255)),
        "labels of one class only",
        "hold only unlabelled pixels",
    ),
    "animated label": (
        do(
            remove("labels/c.png"),
            save_label("c.gif", save_all=True, append_images=[Image.new("L", (16, 12))]),
        ),
        "file of several pictures",
        r"c\.gif: this file holds 2 pictures",
    ),
}


def build(name, folder, data_dir, split="train", **options):
    dataset = get_dataset(name, source_dir=str(folder), data_dir=str(data_dir), **options)
    return dataset.source(split)


def test_table_of_broken_folders_is_long():
    assert len(BROKEN) >= 40


@pytest.mark.parametrize("name", BROKEN)
def test_broken_folder_is_refused_and_checked_alike(name, tmp_path):
    break_it, kind, message = BROKEN[name]
    folder = write_custom(tmp_path / "mine")
    break_it(folder)
    with pytest.raises((ValueError, FileNotFoundError), match=message) as caught:
        build("custom", folder, tmp_path / "built", val_frac=0.4)
    checkup = check_folder("custom", source_dir=str(folder), val_frac=0.4)
    said = {str(problem): problem.kind for problem in checkup.problems}
    assert said.get(str(caught.value)) == caught.value.kind
    assert any(re.search(message, text) and said[text] == kind for text in said), said


# what is done to the folder, and a remark about it if there is one
ACCEPTED = {
    "nothing": (lambda f: None, ""),
    "hidden and other files": (
        do(write("images/.DS_Store", "x"), write("labels/a.json", "{}"), write("README.txt", "x")),
        r"labels: 1 of 7 files are not used: a\.json",
    ),
    "suffix in capitals": (rename("images/c.jpg", "images/c.JPG"), ""),
    "grey image": (save_image("c.jpg", mode="L"), ""),
    "palette image": (do(remove("images/c.jpg"), save_image("c.png", mode="P")), ""),
    "RGBA image": (
        do(remove("images/c.jpg"), save_image("c.png", mode="RGBA")),
        r"1 image with transparency, which is dropped: c\.png",
    ),
    "PNG called jpg": (save_image("c.jpg", format="PNG"), ""),
    "image stored on its side with its label": (
        turned("c.jpg", 6),
        r"1 image stored turned \(EXIF\)",
    ),
    "labels of all kinds": (
        do(
            palette_label("b.png", colours.tobytes()),
            save_label("c.png", array=colour_label, mode="RGB"),
        ),
        "labels are stored in several ways: 4 grey, 1 palette, 1 colours",
    ),
    "label that is void": (
        save_label("c.png", array=np.full_like(LABEL, 255)),
        r"1 label, void at every pixel: c\.png",
    ),
    "same picture in another file format": (
        do(
            remove("images/c.jpg"),
            lambda f: Image.open(f / "images/a.jpg").save(f / "images/c.png"),
        ),
        "2 images of different splits show the same picture: train/a = val/c",
    ),
    "copy in one split": (
        lambda f: (f / "images/b.jpg").write_bytes((f / "images/a.jpg").read_bytes()),
        "2 images of one split show the same picture: train/a = train/b",
    ),
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_odd_folder_is_built_and_passes_the_check(name, tmp_path):
    change, remark = ACCEPTED[name]
    folder = write_custom(tmp_path / "mine")
    change(folder)
    checkup = check_folder("custom", source_dir=str(folder), val_frac=0.4)
    assert checkup.problems == []
    assert bool(remark) == bool(checkup.remarks)
    assert re.search(remark, " ".join(checkup.remarks))
    records = {
        record["id"]: record
        for split in ("train", "val")
        for record in build("custom", folder, tmp_path / "built", split, val_frac=0.4)
    }
    assert sorted(records) == list("abcdef")
    # What was counted is what was built.
    for facts in (*checkup.read("train"), *checkup.read("val")):
        label = records[facts.pair.id]["label"]
        np.testing.assert_array_equal(facts.counts, np.bincount(label.ravel(), minlength=256))
        assert facts.size == label.shape


@pytest.mark.parametrize("name", ["labels/c.png", "images/c.jpg"])
def test_damage_anywhere_in_a_file_crashes_nothing(name, tmp_path, rng):
    folder = write_custom(tmp_path / "mine", kind="palette")
    whole = (folder / name).read_bytes()
    outcomes = []
    for _ in range(60):
        data = bytearray(whole)
        data[rng.integers(len(data))] ^= 1 << rng.integers(8)
        (folder / name).write_bytes(data)
        outcomes.append(check_folder("custom", source_dir=str(folder), val_frac=0.4).problems)
    assert any(outcomes)


def test_every_problem_of_a_folder_is_listed(tmp_path):
    folder = write_custom(tmp_path / "mine")
    keep_half("images/a.jpg")(folder)
    save_label("a.png", array=LABEL + np.uint8(100))(folder)
    remove("labels/b.png")(folder)
    keep_half("labels/c.png")(folder)
    save_label("d.png", array=LABEL[:5])(folder)
    write("images/g.jpg", b"")(folder)
    checkup = check_folder("custom", source_dir=str(folder), val_frac=0.4)
    kinds = sorted(problem.kind for problem in checkup.problems)
    assert kinds == [
        "image without label",  # b
        "image without label",  # g
        "label of another size than its image",  # d
        "label value outside the classes",  # a
        "unreadable or damaged file",  # image a
        "unreadable or damaged file",  # c
    ]


# --- the data sets with a layout of their own --------------------------------------------------


def grey(file, array):
    return lambda folder: Image.fromarray(array).save(folder / file)


VOC_ID = VOC_LISTS["val"][0]
VOC_FILES = "VOCdevkit/VOC2012"
OTHERS = {
    "camvid, no list": ("camvid", remove("val.txt"), "missing list"),
    "camvid, no label": ("camvid", remove("valannot/seq_00.png"), "missing file"),
    "camvid, value": (
        "camvid",
        grey("valannot/seq_00.png", np.full((16, 20), 12, np.uint8)),
        "label value outside the classes",
    ),
    "camvid, size": (
        "camvid",
        grey("valannot/seq_00.png", np.zeros((16, 21), np.uint8)),
        "label of another size than its image",
    ),
    "camvid, image": ("camvid", keep_half("train/seq_03.png"), "unreadable or damaged file"),
    "camvid, line": ("camvid", write("val.txt", "a b c\n"), "line of a list"),
    "voc, no list": (
        "voc",
        remove(f"{VOC_FILES}/ImageSets/Segmentation/val.txt"),
        "missing list",
    ),
    "voc, no image": ("voc", remove(f"{VOC_FILES}/JPEGImages/{VOC_ID}.jpg"), "missing file"),
    "voc, image": (
        "voc",
        keep_half(f"{VOC_FILES}/JPEGImages/{VOC_ID}.jpg"),
        "unreadable or damaged file",
    ),
    "voc, value": (
        "voc",
        grey(f"{VOC_FILES}/SegmentationClass/{VOC_ID}.png", np.full((3, 3), 21, np.uint8)),
        "label value outside the classes",
    ),
    "voc, leak": (
        "voc",
        write(f"{VOC_FILES}/ImageSets/Segmentation/train.txt", f"{VOC_ID}\n"),
        "image in two splits",
    ),
    "voc, nothing": ("voc", rename("VOCdevkit", "devkit"), "missing folder"),
}


def replace_text(file, old, new):
    return lambda folder: (folder / file).write_text((folder / file).read_text().replace(old, new))


def mat(file, variable, array):
    return lambda folder: save_mat_label(folder / file, variable, array)


def break_matlab_set(name):
    """Yields (title, what is done, kind) for a set with `.mat` labels."""
    files = MATLAB_SETS[name]
    (_, first_ids), *_, (last, last_ids) = files.lists.items()
    id_list = files.list_file.format(last)
    image, label = (file.format(last_ids[0]) for file in (files.image_file, files.label_file))
    none = np.full((3, 3), max(files.meaning) + 1, np.int32)
    yield "no list", remove(id_list), "missing list"
    yield "list line", write(id_list, "a b\n"), "line of a list"
    yield "leak", write(id_list, f"{first_ids[0]}\n"), "image in two splits"
    yield "no image", remove(image), "missing file"
    yield "no label", remove(label), "missing file"
    yield "image", keep_half(image), "unreadable or damaged file"
    yield "label", keep_half(label), "unreadable or damaged file"
    yield "value", mat(label, files.variable, none), "label value outside the classes"
    yield "size", mat(label, files.variable, none - 1), "label of another size than its image"
    yield "variable", mat(label, "other", none), "MATLAB file of another kind"
    yield "7.3", write(label, bytes(512) + b"\x89HDF\r\n\x1a\n" + bytes(512)), "MATLAB 7.3 file"


for _set in ("nyud", "pascal_context", "siftflow"):
    for _title, _break_it, _kind in break_matlab_set(_set):
        OTHERS[f"{_set}, {_title}"] = (_set, _break_it, _kind)
OTHERS |= {
    "pascal_context, no names": ("pascal_context", remove("labels.txt"), "missing list"),
    "pascal_context, line of names": (
        "pascal_context",
        replace_text("labels.txt", "2: aero", "2; aero"),
        "line of a list",
    ),
    "pascal_context, class without number": (
        "pascal_context",
        replace_text("labels.txt", "2: aero", "2: aerial "),
        "list of other classes",
    ),
    "pascal_context, other classes": (
        "pascal_context",
        replace_text("59_labels.txt", "1: aero", "1: air"),
        "list of other classes",
    ),
}


@pytest.mark.parametrize("name", OTHERS)
def test_broken_data_set_is_refused_and_checked_alike(name, tmp_path):
    dataset, break_it, kind = OTHERS[name]
    folder = tmp_path / "data"
    if dataset == "camvid":
        write_camvid(folder)
    elif dataset == "voc":
        write_voc(folder / VOC_FILES, VOC_LISTS)
    else:
        write_matlab_set(folder, dataset)
    unbroken = check_folder(dataset, source_dir=str(folder))
    assert unbroken.problems == []
    break_it(folder)
    with pytest.raises((ValueError, FileNotFoundError)) as caught:
        for split in unbroken.splits:
            build(dataset, folder, tmp_path / "built", split)
    checkup = check_folder(dataset, source_dir=str(folder))
    assert caught.value.kind == kind
    assert (str(caught.value), kind) in [(str(p), p.kind) for p in checkup.problems]


def test_palette_of_voc_passes_the_check(tmp_path):
    write_voc(tmp_path / VOC_FILES, VOC_LISTS)
    save_palette_label(tmp_path / VOC_FILES / f"SegmentationClass/{VOC_ID}.png", LABEL)
    problems = check_folder("voc", source_dir=str(tmp_path)).problems
    assert [problem.kind for problem in problems] == ["label of another size than its image"]


def test_label_kinds_are_told_apart(tmp_path):
    for kind in ("grey", "palette", "colours"):
        folder = write_custom(tmp_path / kind, kind=kind)
        save_custom_label(folder / "labels" / "a.png", LABEL, kind=kind)
        checkup = check_folder("custom", source_dir=str(folder), val_frac=0.4)
        assert {facts.label_kind for facts in checkup.read("train")} == {kind}
