"""The promise of evaluation: the same integers, however the images are dealt out."""

from collections import Counter

import jax
import numpy as np
import pytest

from fcn_jax.data.batches.loader import eval_batches
from fcn_jax.train import parallel
from fcn_jax.train.compilations import count_compilations
from fcn_jax.train.evaluation import evaluate
from fcn_jax.train.steps import make_eval_step
from tests import oracles
from tests.oracles import confusion
from tests.train.conftest import NUM_CLASSES, VOID


def make_step(model, devices):
    return make_eval_step(
        model, num_classes=NUM_CLASSES, ignore_label=VOID, boundary_px=2, devices=devices
    )


def run_evaluation(model, variables, source, *, batch_size, num_devices=1, on_prediction=None):
    devices = parallel.get_devices(num_devices)
    eval_step = make_step(model, devices)
    return evaluate(
        eval_step,
        parallel.replicate(variables, devices),
        eval_batches(source, batch_size=batch_size, size_multiple=16, ignore_label=VOID),
        num_devices=num_devices,
        on_prediction=on_prediction,
    )


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
    return run_evaluation(*network, pictures, batch_size=1)


@pytest.mark.parametrize("batch_size", [3, 8])
def test_batch_size_does_not_change_the_counts(network, pictures, one_by_one, batch_size):
    result = run_evaluation(*network, pictures, batch_size=batch_size)
    np.testing.assert_array_equal(result.counts, one_by_one.counts)
    np.testing.assert_array_equal(result.boundary_counts, one_by_one.boundary_counts)
    assert result.loss == one_by_one.loss
    assert result.num_images == len(pictures)


@pytest.mark.parametrize("num_devices", [2, 4])
def test_devices_do_not_change_the_counts(network, pictures, one_by_one, num_devices):
    result = run_evaluation(*network, pictures, batch_size=2 * num_devices, num_devices=num_devices)
    np.testing.assert_array_equal(result.counts, one_by_one.counts)
    assert result.loss == one_by_one.loss


def test_order_does_not_change_the_counts(network, pictures, one_by_one, rng):
    shuffled = Reordered(pictures, rng.permutation(len(pictures)))
    result = run_evaluation(*network, shuffled, batch_size=3)
    np.testing.assert_array_equal(result.counts, one_by_one.counts)
    assert result.loss == one_by_one.loss


def test_counts_are_those_of_the_predictions(network, pictures):
    predictions = []
    result = run_evaluation(*network, pictures, batch_size=3, on_prediction=predictions.append)
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
    devices = parallel.get_devices(1)
    result = evaluate(
        make_step(model, devices),
        parallel.replicate(variables, devices),
        eval_batches(Reordered(pictures, [0]), batch_size=1, size_multiple=1, ignore_label=VOID),
        num_devices=1,
    )
    np.testing.assert_array_equal(result.counts, counts)


def test_evaluate_rejects_an_empty_split(network):
    with pytest.raises(ValueError, match="no image"):
        run_evaluation(*network, Reordered(None, []), batch_size=1)


def test_one_program_is_compiled_for_each_padded_shape(network, pictures):
    model, variables = network
    devices = parallel.get_devices(1)
    eval_step = make_step(model, devices)
    variables = parallel.replicate(variables, devices)
    with count_compilations() as compilations:
        for _ in range(2):
            batches = eval_batches(pictures, batch_size=2, size_multiple=16)
            result = evaluate(eval_step, variables, batches, num_devices=1)
    assert compilations.count == len(result.shapes) == 2
    assert compilations.compile_s > 0
    sizes = [record["label"].shape for record in pictures]
    padded = [tuple(-(-side // 16) * 16 for side in size) for size in sizes]
    assert result.shapes == Counter(padded)
