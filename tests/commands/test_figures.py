"""The arithmetic under the pictures; `test_compare` draws them."""

import numpy as np

from fcn_jax.reports import figures


def test_running_mean_preserves_a_constant():
    np.testing.assert_allclose(figures._running_mean(np.full(100, 3.0)), 3.0, rtol=1e-12)
