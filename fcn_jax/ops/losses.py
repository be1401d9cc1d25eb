"""Losses as (sum, count): sums and counts can be added over devices and batches, means cannot.

A pixel whose label is `ignore_label` never enters: not the sum, not the count, not the gradient,
whatever the logits there are, NaN and infinity included.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Integer


def softmax_cross_entropy(
    logits: Float[Array, "b h w k"], labels: Integer[Array, "b h w"], *, ignore_label: int
) -> tuple[Float[Array, ""], Integer[Array, ""]]:
    """Sums the cross entropy, in nats, over the labelled pixels, and counts these pixels."""
    valid = labels != ignore_label
    # Replaced before the softmax: 0 * NaN is NaN, so masking afterwards would not be enough.
    logits = jnp.where(valid[..., None], logits.astype(jnp.float32), 0.0)
    log_probs = jax.nn.log_softmax(logits)
    is_class = labels[..., None] == jnp.arange(logits.shape[-1])
    return -jnp.sum(log_probs, where=is_class & valid[..., None]), jnp.sum(valid)
