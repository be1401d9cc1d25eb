"""What DeepLab's heads have in common: score layers, upsampling, auxiliary scores."""

import math
from dataclasses import KW_ONLY
from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp

from fcn_jax.errors import UserError
from fcn_jax.models.blob import Blob
from fcn_jax.models.head import AUXILIARY, Auxiliary, Head
from fcn_jax.models.layers import BilinearUpscore, Conv, Crop, Extend, NormSpec, Stretch
from fcn_jax.ops.geometry import Window, same
from fcn_jax.ops.upsample import align_corners

UPSAMPLINGS = ("align_corners", "half_pixel")

POINTWISE = Window(1)
AUX_DROPOUT = 0.1  # torchvision's FCNHead


class AtrousHead(Head):
    """A head whose score map is upsampled onto the image at once.

    Attributes:
        num_classes: Number of classes.
        backbone: Returns named features; the last of them are the deepest.
        norm: Normalisation of the head's layers, but for those that score.
        dropout: Fraction of the values that training drops.
        upsampling: `align_corners` puts every unit on the pixel at its centre; `half_pixel`
            stretches the score map to the size of the image, as torchvision does, wherever its
            units lie.
        score_std: Deviation of the initial weights of layers that score, at least 0; DeepLab's
            release takes 0.01.
        aux: Name of features that training scores too, for an auxiliary loss; empty for none.
            torchvision's networks were trained with `layer3`.
        aux_weight: Factor of the auxiliary loss; torchvision's recipe takes 0.5.
    """

    SINGLE_SIZE_OPTIONS: ClassVar[tuple[str, ...]] = ("aux",)

    num_classes: int
    backbone: nn.Module
    norm: NormSpec | None = None
    dropout: float = 0.5
    upsampling: str = "align_corners"
    _: KW_ONLY
    score_std: float = 0.01
    aux: str = ""
    aux_weight: float = 0.5

    def score_conv(self, name: str, *, window: Window = POINTWISE) -> Conv:
        """Makes a convolution that scores every unit."""
        return Conv(
            self.num_classes,
            window,
            activation=None,
            kernel_init=nn.initializers.normal(self.score_std),
            name=name,
        )

    def drop(self, blob: Blob, *, train: bool, fraction: float | None = None) -> Blob:
        """Drops a fraction of the values in training; by default `dropout`."""
        fraction = self.dropout if fraction is None else fraction
        return blob.replace(maps=nn.Dropout(fraction, deterministic=not train)(blob.maps))

    def score_aside(self, features: dict[str, Blob], *, train: bool) -> None:
        """Scores the features `aux` in training: `aux_conv` (3x3) and `aux_score` (1x1)."""
        if not self.aux:
            return
        if self.aux not in features:
            known = ", ".join(features)
            raise UserError(f"unknown model.aux {self.aux!r}; the backbone has {known}")
        if not (train or self.is_initializing()):
            return
        blob = features[self.aux]
        # A quarter of the channels, as in torchvision's FCNHead.
        layer = Conv(max(1, blob.maps.shape[-1] // 4), same(3), norm=self.norm, name="aux_conv")
        blob = self.drop(layer(blob, train=train), train=train, fraction=AUX_DROPOUT)
        score = self.score_conv("aux_score")(blob, train=False)
        logits = self.place("aux", score, features["data"]).maps.astype(jnp.float32)
        if not self.is_initializing():
            self.sow(AUXILIARY, self.aux, Auxiliary(logits, self.aux_weight))

    def place(self, name: str, blob: Blob, onto: Blob) -> Blob:
        """Upsamples a map to the stride of another map, and cuts it to the units of that map.

        After pools of 2x2 the units of the two lie half a pixel apart. The cut rounds this half
        down, as the release does: it trims 7 pixels where the first unit lies 7.5 before the image.
        """
        if self.upsampling == "half_pixel":
            return Stretch(name=f"{name}_stretch")(blob, onto)
        if blob.start > onto.start:  # TensorFlow's padding
            blob = Extend(name=f"{name}_extend")(blob)
        factor = int(blob.stride / onto.stride)
        if factor > 1:
            blob = BilinearUpscore(align_corners(factor), name=f"{name}_interp")(blob)
        offset = math.floor((onto.start - blob.start) / onto.stride)
        return Crop(offset, name=f"{name}_crop")(blob, onto)


def check_upsampling(upsampling: str) -> None:
    """Raises UserError for a kind of upsampling that is not known."""
    if upsampling not in UPSAMPLINGS:
        known = ", ".join(UPSAMPLINGS)
        raise UserError(f"unknown model.upsampling {upsampling!r}; known: {known}")
