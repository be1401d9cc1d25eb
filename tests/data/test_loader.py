import hashlib
import multiprocessing
import threading
import time
from itertools import islice
from typing import ClassVar

import numpy as np
import pytest

from fcn_jax.data.batches.loader import eval_batches, train_batches
from fcn_jax.data.batches.transforms import FILL_RGB
from fcn_jax.train import parallel

AUGMENT = {"crop_size": 24, "scale_range": (0.6, 1.6), "flip_prob": 0.5}
EVERYTHING = {
    "rotation_range": (-20.0, 20.0),
    "max_class_share": 0.2,
    "brightness": 0.3,
    "contrast": 0.3,
    "saturation": 0.3,
    "hue": 0.1,
    "blur_prob": 0.5,
}


def take(count, source, *, batch_size=4, seed=7, **options):
    batches = train_batches(source, batch_size=batch_size, seed=seed, **AUGMENT | options)
    taken = list(islice(batches, count))
    batches.close()
    return taken


def assert_same(batches, others):
    assert len(batches) == len(others)
    for batch, other in zip(batches, others, strict=True):
        np.testing.assert_array_equal(batch["images"], other["images"])
        np.testing.assert_array_equal(batch["labels"], other["labels"])


def test_train_batches_have_the_promised_shape(pairs):
    (batch,) = take(1, pairs)
    assert batch["images"].shape == (4, 24, 24, 3) and batch["images"].dtype == np.uint8
    assert batch["labels"].shape == (4, 24, 24) and batch["labels"].dtype == np.uint8


def test_crops_of_a_batch_are_of_the_images_that_it_names():
    pairs = [
        {
            "id": "x" * n,
            "image": np.full((30, 30, 3), n, np.uint8),
            "label": np.zeros((30, 30), "u1"),
        }
        for n in range(1, 6)
    ]
    for batch in take(4, pairs, scale_range=(1.0, 1.0)):
        assert [len(image_id) for image_id in batch["ids"]] == batch["images"][:, 0, 0, 0].tolist()


def digest(array):
    return hashlib.sha256(np.ascontiguousarray(array)).hexdigest()[:16]


@pytest.fixture
def many(pairs):
    """Two hundred pairs, 50 batches: grain takes long to shuffle a handful."""
    return pairs * 20


def test_train_batches_are_unchanged(pairs):
    """Every published number depends on them: another digest is another data set for all runs."""
    batches = take(200, pairs * 40)
    assert digest(np.stack([batch["labels"] for batch in batches])) == "da0fb3adf4737309"
    assert digest(np.stack([batch["images"] for batch in batches])) == "c4b83233d9d5526d"


_reference = []


@pytest.fixture
def reference(many):
    """The batches of two epochs with every augmentation, read one by one in one process."""
    if not _reference:
        _reference.extend(take(100, many, num_threads=0, **EVERYTHING))
    return _reference


@pytest.mark.parametrize("num_threads", [1, 4])
def test_batches_of_two_epochs_do_not_depend_on_threads(many, reference, num_threads):
    assert_same(take(100, many, num_threads=num_threads, **EVERYTHING), reference)


@pytest.mark.parametrize("process_count", [2, 4])
def test_batches_of_two_epochs_of_processes_join_to_those_of_one(many, reference, process_count):
    parts = [
        take(100, many, process_index=index, process_count=process_count, **EVERYTHING)
        for index in range(process_count)
    ]
    merged = [
        {key: np.concatenate([part[key] for part in step]) for key in step[0]}
        for step in zip(*parts, strict=True)
    ]
    assert_same(merged, reference)


@pytest.mark.parametrize("num_devices", [1, 2, 4])
def test_batches_of_two_epochs_on_devices_are_those_of_one(reference, num_devices):
    for batch in reference:
        shards = parallel.get_devices(count=num_devices).shard(batch)
        for name, array in shards.items():
            assert len(array) == num_devices
            np.testing.assert_array_equal(np.concatenate(array), batch[name])


@pytest.mark.slow  # two processes that import everything
def test_batches_of_two_epochs_do_not_depend_on_workers_and_the_workers_end(many, reference):
    batches = train_batches(
        many, batch_size=4, seed=7, start_step=50, num_workers=2, **AUGMENT, **EVERYTHING
    )
    assert_same(list(islice(batches, 50)), reference[50:])
    assert all(type(array) is np.ndarray for array in next(batches).values())
    workers = multiprocessing.active_children()
    assert len(workers) == 2
    batches.close()
    assert not any(worker.is_alive() for worker in workers)
    assert_same(take(50, many, num_workers=1, **EVERYTHING), reference[:50])


def test_closing_ends_the_threads(pairs):
    before = threading.active_count()
    batches = train_batches(pairs, batch_size=4, seed=7, num_threads=3, **AUGMENT)
    next(batches)
    assert threading.active_count() > before
    batches.close()
    deadline = time.monotonic() + 10  # they finish the image that they are at
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() == before


def test_jump_to_start_step_equals_the_uninterrupted_stream(pairs):
    assert_same(take(3, pairs, start_step=8), take(11, pairs)[8:])


def read_order(count, pairs, **options):
    """The numbers of the first `count` pairs, in the order in which they come."""
    pairs = [
        {**pair, "label": np.full_like(pair["label"], index)} for index, pair in enumerate(pairs)
    ]
    batches = take(count, pairs, batch_size=1, scale_range=(1.0, 1.0), **options)
    return [int(batch["labels"][0, 0, 0]) for batch in batches]


def test_seed_changes_the_order(pairs):
    assert read_order(len(pairs), pairs, seed=1) != read_order(len(pairs), pairs, seed=2)


def test_seed_changes_the_augmentation(pairs):
    one_pair = pairs[4:5]  # no order to change
    first, second = (take(1, one_pair, seed=seed)[0]["images"] for seed in (1, 2))
    assert not np.array_equal(first, second)


def test_every_epoch_is_a_new_permutation(pairs):
    order = read_order(2 * len(pairs), pairs)
    first, second = order[: len(pairs)], order[len(pairs) :]
    assert sorted(first) == sorted(second) == list(range(len(pairs)))
    assert first != second


def test_train_padding_is_void(pairs):
    options = {"crop_size": 80, "scale_range": (1.0, 1.0), "flip_prob": 0.0}
    (batch,) = take(1, pairs[:1], batch_size=1, **options)
    assert np.all(batch["labels"][0, 40:] == 255) and np.all(batch["labels"][0, :40, 50:] == 255)
    assert np.all(batch["labels"][0, :40, :50] < 11)
    assert np.all(batch["images"][0, 40:] == FILL_RGB)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 3, "process_count": 2}, "positive multiple of process_count=2; try 2"),
        ({"batch_size": 0}, "batch_size=0 must be a positive multiple"),
        ({"process_index": 1}, r"process_index=1 must lie in \[0, 1\)"),
        ({"crop_size": 0}, "crop_size=0 must be"),
        ({"scale_range": (1.5, 0.5)}, r"scale_range=\(1.5, 0.5\) must be \(low, high\)"),
        ({"scale_range": (0.0, 1.0)}, "scale_range=.* 0 < low <= high"),
        ({"scales": (1.0, 0.0)}, r"scales=\(1.0, 0.0\) must be positive"),
        ({"rotation_range": (5, -5)}, r"rotation_range=\(5, -5\) must be .* low <= high"),
        ({"max_class_share": 0.0}, r"max_class_share=0.0 must lie in \(0, 1\]"),
        ({"flip_prob": 50.0}, r"flip_prob=50.0 must lie in \[0, 1\]"),
        ({"contrast": 1.5}, r"contrast=1.5 must lie in \[0, 1\]"),
        ({"hue": 0.6}, r"hue=0.6 must lie in \[0, 0.5\]"),
        ({"blur_sigma_range": (0, 1)}, "blur_sigma_range=.* 0 < low <= high"),
        ({"num_workers": -1}, "num_workers=-1 must not be negative"),
        ({"seed": -1}, "seed=-1 must not be negative"),
        ({"seed": 2**32}, "seed=4294967296 must be less"),
    ],
)
def test_train_batches_rejects_option(pairs, options, message):
    with pytest.raises(ValueError, match=message):
        take(0, pairs, **options)


def test_train_batches_rejects_empty_source():
    with pytest.raises(ValueError, match="empty split"):
        take(0, [])


def real_images(batches):
    """{id: (image, label, padded shape)} of all images but the fillers."""
    found = {}
    for batch in batches:
        for name, (height, width), image, label in zip(
            batch["ids"], batch["sizes"], batch["images"], batch["labels"], strict=True
        ):
            if name:
                assert name not in found, "an image came twice"
                found[name] = (image[:height, :width], label[:height, :width], label.shape)
    return found


@pytest.mark.parametrize("batch_size", [1, 2, 3, 16])
def test_eval_batches_hold_every_image_once_whatever_the_batch_size(pairs, batch_size):
    found = real_images(eval_batches(pairs, batch_size=batch_size))
    assert set(found) == {pair["id"] for pair in pairs}
    for pair in pairs:
        image, label, shape = found[pair["id"]]
        np.testing.assert_array_equal(image, pair["image"])
        np.testing.assert_array_equal(label, pair["label"])
        assert shape == tuple(-(-side // 32) * 32 for side in pair["label"].shape)


def test_eval_batches_are_full_and_only_images_count(pairs):
    for batch in eval_batches(pairs, batch_size=4):
        assert len(batch["ids"]) == len(batch["sizes"]) == len(batch["images"]) == 4
        assert batch["sizes"].dtype == np.int32
        inside = [
            (np.arange(batch["labels"].shape[1])[:, None] < height)
            & (np.arange(batch["labels"].shape[2]) < width)
            for height, width in batch["sizes"]
        ]
        np.testing.assert_array_equal(batch["labels"] != 255, inside)
        assert np.all(batch["images"][~np.array(inside)] == FILL_RGB)
        for name, size in zip(batch["ids"], batch["sizes"], strict=True):
            assert (name == "") == (size.sum() == 0)


def test_eval_batches_keep_reading_order_within_a_shape(pairs):
    names = [name for batch in eval_batches(pairs, batch_size=2) for name in batch["ids"] if name]
    shapes = {pair["id"]: pair["label"].shape for pair in pairs}
    same_size = [name for name in names if shapes[name] == (40, 50)]
    assert same_size == sorted(same_size)


def test_eval_batches_of_two_processes_deal_out_the_images_and_read_no_others(pairs):
    class Watched(list):
        read: ClassVar = []

        def __getitem__(self, index):
            self.read.append(index)
            return super().__getitem__(index)

    pairs = Watched(pairs)
    for index in range(2):
        Watched.read.clear()
        batches = list(eval_batches(pairs, batch_size=4, process_index=index, process_count=2))
        assert all(len(batch["ids"]) == 4 for batch in batches)
        mine = range(index, len(pairs), 2)
        assert sorted(Watched.read) == list(mine)
        assert set(real_images(batches)) == {list.__getitem__(pairs, i)["id"] for i in mine}


def test_padding_keeps_its_colour_whatever_happens_to_the_image(pairs):
    options = {**EVERYTHING, "rotation_range": (0.0, 0.0), "blur_prob": 1.0}
    (batch,) = take(1, pairs[:1], batch_size=2, crop_size=90, flip_prob=0.0, **options)
    padding = batch["labels"] == 255  # nothing in the labels is void
    assert padding.any(axis=(1, 2)).all()
    assert np.all(batch["images"][padding] == FILL_RGB)


def test_eval_batches_do_not_depend_on_threads(pairs):
    one, two = (list(eval_batches(pairs, batch_size=2, num_threads=n)) for n in (0, 3))
    assert_same(one, two)


def test_eval_batches_rejects_size_multiple():
    with pytest.raises(ValueError, match="size_multiple=0 must be"):
        eval_batches([], batch_size=1, size_multiple=0)


def test_image_without_label_is_evaluated_as_all_void():
    class Photos(list):
        def __getitem__(self, index):
            return {"id": str(index), "image": np.full((9 + index, 7, 3), index, np.uint8)}

    (batch,) = eval_batches(Photos([0, 1]), batch_size=3, size_multiple=16)
    assert batch["ids"] == ["0", "1", ""] and batch["sizes"].tolist() == [[9, 7], [10, 7], [0, 0]]
    assert (batch["labels"] == 255).all() and (batch["images"][1, :10, :7] == 1).all()
