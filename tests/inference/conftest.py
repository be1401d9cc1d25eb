"""A network of a few lines, whose predictions are easy to foresee."""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from fcn_jax.data.labels import LabelSet
from fcn_jax.train.trained import Trained

LABELS = LabelSet.in_voc_colors(["background", "red", "green", "blue"])


class Colors(nn.Module):
    """Scores the mean colour of 9x9 pixels, and how dark it is; sees nothing beyond them."""

    @nn.compact
    def __call__(self, images, *, train):
        means = nn.avg_pool(images / 255.0, (9, 9), strides=(1, 1), padding="SAME")
        dark = jnp.full_like(means[..., :1], 0.45)
        # A parameter: jax 0.12 maps a batch of two arrays wrongly beside variables without a leaf.
        gain = self.param("gain", lambda _: jnp.float32(20))
        return gain * jnp.concatenate([dark, means], axis=-1)


@pytest.fixture(scope="session")
def net() -> Trained:
    """A network that tells colours."""
    return Trained(Colors(), {"params": {"gain": np.float32(20)}}, LABELS, {"name": "colors"})


@pytest.fixture
def draw(rng):
    """Draws a picture of smooth spots."""

    def draw(height: int, width: int, *, cell: int = 23) -> np.ndarray:
        coarse = rng.integers(0, 256, (1 + height // cell, 1 + width // cell, 3), np.uint8)
        resized = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
        return np.asarray(resized)

    return draw
