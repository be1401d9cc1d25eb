"""The dense CRF: its kernels evaluated pair by pair, another implementation, and laws."""

import numpy as np
import pytest

from fcn_jax.errors import UserError
from fcn_jax.ops.dense_crf import MIN_PROBABILITY, NORMALIZATIONS, Lattice, dense_crf

SIZE = 24, 32
CLASSES = 4


@pytest.fixture
def picture(rng):
    """A picture of two smooth areas with noise, `uint8 [h, w, 3]`."""
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    inside = (rows - 11) ** 2 + (columns - 14) ** 2 < 80
    colors = np.where(inside[..., None], (200, 80, 40), (60, 120, 160))
    return np.clip(colors + rng.normal(0, 6, (*SIZE, 3)), 0, 255).astype(np.uint8)


@pytest.fixture
def probs(rng, picture):
    """Class probabilities that know the areas, but for noise."""
    scores = rng.normal(0, 1.5, (*SIZE, CLASSES))
    scores[..., 1] += 2 * (picture[..., 0] > 130)
    scores[..., 0] += 2 * (picture[..., 0] <= 130)
    return _softmax(scores).astype(np.float32)


def _softmax(scores):
    values = np.exp(scores - scores.max(-1, keepdims=True))
    return values / values.sum(-1, keepdims=True)


def _by_hand(image, probs, *, pos, bi, normalization, num_iterations):
    """Runs the mean field with kernels between all pairs of pixels."""
    height, width, _ = probs.shape
    positions = np.stack(np.mgrid[:height, :width], -1).reshape(-1, 2).astype(float)
    colors = image.reshape(-1, 3).astype(float)
    kernels = []
    for weight, points in (
        (pos[0], positions / pos[1]),
        (bi[0], np.concatenate([positions / bi[1], colors / bi[2]], 1)),
    ):
        squares = (points**2).sum(1)
        distances = squares[:, None] + squares - 2 * points @ points.T
        kernel = np.exp(-np.maximum(distances, 0) / 2)
        sums = kernel.sum(1)
        if normalization == "deeplab":
            kernel = kernel / sums[:, None]
        else:
            kernel = kernel / np.sqrt(sums[:, None] * sums)
        kernels.append(weight * kernel)
    unary = np.log(np.clip(probs.reshape(-1, probs.shape[2]).astype(float), MIN_PROBABILITY, 1))
    marginals = _softmax(unary)
    for _ in range(num_iterations):
        marginals = _softmax(unary + sum(kernel @ marginals for kernel in kernels))
    return marginals.reshape(probs.shape)


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_marginals_match_kernels_of_all_pairs(picture, probs, normalization):
    actual = dense_crf(
        picture,
        probs,
        num_iterations=5,
        pos_w=1.0,
        pos_xy_std=3.0,
        bi_w=1.0,
        bi_xy_std=20.0,
        bi_rgb_std=30.0,
        normalization=normalization,
    )
    expected = _by_hand(
        picture,
        probs,
        pos=(1.0, 3.0),
        bi=(1.0, 20.0, 30.0),
        normalization=normalization,
        num_iterations=5,
    )
    np.testing.assert_allclose(actual.sum(-1), 1, rtol=1e-5)
    # The lattice is no exact filter where points are few, and strong weights multiply its errors.
    assert np.abs(actual - expected).max() < 2e-2
    # The CRF did something that a careless one would not.
    assert np.mean(expected.argmax(-1) != probs.argmax(-1)) > 0.05


def test_marginals_match_pydensecrf(picture, probs):
    densecrf = pytest.importorskip("pydensecrf.densecrf", reason="needs pip install pydensecrf2")
    energies = -np.log(np.clip(probs, MIN_PROBABILITY, 1)).transpose(2, 0, 1)
    reference = densecrf.DenseCRF2D(SIZE[1], SIZE[0], CLASSES)
    reference.setUnaryEnergy(np.ascontiguousarray(energies.reshape(CLASSES, -1)))
    reference.addPairwiseGaussian(sxy=3, compat=3)
    reference.addPairwiseBilateral(sxy=49, srgb=5, rgbim=picture, compat=4)
    expected = np.array(reference.inference(10)).reshape(CLASSES, *SIZE).transpose(1, 2, 0)
    actual = dense_crf(picture, probs, normalization="symmetric")
    np.testing.assert_allclose(actual, expected, atol=1e-4)  # sums of float32, in another order


def test_barycentric_coordinates_put_a_point_where_it_is(rng):
    points = rng.normal(0, 5, (300, 3)).astype(np.float32)
    lattice = Lattice.make(points)
    assert lattice.weights.min() > -1e-6
    np.testing.assert_allclose(lattice.weights.sum(1), 1, rtol=1e-5)
    assert all(len(set(corners)) == 4 for corners in lattice.corners.tolist())


def test_without_kernels_or_iterations_the_probabilities_stay(picture, probs):
    for off in ({"pos_w": 0.0, "bi_w": 0.0}, {"num_iterations": 0}):
        np.testing.assert_allclose(dense_crf(picture, probs, **off), probs, atol=1e-4)


def test_classes_are_alike(picture, probs):
    order = [2, 0, 3, 1]
    expected = dense_crf(picture, probs)[..., order]
    np.testing.assert_allclose(dense_crf(picture, probs[..., order]), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bi_rgb_std": 0.0}, "crf.bi_rgb_std=0.0 must be positive"),
        ({"num_iterations": -1}, "crf.num_iterations=-1 must not be negative"),
        ({"normalization": "both"}, "unknown crf.normalization 'both'; known: deeplab, symmetric"),
    ],
)
def test_dense_crf_rejects_parameters_out_of_range(picture, probs, options, message):
    with pytest.raises(UserError, match=message):
        dense_crf(picture, probs, **options)
