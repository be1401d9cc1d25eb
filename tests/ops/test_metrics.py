"""Counts against a loop over pixels, scores against the three evaluation programs."""

import jax.numpy as jnp
import numpy as np
import pytest

from fcn_jax.ops.metrics import (
    CONVENTIONS,
    ClassSums,
    band_counts,
    confusion_counts,
    near_boundary,
    scores,
)
from tests import oracles

VOID = 255
GOLDEN = oracles.load_golden("metrics")
CASES = [name for name in GOLDEN if name != "source"]


def _counts(labels, preds, num_classes):
    return np.asarray(
        confusion_counts(
            jnp.asarray(labels), jnp.asarray(preds), num_classes=num_classes, ignore_label=VOID
        )
    )


def _batch(rng, *, num_classes, void_share=0.2):
    labels, preds = rng.integers(0, num_classes, (2, 3, 11, 7)).astype(np.int32)
    return np.where(rng.random(labels.shape) < void_share, VOID, labels), preds


@pytest.mark.parametrize("num_classes", [1, 2, 21, 255])
def test_confusion_counts_matches_pixel_loop(rng, num_classes):
    labels, preds = _batch(rng, num_classes=num_classes)
    expected = oracles.confusion(labels, preds, num_classes=num_classes, ignore_label=VOID)
    np.testing.assert_array_equal(_counts(labels, preds, num_classes), expected)


def test_rows_are_true_and_columns_predicted():
    counts = _counts(np.array([[[0, 0, 1]]]), np.array([[[2, 2, 0]]]), 3)
    np.testing.assert_array_equal(counts, [[0, 0, 2], [1, 0, 0], [0, 0, 0]])


def test_void_pixels_never_count(rng):
    labels, preds = _batch(rng, num_classes=4)
    counts = _counts(labels, preds, 4)
    assert counts.sum() == (labels != VOID).sum()
    np.testing.assert_array_equal(counts, _counts(labels, np.where(labels == VOID, 3, preds), 4))
    np.testing.assert_array_equal(_counts(np.full_like(labels, VOID), preds, 4), 0)


def test_counts_of_parts_sum_to_counts_of_whole(rng):
    labels, preds = _batch(rng, num_classes=6)
    parts = sum(_counts(label, pred, 6) for label, pred in zip(labels, preds, strict=True))
    np.testing.assert_array_equal(parts, _counts(labels, preds, 6))
    halves = sum(_counts(labels[:, rows], preds[:, rows], 6) for rows in (np.s_[:4], np.s_[4:]))
    np.testing.assert_array_equal(halves, parts)


@pytest.mark.parametrize("dtype", ["uint8", "int32"])
def test_confusion_counts_takes_any_integer_type(rng, dtype):
    labels, preds = _batch(rng, num_classes=21)
    counts = _counts(labels.astype(dtype), preds.astype(dtype), 21)
    np.testing.assert_array_equal(counts, _counts(labels, preds, 21))


@pytest.mark.parametrize("name", CASES)
def test_scores_of_convention_caffe_are_those_of_score_py(name):
    report = scores(np.asarray(GOLDEN[name]["hist_rows_gt_cols_pred"]))
    expected = GOLDEN[name]["fcn"]
    for ours, theirs in [
        ("pixel_acc", "pixel_acc"),
        ("mean_acc", "mean_acc"),
        ("mean_iou", "mean_iu"),
        ("fw_iou", "fw_iu"),
    ]:
        assert report[ours] == pytest.approx(expected[theirs], rel=1e-12), ours


@pytest.mark.parametrize("name", CASES)
def test_mean_iou_of_convention_present_is_that_of_deeplab_pytorch(name):
    report = scores(np.asarray(GOLDEN[name]["hist_rows_gt_cols_pred"]), convention="present")
    expected = GOLDEN[name]["kazuto_mean_iou_gt_present_only"]
    assert report["mean_iou"] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_scores_of_convention_matlab_are_those_of_the_development_kit(name):
    report = scores(np.asarray(GOLDEN[name]["hist_rows_gt_cols_pred"]), convention="matlab")
    expected = GOLDEN[name]["deeplab_matlab"]
    assert report["mean_acc"] == pytest.approx(expected["mean_class_acc"], rel=1e-12)
    assert report["mean_iou"] == pytest.approx(expected["mean_iou"], rel=1e-12)


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_conventions_agree_where_every_class_is_present(rng, convention):
    counts = rng.integers(1, 1000, (5, 5))
    report, caffe = scores(counts, convention=convention), scores(counts)
    for name, value in caffe.items():
        np.testing.assert_array_equal(report[name], value, err_msg=name)


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_mean_iou_is_the_mean_of_the_defined_class_ious(convention):
    counts = np.asarray(GOLDEN["class2_absent_in_gt_but_predicted"]["hist_rows_gt_cols_pred"])
    report = scores(counts, convention=convention)
    assert report["mean_iou"] == pytest.approx(np.nanmean(report["class_iou"]), rel=1e-12)
    assert np.isnan(report["class_iou"][2]) == (convention == "present")


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_scores_of_a_perfect_prediction_are_one(convention):
    report = scores(np.diag([3, 5, 7]), convention=convention)
    np.testing.assert_array_equal(report.pop("class_iou"), 1)
    assert set(report.values()) == {1.0}


def test_scores_of_nothing_are_not_a_number():
    report = scores(np.zeros((3, 3), np.int64))
    assert all(np.isnan(value).all() for value in report.values())


def test_scores_hold_for_counts_beyond_32_bits():
    counts = np.asarray([[3, 1], [2, 4]])
    expected, actual = scores(counts), scores(counts * 10**12)
    for name, value in expected.items():
        np.testing.assert_allclose(actual[name], value, rtol=1e-12)


def test_scores_rejects_an_unknown_convention():
    with pytest.raises(ValueError, match="unknown convention 'voc'; known: caffe, present, matlab"):
        scores(np.eye(2, dtype=np.int64), convention="voc")


@pytest.mark.parametrize("distance_px", [1, 2, 5])
def test_near_boundary_matches_a_search_around_every_pixel(rng, distance_px):
    labels = np.repeat(np.repeat(rng.integers(0, 3, (2, 4)), 7, 0), 6, 1).astype(np.uint8)
    labels[rng.random(labels.shape) < 0.3] = 255
    expected = oracles.near_boundary(labels, ignore_label=255, distance_px=distance_px)
    actual = near_boundary(jnp.asarray(labels), ignore_label=255, distance_px=distance_px)
    assert 0 < expected.sum() < (labels != 255).sum()
    np.testing.assert_array_equal(actual, expected)


def test_void_and_the_edge_of_the_image_are_no_boundary():
    labels = jnp.full((1, 9, 9), 4, jnp.uint8).at[0, 6:].set(255)
    assert not near_boundary(labels, ignore_label=255, distance_px=3).any()


@pytest.mark.parametrize("ignore_label", [VOID, 7])
def test_band_counts_are_those_of_near_boundary_at_every_distance(rng, ignore_label):
    label = np.kron(rng.integers(0, 4, (3, 4)), np.ones((6, 5), int)).astype(np.uint8)
    label[rng.random(label.shape) < 0.3] = ignore_label
    label[:, 12:] = 3  # some of it is far from every boundary
    pred = rng.integers(0, 4, label.shape, np.uint8)
    options = {"num_classes": 4, "ignore_label": ignore_label}
    found = band_counts(label, pred, **options, num_bands=7)
    for distance_px, counts in enumerate(found, 1):
        near = oracles.near_boundary(label, ignore_label=ignore_label, distance_px=distance_px)
        expected = oracles.confusion(np.where(near, label, ignore_label), pred, **options)
        np.testing.assert_array_equal(counts, expected)
    assert found[-1].sum() < (label != ignore_label).sum()


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_scores_of_many_matrices_are_those_of_each(rng, convention):
    counts = rng.integers(0, 9, (2, 3, 5, 5)) * rng.integers(0, 2, (2, 3, 5, 1))
    counts[0, 0] = 0
    many = ClassSums.of(counts).scores(convention=convention)
    for index in np.ndindex(2, 3):
        for key, value in scores(counts[index], convention=convention).items():
            np.testing.assert_array_equal(many[key][index], value)
