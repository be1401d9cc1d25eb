import numpy as np

from fcn_jax.data.class_weights import inverse_log, median_frequency

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
