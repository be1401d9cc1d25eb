import numpy as np
import pytest
from PIL import Image

from fcn_jax.data.files.pictures import (
    array_to_png,
    check_label,
    picture_to_array,
    read_image_file,
    read_label_file,
)
from fcn_jax.data.files.problems import Problem

from .picture_writers import png

COLORS = {(0, 0, 0): 0, (128, 0, 0): 1, (224, 224, 192): 255}
LABEL = np.array([[0, 1, 1], [255, 255, 0]], np.uint8)


def test_a_table_says_what_the_numbers_of_a_palette_mean(tmp_path):
    table = {0: 255, 1: 0, 2: 1}
    picture = Image.fromarray(np.array([[0, 1, 2]], np.uint8), "P")
    picture.putpalette([9, 9, 9, 10, 20, 30, 40, 50, 60])
    picture.save(tmp_path / "label.png")
    label = read_label_file(tmp_path / "label.png", table=table)
    np.testing.assert_array_equal(label.numbers, [[255, 0, 1]])
    assert label.palette == {255: (9, 9, 9), 0: (10, 20, 30), 1: (40, 50, 60)}
    with pytest.raises(Problem, match=r"label value 2 is not allowed \(1 pixels\)"):
        read_label_file(tmp_path / "label.png", table={-1: 255, 0: 255, 1: 0})


@pytest.mark.parametrize(("shape", "mode"), [((7, 5, 3), "RGB"), ((7, 5), "L")])
def test_png_keeps_every_pixel(shape, mode):
    array = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    np.testing.assert_array_equal(picture_to_array(array_to_png(array), mode=mode), array)


def test_picture_to_array_rejects_another_mode():
    data = array_to_png(np.zeros((2, 2), np.uint8))
    with pytest.raises(ValueError, match="picture of mode L, expected mode RGB"):
        picture_to_array(data, mode="RGB")


def test_grey_image_is_read_as_rgb(tmp_path):
    grey = np.array([[0, 100], [200, 255]], np.uint8)
    Image.fromarray(grey).save(tmp_path / "image.png")
    image = read_image_file(tmp_path / "image.png").pixels
    np.testing.assert_array_equal(image, np.stack([grey] * 3, axis=-1))


def test_read_image_file_rejects_16_bits(tmp_path):
    Image.fromarray(np.zeros((2, 2), np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(ValueError, match=r"deep\.png: image mode I;16 is not supported"):
        read_image_file(tmp_path / "deep.png")


@pytest.mark.parametrize("suffix", ["png", "jpg"])
@pytest.mark.parametrize("share", [0, 0.01, 0.2, 0.9])
def test_read_image_file_rejects_cut_off_file(tmp_path, suffix, share):
    file = tmp_path / f"cut.{suffix}"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)).save(file)
    data = file.read_bytes()
    file.write_bytes(data[: int(share * len(data))])
    with pytest.raises(ValueError, match=rf"cut\.{suffix}: cannot read this file as an image"):
        read_image_file(file)


# --- labels -----------------------------------------------------------------------------------


def save_label(path, mode, palette=None):
    """Saves LABEL as grey levels, as palette numbers, or in COLORS."""
    picture = Image.fromarray(LABEL)
    if mode == "P":
        palette = palette or {value: color for color, value in COLORS.items()}
        flat = np.zeros((256, 3), np.uint8)
        for value, color in palette.items():
            flat[value] = color
        picture.putpalette(flat.tobytes())
    if mode == "RGB":
        image = np.zeros((*LABEL.shape, 3), np.uint8)
        for color, value in COLORS.items():
            image[value == LABEL] = color
        picture = Image.fromarray(image)
    assert picture.mode == mode
    picture.save(path)
    return path


@pytest.mark.parametrize("mode", ["L", "P", "RGB"])
def test_label_is_the_same_as_grey_levels_palette_and_colors(tmp_path, mode):
    path = save_label(tmp_path / "label.png", mode)
    np.testing.assert_array_equal(read_label_file(path, colors=COLORS).numbers, LABEL)


def test_palette_label_is_read_as_numbers_not_colors(tmp_path):
    path = save_label(tmp_path / "label.png", "P", palette={0: (7, 8, 9), 1: (1, 1, 1)})
    np.testing.assert_array_equal(read_label_file(path).numbers, LABEL)
    # Foreign colours, and black for 255, which has none.
    np.testing.assert_array_equal(read_label_file(path, colors=COLORS).numbers, LABEL)


def test_read_label_file_rejects_reordered_palette(tmp_path):
    reordered = {0: (128, 0, 0), 1: (224, 224, 192), 255: (0, 0, 0)}
    path = save_label(tmp_path / "label.png", "P", palette=reordered)
    with pytest.raises(ValueError, match=r"label\.png: number 0 has the colour \(128, 0, 0\), wh"):
        read_label_file(path, colors=COLORS)


def test_read_label_file_rejects_unknown_color(tmp_path):
    path = save_label(tmp_path / "label.png", "RGB")
    image = np.array(Image.open(path))
    image[1, 2] = (128, 0, 1)
    Image.fromarray(image).save(path)
    with pytest.raises(ValueError, match=r"colour \(128, 0, 1\), first at row 1, column 2"):
        read_label_file(path, colors=COLORS)


def test_read_label_file_rejects_colors_without_a_table(tmp_path):
    path = save_label(tmp_path / "label.png", "RGB")
    with pytest.raises(ValueError, match=r"label\.png: a label must store one class number"):
        read_label_file(path)


def test_read_label_file_rejects_16_bits(tmp_path):
    Image.fromarray(LABEL.astype(np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(ValueError, match=r"deep\.png: a label must store one .* got mode I;16"):
        read_label_file(tmp_path / "deep.png", colors=COLORS)


def test_read_label_file_rejects_4_bit_grey(tmp_path):
    (tmp_path / "grey4.png").write_bytes(png(np.array([[[0], [1]]]), 4))
    with pytest.raises(ValueError, match=r"grey4\.png: a grey label must have 8 bits .* got 4"):
        read_label_file(tmp_path / "grey4.png")


def test_read_label_file_rejects_jpeg_by_any_name(tmp_path):
    Image.fromarray(LABEL).save(tmp_path / "label.png", "JPEG")
    with pytest.raises(ValueError, match=r"label\.png: this is a JPEG"):
        read_label_file(tmp_path / "label.png")


def test_no_flipped_bit_of_a_png_is_another_label(tmp_path):
    label = np.zeros((60, 80), np.uint8)
    label[10:30, 20:50], label[40:] = 3, 1
    file = tmp_path / "label.png"
    Image.fromarray(label).save(file)
    whole, refused = file.read_bytes(), 0
    for index in range(len(whole)):
        file.write_bytes(whole[:index] + bytes([whole[index] ^ 16]) + whole[index + 1 :])
        try:
            np.testing.assert_array_equal(read_label_file(file).numbers, label)
        except Problem:
            refused += 1
    assert refused > len(whole) // 2


@pytest.mark.parametrize("value", [11, 21, 254])
def test_check_label_rejects_what_is_neither_class_nor_void(tmp_path, value):
    label = np.array([[0, 10, 255], [value, value, 3]], np.uint8)
    with pytest.raises(
        ValueError, match=rf"a\.png: label value {value} .*2 pixels.*0\.\.10 and 255"
    ):
        check_label(tmp_path / "a.png", label, num_classes=11, void=255)
    label[label == value] = 255
    check_label(tmp_path / "a.png", label, num_classes=11, void=255)
