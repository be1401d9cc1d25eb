import numpy as np
import pytest
from PIL import Image

from fcn_jax.data.records import array_to_png, png_to_array, read_image_file, read_label_file


@pytest.mark.parametrize(("shape", "mode"), [((7, 5, 3), "RGB"), ((7, 5), "L")])
def test_png_keeps_every_pixel(shape, mode):
    array = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    np.testing.assert_array_equal(png_to_array(array_to_png(array), mode=mode), array)


def test_png_to_array_rejects_another_mode():
    data = array_to_png(np.zeros((2, 2), np.uint8))
    with pytest.raises(ValueError, match="PNG of mode L, expected mode RGB"):
        png_to_array(data, mode="RGB")


def test_palette_label_is_read_as_numbers_not_colors(tmp_path):
    label = np.array([[0, 1], [20, 255]], np.uint8)
    picture = Image.fromarray(label)
    picture.putpalette([7, 8, 9] * 256)
    picture.save(tmp_path / "label.png")
    np.testing.assert_array_equal(read_label_file(tmp_path / "label.png"), label)


def test_grey_image_is_read_as_rgb(tmp_path):
    grey = np.array([[0, 100], [200, 255]], np.uint8)
    Image.fromarray(grey).save(tmp_path / "image.png")
    image = read_image_file(tmp_path / "image.png")
    np.testing.assert_array_equal(image, np.stack([grey] * 3, axis=-1))


def test_read_image_file_rejects_16_bits(tmp_path):
    Image.fromarray(np.zeros((2, 2), np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(ValueError, match=r"deep\.png: image mode I;16 is not supported"):
        read_image_file(tmp_path / "deep.png")


def test_read_label_file_rejects_colors(tmp_path):
    Image.fromarray(np.zeros((2, 2, 3), np.uint8)).save(tmp_path / "label.png")
    with pytest.raises(ValueError, match=r"label\.png: a label must store one class number"):
        read_label_file(tmp_path / "label.png")


@pytest.mark.parametrize("keep", [0, 4, 60])
def test_read_image_file_rejects_cut_off_file(tmp_path, keep):
    data = array_to_png(np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8))
    (tmp_path / "cut.png").write_bytes(data[:keep])
    with pytest.raises(ValueError, match=r"cut\.png: cannot read this file as an image"):
        read_image_file(tmp_path / "cut.png")
