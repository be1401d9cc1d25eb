import shutil
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from fcn_jax.data.files.pairs import Pair, PairReader
from fcn_jax.data.sets import records
from fcn_jax.data.sets.shapes import LABELS as SHAPES
from fcn_jax.errors import UserError
from tests.mutations import mutations


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


def open_numbers(data_dir):
    return records.build(Numbers(data_dir=data_dir, file_format=records.FILE_FORMAT), message="")


def read_numbers(data_dir):
    source = records.RecordSource(open_numbers(data_dir), "train")
    return [(record["id"], int(record["label"][0, 0])) for record in source]


@pytest.fixture
def numbers(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "IMAGES_PER_SHARD", 3)
    return open_numbers(tmp_path)


def test_order_is_kept_across_shards(numbers):
    assert numbers.info.splits["train"].shard_lengths == [3, 3, 1]
    source = records.RecordSource(numbers, "train")
    assert [record["id"] for record in source] == [f"train_{number}" for number in range(7)]
    assert [int(record["label"][0, 0]) for record in source] == list(range(7))


def test_building_and_reading_need_no_tensorflow(numbers):
    assert records.RecordSource(numbers, "val")[1]["id"] == "val_101"
    assert "tensorflow" not in sys.modules


def test_of_two_builders_one_builds_and_the_other_waits(tmp_path, capsys):
    building, waiting = threading.Event(), threading.Event()

    class Slow(Numbers, skip_registration=True):
        name = "numbers"

        def make_record(self, split, item):
            building.set()
            waiting.wait(10)
            return super().make_record(split, item)

    def build(builder_class, message):
        builder = builder_class(data_dir=tmp_path, file_format=records.FILE_FORMAT)
        return records.build(builder, message=message)

    with ThreadPoolExecutor() as pool:
        first = pool.submit(build, Slow, "building")
        building.wait(10)
        second = pool.submit(build, Numbers, "not me")
        err, until = "", time.monotonic() + 10
        while "waiting for process" not in err and time.monotonic() < until:
            err += capsys.readouterr().err
            time.sleep(0.01)
        waiting.set()
        for future in (first, second):
            assert len(records.RecordSource(future.result(10), "train")) == 7
    assert "not me" not in err
    assert [path.name for path in (tmp_path / "numbers").iterdir()] == ["1.0.0"]


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


# --- damage -----------------------------------------------------------------------------------

NUMBERS = [(f"train_{number}", number) for number in range(7)]
WAY_OUT = r"\nremove it \(rm -r .*1.0.0\) and build it anew: "


def test_empty_folder_of_a_build_is_built(numbers, tmp_path):
    shutil.rmtree(numbers.data_path)
    Path(numbers.data_path).mkdir()
    assert read_numbers(tmp_path) == NUMBERS


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("dataset_info.json", None, "dataset_info.json is missing"),
        ("dataset_info.json", b"", "a .json file there cannot be read"),
        ("dataset_info.json", b"\xff", "a .json file there cannot be read"),
        ("numbers-train.array_record-00001-of-00003", None, "00001-of-00003 is missing"),
        ("numbers-train.array_record-00001-of-00003", b"", "00001-of-00003: .*64KB"),
    ],
)
def test_partial_build_is_told_before_anything_is_read(numbers, tmp_path, name, content, reason):
    file = Path(numbers.data_path) / name
    file.unlink()
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(UserError, match=f"1.0.0 is damaged: .*{reason}.*{WAY_OUT}"):
        records.RecordSource(open_numbers(tmp_path), "train")


def test_build_whose_lengths_disagree_is_told(numbers, tmp_path):
    file = Path(numbers.data_path) / "dataset_info.json"
    file.write_text(file.read_text().replace('"1"', '"3"', 1))
    with pytest.raises(UserError, match="00002-of-00003 has 1 records, and dataset_info.json says"):
        read_numbers(tmp_path)


def test_damaged_record_names_its_file(numbers, tmp_path):
    file = Path(numbers.data_path) / "numbers-train.array_record-00001-of-00003"
    data = file.read_bytes()
    at = data.index(b"train_4") + 3
    file.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    source = records.RecordSource(open_numbers(tmp_path), "train")
    with pytest.raises(UserError, match=f"record [01] of {file.name}: .*hash mismatch.*{WAY_OUT}"):
        list(source)


def test_damaged_build_never_gives_other_data(numbers, tmp_path):
    for file in mutations(Path(numbers.data_path)):
        try:
            assert read_numbers(tmp_path) == NUMBERS
        except UserError as error:
            assert "1.0.0 is damaged: " in str(error), file


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"source_dir": 3}', b"\xff"])
def test_build_of_a_folder_with_damaged_metadata_is_told(get_custom, custom_dir, content):
    get_custom(custom_dir).source("train")
    (file,) = (custom_dir.parent / "built/custom").glob("*/1.0.0/metadata.json")
    file.write_bytes(content)
    with pytest.raises(UserError, match=f"is damaged: metadata.json cannot be read.*{WAY_OUT}"):
        get_custom()
