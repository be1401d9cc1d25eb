"""DeepLab v3 and v3+: atrous pyramids with the mean of the whole image, and a decoder.

Source: Chen et al. 2017 (v3), Sec. 3.3; Chen et al. 2018 (v3+), Sec. 3.1 and 4.1, whose separable
convolutions have a norm and an activation after each of their two; names of tensorflow/models
(deeplab/model.py).
"""

from dataclasses import KW_ONLY

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Num

from fcn_jax.errors import UserError
from fcn_jax.models.atrous_head import POINTWISE, AtrousHead
from fcn_jax.models.blob import Blob
from fcn_jax.models.layers import Concat, Conv, GlobalMean, Spread
from fcn_jax.ops.geometry import Window, same

ACTIVATIONS = {"relu": nn.relu, "relu6": nn.relu6}


class DeepLabV3(AtrousHead):
    """Maps images to logits of the same size.

    The features are seen by ASPP: a 1x1 convolution, atrous 3x3 ones, and the mean of the whole
    image. What they say is stacked and projected by `concat_projection`. A decoder (v3+) stacks
    this, upsampled, with finer features. Dropout stands after the projection.

    Every unit sees the whole image, and of a window cut out of a picture that window.

    `AtrousHead` explains what all of DeepLab's heads have.

    Attributes:
        rates: Rates of ASPP's 3x3 convolutions, in units of the deepest features; () for none.
        channels: Channels of every layer, but for those that score and `feature_projection0`.
        image_pooling: Whether ASPP has the mean of the whole image.
        separable: Whether 3x3 convolutions filter every channel by itself before a 1x1.
        low_level_stride: Stride of the finer features that the decoder stacks, 4 in v3+; 0 for
            none.
        low_level_channels: Channels that these features are reduced to, at least 1.
        decoder_convs: Number of 3x3 convolutions before the scores: 2 in v3+, none in v3;
            torchvision's v3 has one.
        head_activation: Activation of the head's layers, relu or relu6.
    """

    rates: tuple[int, ...] = (6, 12, 18)
    channels: int = 256
    _: KW_ONLY
    image_pooling: bool = True
    separable: bool = False
    low_level_stride: int = 0
    low_level_channels: int = 48
    decoder_convs: int = 0
    head_activation: str = "relu"

    @nn.compact
    def score_image(
        self, images: Num[Array, "b h w 3"], *, train: bool, sizes: Int[Array, "b 2"] | None = None
    ) -> Float[Array, "b h w {self.num_classes}"]:
        """Computes the logits of images in one size."""
        self.check()
        features = self.backbone(images, train=train, sizes=sizes)
        image, blob = features["data"], list(features.values())[-1]
        self.score_aside(features, train=train)
        blob = self.pyramid(blob, train=train)
        if self.low_level_stride:
            fine = self.find_low_level(features)
            fine = self.conv("feature_projection0", self.low_level_channels)(fine, train=train)
            blob = self.place("concat_projection", blob, fine)
            blob = Concat(name="decoder_concat")(blob, fine)
        for number in range(self.decoder_convs):
            blob = self.conv3(f"decoder_conv{number}", blob, rate=1, train=train)
        score = self.score_conv("logits")(blob, train=False)
        return self.place("logits", score, image).maps.astype(jnp.float32)

    def check(self) -> None:
        """Raises UserError for attributes that cannot be."""
        if self.head_activation not in ACTIVATIONS:
            known = ", ".join(ACTIVATIONS)
            raise UserError(
                f"unknown model.head_activation {self.head_activation!r}; known: {known}"
            )
        if self.decoder_convs < 0 or self.low_level_channels < 1:
            raise UserError(
                f"model.decoder_convs={self.decoder_convs} must be 0 or more, and "
                f"model.low_level_channels={self.low_level_channels} 1 or more"
            )
        if self.low_level_stride and self.upsampling == "half_pixel":
            raise UserError(
                "model.upsampling=half_pixel puts what a decoder stacks on other pixels than its "
                "finer features: take align_corners, or model.low_level_stride=0"
            )

    def find_low_level(self, features: dict[str, Blob]) -> Blob:
        """Returns the deepest features of the decoder's stride."""
        strides = {int(blob.stride): blob for blob in features.values()}
        if self.low_level_stride not in strides:
            known = ", ".join(map(str, strides))
            raise UserError(
                f"unknown model.low_level_stride={self.low_level_stride}; the backbone has {known}"
            )
        return strides[self.low_level_stride]

    def pyramid(self, blob: Blob, *, train: bool) -> Blob:
        """Stacks what is seen at several rates, and projects it."""
        seen = []
        if self.image_pooling:
            mean = GlobalMean(name="image_mean")(blob)
            mean = self.conv("image_pooling", self.channels)(mean, train=train)
            seen.append(Spread(name="image_pooling_spread")(mean, blob))
        seen.append(self.conv("aspp0", self.channels)(blob, train=train))
        for number, rate in enumerate(self.rates, start=1):
            seen.append(self.conv3(f"aspp{number}", blob, rate=rate, train=train))
        blob = Concat(name="aspp_concat")(*seen)
        blob = self.conv("concat_projection", self.channels)(blob, train=train)
        return self.drop(blob, train=train)

    def conv(
        self, name: str, channels: int, *, window: Window = POINTWISE, groups: int = 1
    ) -> Conv:
        """Makes a layer of the head."""
        activation = ACTIVATIONS[self.head_activation]
        return Conv(channels, window, groups, norm=self.norm, activation=activation, name=name)

    def conv3(self, name: str, blob: Blob, *, rate: int, train: bool) -> Blob:
        """Runs a 3x3 convolution, or the two that stand for it."""
        window = same(3, rate=rate)
        if not self.separable:
            return self.conv(name, self.channels, window=window)(blob, train=train)
        depth = blob.maps.shape[-1]
        blob = self.conv(f"{name}_depthwise", depth, window=window, groups=depth)(blob, train=train)
        return self.conv(f"{name}_pointwise", self.channels)(blob, train=train)
