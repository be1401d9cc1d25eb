"""The loss against a loop over pixels; void stays out of it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fcn_jax.ops.losses import softmax_cross_entropy
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
