"""The promise of evaluation: the same integers, however the images are dealt out."""

import dataclasses
from collections import Counter
from typing import Any

import jax
import numpy as np
import pytest

from fcn_jax.data.datasets import Dataset
from fcn_jax.data.sets.shapes import LABELS as SHAPES
from fcn_jax.models.layer_table import layer_table
from fcn_jax.models.padded import apply_padded
from fcn_jax.models.zoo import build
from fcn_jax.ops import metrics
from fcn_jax.train import memory, parallel
from fcn_jax.train.compilations import count_compilations
from fcn_jax.train.evaluation import Evaluator
from fcn_jax.train.memory import least_eval_bytes
from tests import oracles
from tests.oracles import confusion
from tests.tiny_network import TINY_V3
from tests.train.conftest import NUM_CLASSES, VOID


@dataclasses.dataclass(frozen=True)
class OneSource(Dataset):
    """A data set that is one source, whatever the split."""

    pictures: Any = None

    def source(self, split: str):
        return self.pictures


def make_evaluator(model, source, *, count=1, **options):
    dataset = OneSource("tiny", SHAPES, ("val",), builder=None, pictures=source)
    options = {"size_multiple": 16, "boundary_px": 2, "num_samples": 0, **options}
    return Evaluator(model, dataset, parallel.get_devices(count=count), **options)


def score(model, variables, source, *, count=1, on_prediction=lambda prediction: None, **options):
    evaluator = make_evaluator(model, source, count=count, **options)
    variables = parallel.get_devices(count=count).replicate(variables)
    return evaluator.score(variables, on_prediction=on_prediction)


class Reordered:
    def __init__(self, source, order):
        self._source, self._order = source, order

    def __len__(self):
        return len(self._order)

    def __getitem__(self, index):
        return self._source[int(self._order[index])]


@pytest.fixture(scope="module")
def network(make_model, random_variables):
    model = make_model()
    return model, random_variables(model)


@pytest.fixture(scope="module")
def one_by_one(network, pictures):
    return score(*network, pictures, device_batch_size=1)


@pytest.mark.parametrize("batch_size", [3, 8])
def test_batch_size_does_not_change_the_counts(network, pictures, one_by_one, batch_size):
    result = score(*network, pictures, device_batch_size=batch_size)
    np.testing.assert_array_equal(result.counts, one_by_one.counts)
    np.testing.assert_array_equal(result.boundary_counts, one_by_one.boundary_counts)
    assert result.loss == one_by_one.loss
    assert result.num_images == len(pictures)


@pytest.mark.parametrize("count", [2, 4])
def test_devices_do_not_change_the_counts(network, pictures, one_by_one, count):
    result = score(*network, pictures, device_batch_size=2, count=count)
    np.testing.assert_array_equal(result.counts, one_by_one.counts)
    assert result.loss == one_by_one.loss


def test_order_does_not_change_the_counts(network, pictures, one_by_one, rng):
    shuffled = Reordered(pictures, rng.permutation(len(pictures)))
    result = score(*network, shuffled, device_batch_size=3)
    np.testing.assert_array_equal(result.counts, one_by_one.counts)
    assert result.loss == one_by_one.loss


def test_counts_are_those_of_the_predictions(network, pictures):
    predictions = []
    result = score(*network, pictures, device_batch_size=3, on_prediction=predictions.append)
    assert sorted(p.id for p in predictions) == sorted(r["id"] for r in pictures)
    counts = sum(
        confusion(p.label[None], p.pred[None], num_classes=NUM_CLASSES, ignore_label=VOID)
        for p in predictions
    )
    np.testing.assert_array_equal(result.counts, counts)
    near = sum(
        confusion(
            np.where(
                oracles.near_boundary(p.label, ignore_label=VOID, distance_px=2), p.label, VOID
            ),
            p.pred,
            num_classes=NUM_CLASSES,
            ignore_label=VOID,
        )
        for p in predictions
    )
    np.testing.assert_array_equal(result.boundary_counts, near)
    np.testing.assert_array_equal(result.images.band_counts[1], near)


@pytest.mark.parametrize("count", [1, 2])
def test_counts_of_each_image_are_those_of_its_prediction(network, pictures, count):
    predictions = []
    options = {"device_batch_size": 2, "count": count, "on_prediction": predictions.append}
    images = score(*network, pictures, **options).images
    assert list(images.ids) == sorted(record["id"] for record in pictures)
    for index, prediction in enumerate(sorted(predictions, key=lambda p: p.id)):
        expected = confusion(
            prediction.label, prediction.pred, num_classes=NUM_CLASSES, ignore_label=VOID
        )
        np.testing.assert_array_equal(images.counts[index], expected)
        assert images.num_pixels[index] == expected.sum()
    assert images.band_counts.shape == (40, NUM_CLASSES, NUM_CLASSES)


def test_every_labelled_pixel_is_counted_once(pictures, one_by_one):
    labelled = sum(int(np.sum(record["label"] != VOID)) for record in pictures)
    assert one_by_one.counts.sum() == labelled


def test_unpadded_evaluation_is_the_plain_network(network, pictures):
    model, variables = network
    record = pictures[0]
    apply = jax.jit(lambda variables, images: model.apply(variables, images, train=False))
    logits = apply(variables, record["image"][None])
    counts = confusion(
        record["label"],
        np.argmax(logits[0], axis=-1),
        num_classes=NUM_CLASSES,
        ignore_label=VOID,
    )
    result = score(model, variables, Reordered(pictures, [0]), size_multiple=1)
    np.testing.assert_array_equal(result.counts, counts)


def test_padding_changes_no_count_of_a_network_that_sees_the_whole_image(
    random_variables, pictures
):
    model = build(TINY_V3, num_classes=NUM_CLASSES, axis_name=parallel.AXIS)
    variables = random_variables(model)
    one = Reordered(pictures, [1])
    unpadded = score(model, variables, one, size_multiple=1)
    padded = score(model, variables, one, size_multiple=48, count=2)
    np.testing.assert_array_equal(padded.images.counts, unpadded.images.counts)
    assert padded.shapes != unpadded.shapes


def test_evaluator_rejects_an_empty_split(network):
    with pytest.raises(ValueError, match="no image to evaluate in the split val"):
        score(*network, Reordered(None, []))


def test_samples_are_predictions_spread_over_the_split(network, pictures):
    predictions = {}
    result = score(
        *network,
        pictures,
        num_samples=2,
        on_prediction=lambda prediction: predictions.update({prediction.id: prediction}),
    )
    assert sorted(sample.id for sample in result.samples) == ["picture_0", "picture_3"]
    for sample in result.samples:
        np.testing.assert_array_equal(sample.pred, predictions[sample.id].pred)
        assert sample.image.base is None  # no view of a whole batch


def test_report_has_the_counts_and_what_follows_from_them(network, pictures, one_by_one):
    evaluator = make_evaluator(network[0], pictures, convention="present")
    perfect = np.eye(NUM_CLASSES, dtype=np.int64)
    result = dataclasses.replace(one_by_one, boundary_counts=perfect)
    report = evaluator.make_report(result, step=7)
    expected = metrics.scores(one_by_one.counts, convention="present")
    assert report["mean_iou"] == expected["mean_iou"]
    assert report["boundary_iou"] == 1.0
    said = {key: report[key] for key in ("dataset", "split", "step", "num_images", "num_shapes")}
    assert said == {"dataset": "tiny", "split": "val", "step": 7, "num_images": 7, "num_shapes": 2}


def test_one_program_is_compiled_for_each_padded_shape(network, pictures):
    model, variables = network
    evaluator = make_evaluator(model, pictures, device_batch_size=2)
    variables = parallel.get_devices(count=1).replicate(variables)
    with count_compilations() as compilations:
        for _ in range(2):
            result = evaluator.score(variables)
    assert compilations.count == len(result.shapes) == 2
    assert compilations.compile_s > 0
    sizes = [record["label"].shape for record in pictures]
    padded = [tuple(-(-side // 16) * 16 for side in size) for size in sizes]
    assert result.shapes == Counter(padded)


# --- memory -----------------------------------------------------------------------------------


def blank(side):
    pixels = np.zeros((side, side, 3), np.uint8)
    label = np.eye(side, dtype=np.uint8)  # of two classes
    return {"id": str(side), "image": pixels, "label": label}


@pytest.fixture
def room(network, monkeypatch):
    """Memory for the maps of 128x128 pixels, but not for a batch besides."""
    room = least_eval_bytes(layer_table(network[0], height=128, width=128))
    monkeypatch.setattr(memory, "free_bytes", lambda devices: room)


def test_scoring_takes_the_least_that_is_said_of_it(network):
    model, variables = network
    images, sizes = np.zeros((1, 128, 160, 3), np.uint8), np.array([[128, 160]])
    run = jax.jit(lambda *arguments: apply_padded(model, *arguments))
    taken = run.lower(variables, images, sizes).compile().memory_analysis()
    least = least_eval_bytes(layer_table(model, height=128, width=160))
    most = taken.temp_size_in_bytes + taken.argument_size_in_bytes + taken.output_size_in_bytes
    assert most / 10 < least < most


def test_images_beyond_memory_are_refused_before_any_runs(network, room):
    sizes = [100, 120, 64]
    evaluator = make_evaluator(network[0], [blank(side) for side in sizes], device_batch_size=2)
    message = r"^eval.device_batch_size=2 images of val, padded to 128 x 128, need more than .* GiB"
    with pytest.raises(ValueError, match=message):
        evaluator.check_memory()
    fits = make_evaluator(network[0], [blank(112), blank(64)], device_batch_size=2)
    fits.check_memory()
    make_evaluator(network[0], []).check_memory()


def test_image_beyond_memory_is_refused_when_it_is_met(network, room):
    model, variables = network
    evaluator = make_evaluator(model, [*map(blank, [32, 48] * 10), blank(128)], device_batch_size=1)
    evaluator.check_memory()  # which looks at some
    done = []
    with pytest.raises(ValueError, match="padded to 128 x 128"):
        variables = parallel.get_devices(count=1).replicate(variables)
        evaluator.score(variables, on_batch=done.append)
    assert len(done) >= 19  # one is still on the device
