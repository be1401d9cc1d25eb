"""What every head is: it scores an image, once or in several sizes.

Source: Chen et al. 2016 (DeepLab v2), Sec. 4.1.2: scales of 1, 0.75 and 0.5 share their weights,
and a pixel's scores are the largest of them; each has a loss of its own in training.
"""

from dataclasses import KW_ONLY
from fractions import Fraction
from functools import reduce
from typing import ClassVar, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Num

from fcn_jax.errors import UserError
from fcn_jax.ops.rescale import rescale, rescale_onto, scaled_size

# Collection of what training scores beside the logits.
AUXILIARY = "auxiliary"

_MAX_SCALE = 4


class Auxiliary(NamedTuple):
    """Logits beside those of the network, which training compares with the labels too.

    Attributes:
        logits: Scores of the pixels that the network's own logits are of.
        weight: Factor of their loss.
    """

    logits: Float[Array, "b h w k"]
    weight: float


class Head(nn.Module):
    """Maps images to logits of the same size.

    A head is a class of this kind with a backbone and a method `score_image`, which is `compact`.
    `SINGLE_SIZE_OPTIONS` names its options that change what training compares with the labels.

    Attributes:
        input_scales: Scales at which the network looks at an image beside the image's own, such as
            DeepLab v2's 0.75 and 0.5; () for none. The scores of a pixel are the largest of all. In
            training, those of each scale are compared with the labels too.
    """

    SINGLE_SIZE_OPTIONS: ClassVar[tuple[str, ...]] = ()

    _: KW_ONLY
    input_scales: tuple[float, ...] = ()

    def __call__(
        self, images: Num[Array, "b h w 3"], *, train: bool, sizes: Int[Array, "b 2"] | None = None
    ) -> Float[Array, "b H W k"]:
        """Computes the logits.

        Args:
            images: RGB in 0..255.
            train: Whether statistics are taken from the batch, and values are dropped.
            sizes: Height and width of each image without padding; only heads that see the whole
                image take it (`apply_padded`).
        """
        if not self.input_scales:
            return self.score_image(images, train=train, **_known(sizes))
        # The image's own size comes last: the last layer that runs is that of the whole network.
        scores = {
            scale: self.score_scaled(images, scale, train=train, sizes=sizes)
            for scale in (*self._check_scales(), Fraction(1))
        }
        if train and not self.is_initializing():
            for scale, logits in scores.items():
                self.sow(AUXILIARY, f"scale_{float(scale):g}", Auxiliary(logits, 1.0))
        return reduce(jnp.maximum, scores.values())

    def score_scaled(
        self,
        images: Num[Array, "b h w 3"],
        scale: Fraction,
        *,
        train: bool,
        sizes: Int[Array, "b 2"] | None,
    ) -> Float[Array, "b h w k"]:
        """Returns the logits of images that are looked at in another size."""
        if scale == 1:
            return self.score_image(images, train=train, **_known(sizes))
        known = _known(None if sizes is None else scaled_size(sizes, scale))
        logits = self.score_image(rescale(images.astype(jnp.float32), scale), train=train, **known)
        return rescale_onto(logits, 1 / scale, images.shape[1:3])

    def _check_scales(self) -> tuple[Fraction, ...]:
        """Returns the scales as exact numbers."""
        given = f"model.input_scales={self.input_scales}"
        scales = tuple(Fraction(scale).limit_denominator(100) for scale in self.input_scales)
        inside = all(0 < scale <= _MAX_SCALE and scale != 1 for scale in scales)
        if not inside or len(set(scales)) < len(scales):
            raise UserError(
                f"{given} must be different scales above 0 and up to {_MAX_SCALE}, without the "
                "image's own, 1, which is always there"
            )
        for option in self.SINGLE_SIZE_OPTIONS:
            if getattr(self, option):
                raise UserError(
                    f"{given} cannot be together with model.{option}: the scores of each size are "
                    "compared with the label of every pixel"
                )
        return scales


def _known(sizes: Int[Array, "b 2"] | None) -> dict[str, Int[Array, "b 2"]]:
    return {} if sizes is None else {"sizes": sizes}
