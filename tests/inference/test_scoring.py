"""Other ways to use a network are counted as exactly as the plain one."""

import numpy as np
import pytest

from fcn_jax.data.datasets import Dataset
from fcn_jax.inference import scoring
from fcn_jax.inference.inference import Inference
from fcn_jax.inference.scoring import choose_spread, score_views, search_crf
from fcn_jax.ops.dense_crf import dense_crf
from fcn_jax.train.evaluation import Evaluator
from fcn_jax.train.parallel import get_devices

pytestmark = pytest.mark.usefixtures("compile_well")

SIZES = [(40, 60), (33, 47), (60, 40), (40, 60), (21, 30)]


class Pictures(Dataset):
    """A data set whose pairs are in memory."""

    pairs = ()

    def source(self, split):
        return self.pairs


@pytest.fixture
def dataset(net, draw, rng):
    """Pictures whose labels are what the network says, with mistakes and void."""

    def make(index, size):
        image = draw(*size)
        label = net.predict(image).copy()
        label[:7, 5:20] = rng.integers(0, 4)
        label[-6:, :9] = 255
        return {"id": f"picture{index}", "image": image, "label": label}

    pairs = [make(index, size) for index, size in enumerate(SIZES)]
    dataset = Pictures("pictures", net.labels, ("val",), builder=None)
    object.__setattr__(dataset, "pairs", pairs)
    return dataset


@pytest.fixture
def devices():
    return get_devices(count=1)


@pytest.fixture
def evaluator(net, dataset, devices):
    return Evaluator(net.model, dataset, devices, num_samples=2, boundary_px=3)


def test_the_plain_view_has_the_counts_of_the_evaluation(net, dataset, devices, evaluator):
    expected = evaluator.score(devices.replicate(net.variables))
    tally = evaluator.tally()
    inference = Inference(net, devices, probabilities=True, size_multiple=32)
    seen = []
    score_views(inference, evaluator.source, plain=tally, on_image=lambda: seen.append(1))
    found = tally.finish()
    assert len(seen) == len(SIZES) and found.images.ids == expected.images.ids
    for name in ("counts", "num_pixels", "band_counts"):
        np.testing.assert_array_equal(getattr(found.images, name), getattr(expected.images, name))
    np.testing.assert_array_equal(found.boundary_counts, expected.boundary_counts)
    np.testing.assert_allclose(found.images.loss_sums, expected.images.loss_sums, rtol=1e-4)
    assert {s.id for s in found.samples} == {s.id for s in expected.samples}
    left_out = evaluator.tally(leave_out={"picture0", "picture3"})
    score_views(inference, evaluator.source, plain=left_out)
    np.testing.assert_array_equal(
        left_out.finish().counts, expected.images.counts[[1, 2, 4]].sum(0)
    )


def test_the_crf_is_scored_on_what_it_says(net, devices, evaluator):
    plain, refined = evaluator.tally(), evaluator.tally()
    inference = Inference(net, devices, probabilities=True, size_multiple=32)
    crf = {"num_iterations": 2, "bi_w": 3.0}
    score_views(inference, evaluator.source, plain=plain, refined=refined, crf=crf)
    counts = np.zeros((4, 4), np.int64)
    for index in range(len(SIZES)):
        record = evaluator.source[index]
        pred = dense_crf(record["image"], inference.predict(record["image"]), **crf).argmax(-1)
        valid = record["label"] != 255
        np.add.at(counts, (record["label"][valid], pred[valid]), 1)
    np.testing.assert_array_equal(refined.finish().counts, counts)
    assert (plain.finish().counts != counts).any()


def test_a_search_finds_the_best_of_its_grid(net, devices, evaluator, monkeypatch):
    monkeypatch.setattr(scoring, "CRF_GRID", {"bi_w": (0.0, 4.0), "pos_w": (0.0, 3.0)})
    records = [evaluator.source[index] for index in choose_spread(evaluator.source, 2)]
    assert [record["id"] for record in records] == ["picture0", "picture4"]
    tried = {}
    found = search_crf(
        Inference(net, devices, probabilities=True),
        records,
        ignore_label=255,
        convention="caffe",
        on_trial=lambda parameters, iou: tried.setdefault(tuple(parameters.items()), iou),
    )
    assert found.mean_iou == max(tried.values()) and len(tried) <= 4
    # With both weights 0 the CRF changes nothing, and here nothing is to be changed.
    assert found.parameters == {"bi_w": 0.0, "pos_w": 0.0}
    assert found.mean_iou == found.plain_iou


def test_a_tally_of_nothing_is_refused(evaluator):
    with pytest.raises(ValueError, match="no image to evaluate"):
        evaluator.tally().finish()
