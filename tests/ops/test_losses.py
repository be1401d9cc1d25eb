"""Losses against loops over pixels, sorting and optax; void stays out of all of them."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fcn_jax.ops.losses import make_loss, softmax_cross_entropy
from tests import oracles

VOID = 255


def _batch(rng, *, num_classes=5, void_share=0.3):
    logits = rng.normal(size=(3, 6, 5, num_classes), scale=4).astype(np.float32)
    labels = rng.integers(0, num_classes, (3, 6, 5)).astype(np.int32)
    return logits, np.where(rng.random(labels.shape) < void_share, VOID, labels)


def _loss(logits, labels):
    return softmax_cross_entropy(jnp.asarray(logits), jnp.asarray(labels), ignore_label=VOID)


def test_softmax_cross_entropy_matches_pixel_loop(rng):
    logits, labels = _batch(rng)
    loss_sum, count = _loss(logits, labels)
    expected_sum, expected_count = oracles.cross_entropy(logits, labels, ignore_label=VOID)
    assert count == expected_count == (labels != VOID).sum()
    np.testing.assert_allclose(loss_sum, expected_sum, rtol=1e-6)  # some 60 float32 terms


def test_softmax_cross_entropy_of_huge_logits_matches_pixel_loop(rng):
    logits, labels = _batch(rng)
    expected, _ = oracles.cross_entropy(logits * 1e4, labels, ignore_label=VOID)
    np.testing.assert_allclose(_loss(logits * np.float32(1e4), labels)[0], expected, rtol=1e-6)


@pytest.mark.parametrize("num_classes", [1, 2, 21])
def test_loss_of_zero_logits_is_log_of_the_number_of_classes(rng, num_classes):
    _, labels = _batch(rng, num_classes=num_classes)
    loss_sum, count = _loss(jnp.zeros((*labels.shape, num_classes)), labels)
    np.testing.assert_allclose(loss_sum / count, np.log(num_classes), rtol=1e-6)


def test_softmax_cross_entropy_is_unchanged():
    golden = oracles.load_golden("loss")
    logits = np.moveaxis(np.asarray(golden["logits_CHW"], np.float32), 0, -1)[None]
    labels = np.asarray(golden["label"], np.int32)[None]
    assert golden["ignore"] == VOID
    loss_sum, count = _loss(logits, labels)
    assert count == golden["valid"]
    np.testing.assert_allclose(loss_sum, golden["sum_loss"], rtol=1e-6)
    np.testing.assert_allclose(loss_sum / len(labels), golden["normalize_false_batch1"], rtol=1e-6)
    np.testing.assert_allclose(loss_sum / count, golden["normalize_true"], rtol=1e-6)


def test_loss_of_an_untrained_voc_image_is_unchanged():
    golden = oracles.load_golden("loss")
    loss_sum, count = _loss(jnp.zeros((1, 500, 500, 21)), jnp.zeros((1, 500, 500), jnp.int32))
    # A quarter of a million equal terms, in float32.
    np.testing.assert_allclose(loss_sum, golden["zero_score_21cls_500x500_no_ignore"], rtol=1e-5)
    np.testing.assert_allclose(loss_sum / count, golden["ln21"], rtol=1e-5)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30])
def test_void_pixels_never_count_whatever_their_logits(rng, value):
    logits, labels = _batch(rng)
    spoiled = np.where((labels == VOID)[..., None], np.float32(value), logits)
    spoiled[..., 1:] = np.where((labels == VOID)[..., None], 0, spoiled[..., 1:])

    def loss_sum(logits):
        return softmax_cross_entropy(logits, jnp.asarray(labels), ignore_label=VOID)

    (clean, count), clean_gradient = jax.value_and_grad(loss_sum, has_aux=True)(logits)
    (dirty, dirty_count), gradient = jax.value_and_grad(loss_sum, has_aux=True)(spoiled)
    assert (clean, count) == (dirty, dirty_count)
    np.testing.assert_array_equal(gradient, clean_gradient)
    np.testing.assert_array_equal(gradient[labels == VOID], 0)


def test_gradient_is_softmax_minus_truth(rng):
    logits, labels = _batch(rng)
    gradient = jax.grad(lambda logits: _loss(logits, labels)[0])(jnp.asarray(logits))
    expected = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    expected -= labels[..., None] == np.arange(logits.shape[-1])
    expected[labels == VOID] = 0
    np.testing.assert_allclose(gradient, expected, atol=1e-6)


def test_loss_of_a_batch_of_void_is_zero_of_zero():
    loss_sum, count = _loss(jnp.ones((1, 2, 2, 3)), jnp.full((1, 2, 2), VOID))
    assert (loss_sum, count) == (0, 0)


def test_losses_of_parts_sum_to_loss_of_whole(rng):
    logits, labels = _batch(rng)
    whole_sum, whole_count = _loss(logits, labels)
    parts = [_loss(logits[i : i + 1], labels[i : i + 1]) for i in range(len(labels))]
    assert sum(int(count) for _, count in parts) == whole_count
    np.testing.assert_allclose(sum(float(part) for part, _ in parts), whole_sum, rtol=1e-6)


def test_loss_of_bfloat16_logits_is_summed_in_float32(rng):
    logits, labels = _batch(rng)
    logits = jnp.asarray(logits, jnp.bfloat16)
    loss_sum, _ = _loss(logits, labels)
    assert loss_sum.dtype == jnp.float32
    expected, _ = oracles.cross_entropy(np.asarray(logits), labels, ignore_label=VOID)
    np.testing.assert_allclose(loss_sum, expected, rtol=1e-6)


@pytest.mark.parametrize("dtype", ["uint8", "int32"])
def test_loss_takes_labels_of_any_integer_type(rng, dtype):
    logits, labels = _batch(rng)
    assert _loss(logits, labels.astype(dtype)) == _loss(logits, labels)


# --- make_loss --------------------------------------------------------------------------------

WEIGHTS = (1.0, 0.2, 3.0, 0.0, 2.5)
OPTIONS = {
    "plain": {},
    "weights": {"class_weights": WEIGHTS},
    "ohem": {"ohem_fraction": 0.3},
    "dice": {"dice_weight": 0.7, "cross_entropy_weight": 0.0},
    "everything": {
        "class_weights": WEIGHTS,
        "ohem_fraction": 0.3,
        "dice_weight": 0.7,
        "cross_entropy_weight": 2.0,
    },
}
every_loss = pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)


def _make(**options):
    return make_loss(num_classes=5, ignore_label=VOID, **options)


def _mean(logits, labels, **options):
    """The loss of a batch that is all on one device."""
    loss = _make(**options)
    parts, count = loss.sums(jnp.asarray(logits), jnp.asarray(labels))
    return loss.total(parts, count) / jnp.where(count > 0, count, 1)


def _values(logits, labels):
    """The cross entropy of every labelled pixel, and its class."""
    pixels = [
        (oracles.cross_entropy(logits[pixel][None], labels[pixel][None], ignore_label=VOID)[0])
        for pixel in np.ndindex(labels.shape)
        if labels[pixel] != VOID
    ]
    return np.array(pixels), labels[labels != VOID]


def test_plain_loss_is_the_cross_entropy(rng):
    logits, labels = _batch(rng)
    loss_sum, count = _loss(logits, labels)
    loss = _make()
    parts, other_count = loss.sums(jnp.asarray(logits), jnp.asarray(labels))
    assert loss.total(parts, other_count) == loss_sum and other_count == count


def test_weighted_mean_matches_pixel_loop(rng):
    logits, labels = _batch(rng)
    values, classes = _values(logits, labels)
    weights = np.array(WEIGHTS)[classes]
    expected = (weights * values).sum() / weights.sum()
    np.testing.assert_allclose(_mean(logits, labels, class_weights=WEIGHTS), expected, rtol=1e-6)


@every_loss
def test_equal_class_weights_change_nothing(rng, options):
    logits, labels = _batch(rng)
    unweighted = {key: value for key, value in options.items() if key != "class_weights"}
    weighted = _mean(logits, labels, **unweighted, class_weights=(7.0,) * 5)
    np.testing.assert_allclose(weighted, _mean(logits, labels, **unweighted), rtol=1e-6)


def test_pixels_of_class_weight_0_have_no_part_in_the_loss(rng):
    logits, labels = _batch(rng)
    options = {"class_weights": WEIGHTS}
    without = np.where(labels == WEIGHTS.index(0.0), VOID, labels)
    assert _mean(logits, labels, **options) == _mean(logits, without, **options)


@pytest.mark.parametrize("weights", [(), WEIGHTS])
@pytest.mark.parametrize("fraction", [0.01, 0.3, 0.999])
def test_ohem_matches_sorting(rng, fraction, weights):
    logits, labels = _batch(rng)
    values, classes = _values(logits, labels)
    pixel_weights = np.array(weights or (1.0,) * 5)[classes]
    hardest = np.argsort(values * pixel_weights)[::-1][: math.ceil(fraction * len(values))]
    expected = (values * pixel_weights)[hardest].sum() / pixel_weights[hardest].sum()
    mean = _mean(logits, labels, ohem_fraction=fraction, class_weights=weights)
    np.testing.assert_allclose(mean, expected, rtol=1e-6)


def test_ohem_keeps_all_that_tie(rng):
    _, labels = _batch(rng)
    zeros = np.zeros((*labels.shape, 5), np.float32)
    _, count = _make(ohem_fraction=0.1).sums(jnp.asarray(zeros), jnp.asarray(labels))
    assert count == (labels != VOID).sum()


@pytest.mark.parametrize("weights", [(), WEIGHTS])
def test_dice_matches_optax(rng, weights):
    logits, labels = _batch(rng)
    valid = labels != VOID
    expected = optax.losses.dice_loss(
        jnp.asarray(logits[valid][None]), jax.nn.one_hot(labels[valid], 5)[None], reduction="none"
    )
    expected = np.average(expected[0], weights=weights or None)
    options = {**OPTIONS["dice"], "class_weights": weights}
    np.testing.assert_allclose(_mean(logits, labels, **options), 0.7 * expected, rtol=1e-5)


def test_dice_of_a_perfect_prediction_is_zero(rng):
    _, labels = _batch(rng)
    logits = 100 * jax.nn.one_hot(labels, 5)
    np.testing.assert_allclose(_mean(logits, labels, **OPTIONS["dice"]), 0, atol=1e-6)


def test_loss_is_the_sum_of_its_terms(rng):
    logits, labels = _batch(rng)
    dice = _mean(logits, labels, **OPTIONS["dice"])
    expected = 3 * _mean(logits, labels) + dice
    both = _mean(logits, labels, cross_entropy_weight=3.0, dice_weight=0.7)
    np.testing.assert_allclose(both, expected, rtol=1e-6)


@every_loss
@pytest.mark.parametrize("num_devices", [3, 6])
def test_devices_do_not_change_a_loss(rng, options, num_devices):
    """As one mapped function, which adds over the devices what the loss asks for."""
    logits, labels = _batch(rng)
    labels[0] = VOID  # the devices have nothing like equal shares of the labels
    loss = _make(**options)

    def sums(logits, labels):
        return loss.sums(logits, labels, all_sum=lambda tree: jax.lax.psum(tree, "d"))

    ours = logits.reshape(num_devices, 1, -1, 5, 5), labels.reshape(num_devices, 1, -1, 5)
    parts, count = jax.tree.map(lambda each: each.sum(0), jax.vmap(sums, axis_name="d")(*ours))
    mean = loss.total(parts, count) / count
    np.testing.assert_allclose(mean, _mean(logits, labels, **options), rtol=1e-6)


@every_loss
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_void_pixels_never_enter_any_loss(rng, options, value):
    logits, labels = _batch(rng)
    spoiled = np.where((labels == VOID)[..., None], np.float32(value), logits)

    def mean(logits):
        return _mean(logits, labels, **options)

    clean, clean_gradient = jax.value_and_grad(mean)(jnp.asarray(logits))
    dirty, gradient = jax.value_and_grad(mean)(jnp.asarray(spoiled))
    assert clean == dirty and np.isfinite(clean)
    np.testing.assert_array_equal(gradient, clean_gradient)
    np.testing.assert_array_equal(gradient[labels == VOID], 0)
    assert np.any(gradient != 0)


@every_loss
def test_batch_of_void_gives_nothing(options):
    labels = np.full((1, 2, 2), VOID)
    mean, gradient = jax.value_and_grad(lambda logits: _mean(logits, labels, **options))(
        jnp.ones((1, 2, 2, 5))
    )
    assert mean == 0
    np.testing.assert_array_equal(gradient, 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"class_weights": (1.0, 2.0)}, "class_weights has 2 values for 5 classes"),
        ({"class_weights": (1.0, 1, 1, 1, -1)}, "must not be negative"),
        ({"class_weights": (0.0,) * 5}, "nor all 0"),
        ({"ohem_fraction": 0.0}, r"ohem_fraction=0.0 must lie in \(0, 1\]"),
        ({"dice_weight": -1.0}, "dice_weight=-1.0 must not be negative"),
        ({"cross_entropy_weight": 0.0}, "nor both 0"),
    ],
)
def test_make_loss_rejects_option(options, message):
    with pytest.raises(ValueError, match=message):
        _make(**options)
