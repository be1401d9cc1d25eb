import numpy as np

from fcn_jax.data.class_weights import (
    FORMULAS,
    compute_class_weights,
    inverse_log,
    median_frequency,
)

# Three images of 10, 10 and 20 labelled pixels; class 2 is in one of them, class 3 in none.
PIXELS = np.array([[8, 2, 0, 0], [10, 0, 0, 0], [10, 5, 5, 0]])


def test_median_frequency_matches_a_calculation_by_hand():
    frequency = np.array([28 / 40, 7 / 30, 5 / 20])
    np.testing.assert_allclose(median_frequency(PIXELS), [*(5 / 20 / frequency), np.nan])


def test_inverse_log_matches_a_calculation_by_hand():
    shares = np.array([28, 7, 5]) / 40
    np.testing.assert_allclose(inverse_log(PIXELS), [*(1 / np.log(1.02 + shares)), np.nan])


def test_no_pixel_gives_no_weight():
    for weigh in (median_frequency, inverse_log):
        assert np.isnan(weigh(np.zeros((2, 3), int))).all()
        assert np.isnan(weigh(np.zeros((0, 3), int))).all()


def test_weights_of_a_split_are_those_of_its_labels():
    """Void does not count, and a class without a pixel gets 0."""
    rows = [np.repeat([0, 1, 2, 3, 255], [*row, 3]).astype(np.uint8) for row in PIXELS]
    source = [{"label": row[None]} for row in rows]
    for formula, weigh in FORMULAS.items():
        weights = compute_class_weights(formula, source, num_classes=4)
        assert weights == (*weigh(PIXELS)[:3], 0.0)
