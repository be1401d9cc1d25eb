from itertools import islice

import numpy as np
import pytest

from fcn_jax.data.loader import eval_batches, train_batches
from fcn_jax.data.transforms import FILL_RGB

AUGMENT = {"crop_size": 24, "scale_range": (0.6, 1.6), "flip_prob": 0.5}


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


def test_train_batches_do_not_depend_on_threads(pairs):
    assert_same(take(9, pairs, num_threads=0), take(9, pairs, num_threads=3))


def test_train_batches_of_two_processes_interleave_to_those_of_one(pairs):
    parts = [take(9, pairs, process_index=index, process_count=2) for index in range(2)]
    merged = [
        {
            key: np.stack([part[key] for part in step], axis=1).reshape(4, *step[0][key].shape[1:])
            for key in step[0]
        }
        for step in zip(*parts, strict=True)
    ]
    assert_same(merged, take(9, pairs))


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
        ({"flip_prob": 50.0}, r"flip_prob=50.0 must lie in \[0, 1\]"),
        ({"seed": -1}, "seed=-1 must not be negative"),
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


def test_eval_batches_of_two_processes_have_equal_shapes_and_share_the_images(pairs):
    parts = [
        list(eval_batches(pairs, batch_size=4, process_index=index, process_count=2))
        for index in range(2)
    ]
    assert [b["images"].shape for b in parts[0]] == [b["images"].shape for b in parts[1]]
    assert all(len(batch["ids"]) == 2 for batch in parts[0])
    assert set(real_images(parts[0] + parts[1])) == {pair["id"] for pair in pairs}


def test_eval_batches_do_not_depend_on_threads(pairs):
    one, two = (list(eval_batches(pairs, batch_size=2, num_threads=n)) for n in (0, 3))
    assert_same(one, two)


def test_eval_batches_rejects_size_multiple():
    with pytest.raises(ValueError, match="size_multiple=0 must be"):
        eval_batches([], batch_size=1, size_multiple=0)
