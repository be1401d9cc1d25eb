import sys

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from fcn_jax.data.files.pairs import Pair, PairReader
from fcn_jax.data.sets import records
from fcn_jax.data.sets.shapes import LABELS as SHAPES


class Numbers(records.RecordBuilder, skip_registration=True):
    """Pictures of one pixel that holds their own number."""

    name = "numbers"
    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        return self.make_info(SHAPES, "Numbers.")

    def list_items(self):
        return {"train": range(7), "val": range(100, 102)}

    def make_record(self, split, item):
        label = np.full((1, 1), item, np.uint8)
        image = records.array_to_png(np.stack([label] * 3, axis=-1))
        return {"id": f"{split}_{item}", "image": image, "label": records.array_to_png(label)}


@pytest.fixture
def numbers(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "IMAGES_PER_SHARD", 3)
    return records.build(Numbers(data_dir=tmp_path, file_format=records.FILE_FORMAT), message="")


def test_order_is_kept_across_shards(numbers):
    assert numbers.info.splits["train"].shard_lengths == [3, 3, 1]
    source = records.RecordSource(numbers, "train")
    assert [record["id"] for record in source] == [f"train_{number}" for number in range(7)]
    assert [int(record["label"][0, 0]) for record in source] == list(range(7))


def test_building_and_reading_need_no_tensorflow(numbers):
    assert records.RecordSource(numbers, "val")[1]["id"] == "val_101"
    assert "tensorflow" not in sys.modules


def test_picked_source_follows_its_picks():
    sources = {"a": [{"id": "a0"}, {"id": "a1"}], "b": [{"id": "b0"}]}
    source = records.PickedSource(sources, [("b", 0), ("a", 1), ("b", 0)])
    assert [record["id"] for record in source] == ["b0", "a1", "b0"]
    with pytest.raises(IndexError, match="index 3 is outside of the 3 images"):
        source[3]


def test_encode_pair_keeps_jpeg_bytes_and_turns_other_files_into_png(tmp_path):
    label = np.zeros((5, 4), np.uint8)
    image = np.random.default_rng(0).integers(0, 256, (5, 4, 3), np.uint8)
    for name, mode in (("rgb.jpg", "RGB"), ("grey.jpg", "L"), ("rgb.png", "RGB")):
        file = tmp_path / name
        Image.fromarray(image).convert(mode).save(file)
        Image.fromarray(label).save(tmp_path / "label.png")
        pair = Pair("a", file, tmp_path / "label.png")
        record = records.encode_pair(pair, PairReader(SHAPES)(pair))
        assert (record["image"] == file.read_bytes()) == (name == "rgb.jpg")
        expected = np.asarray(Image.open(file).convert("RGB"))
        np.testing.assert_array_equal(
            records.picture_to_array(record["image"], mode="RGB"), expected
        )
