"""DeepLab: dense scores from atrous convolution, with a field of view as large as one likes.

All layer names are the releases'.

Source: Chen et al. 2015, Sec. 3 and 4.3; the released train.prototxt and test.prototxt of DeepLab
(vgg128_noup), DeepLab-LargeFOV, DeepLab-MSc and DeepLab-MSc-LargeFOV. Several branches are the ASPP
of DeepLab v2, Chen et al. 2016, Sec. 3.2.
"""

import math
from dataclasses import KW_ONLY
from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Num

from fcn_jax.errors import UserError
from fcn_jax.models.atrous_head import AtrousHead
from fcn_jax.models.blob import Blob
from fcn_jax.models.layers import AvgPool, Conv, Fuse, fc_layers
from fcn_jax.ops import geometry
from fcn_jax.ops.geometry import Window, same


class Branch(NamedTuple):
    """What stands on the features: hidden layers, and the scores of what they make.

    Attributes:
        fc: Window and channels of fc6, fc7, ...
        fc8: Window of the layer that scores.
    """

    fc: tuple[tuple[Window, int], ...] = ()
    fc8: Window = Window(1)


# Deviations of the initial weights of the side branches by kind of layer, and where the release has
# another one. It names none for pool3_ms, and zero is what Caffe then takes.
SIDE_STD = {"conv": 0.001, "fc": 0.001, "ms": 0.01}
RELEASED_SIDE_STD = {"pool4_fc": 0.005, "pool3_ms": 0.0}


class DeepLab(AtrousHead):
    """Maps images to logits of the same size.

    Each score map is upsampled once, its corners onto the corners of the image.

    `AtrousHead` explains what all of DeepLab's heads have. Dropout stands after every hidden layer.

    Attributes:
        branches: Layers of the classifier; the rate of the first sets the field of view. Several
            branches (ASPP) look at the same features, and their scores are summed.
        sides: Names of features that are scored too (MSc). The scores of all maps are summed.
        side_channels: Channels of the hidden layers of side branches.
        label_shrink: Whether the logits of training are those of the score map's own units, one for
            every `stride` pixels, as in the release. The label of a unit is the one of the pixel at
            its centre; a centre between two pixels takes the later one. Side branches then have the
            stride of the score map; otherwise they keep that of their features.
        pool5a: Whether a 3x3 average at stride 1 stands before fc6, as in LargeFOV.
    """

    SINGLE_SIZE_OPTIONS = (*AtrousHead.SINGLE_SIZE_OPTIONS, "label_shrink")

    branches: tuple[Branch, ...] = (Branch(),)
    sides: tuple[str, ...] = ()
    side_channels: int = 128
    label_shrink: bool = False
    _: KW_ONLY
    pool5a: bool = True

    @nn.compact
    def score_image(
        self, images: Num[Array, "b h w 3"], *, train: bool
    ) -> Float[Array, "b H W {self.num_classes}"]:
        """Computes the logits of images in one size."""
        features = self.backbone(images, train=train)
        self.check(features)
        self.score_aside(features, train=train)
        image, blob = features["data"], list(features.values())[-1]
        if self.pool5a:
            blob = AvgPool(Window(3, pad=1, ceil=True), name="pool5a")(blob)
        fc8 = self.score(blob, train=train)
        onto = labels_under(fc8, image) if self.label_shrink and train else image
        scores = {name: self.side(name, features, onto, train=train) for name in self.sides}
        placed = [self.place(name, blob, onto) for name, blob in (scores | {"fc8": fc8}).items()]
        score = Fuse(name="fc_fusion")(*placed) if self.sides else placed[0]
        return score.maps.astype(jnp.float32)

    def check(self, features: dict[str, Blob]) -> None:
        """Raises UserError for sides that cannot be."""
        if unknown := [side for side in self.sides if side not in features]:
            raise UserError(
                f"unknown model.sides {unknown}; the backbone has {', '.join(features)}"
            )
        if len(set(self.sides)) < len(self.sides):
            raise UserError(f"model.sides={self.sides} must name each of them once")

    def score(self, blob: Blob, *, train: bool) -> Blob:
        """Scores every unit by fc6, fc7 and fc8, or by the sum of several such branches."""
        scores = []
        for number, branch in enumerate(self.branches, start=1):
            suffix = f"_{number}" if len(self.branches) > 1 else ""
            top = fc_layers(
                blob, branch.fc, norm=self.norm, dropout=self.dropout, train=train, suffix=suffix
            )
            scores.append(self.score_conv(f"fc8{suffix}", window=branch.fc8)(top, train=False))
        return Fuse(name="fc8")(*scores) if len(scores) > 1 else scores[0]

    def side(self, name: str, features: dict[str, Blob], onto: Blob, *, train: bool) -> Blob:
        """Scores a map by the layers `<name>_conv` (3x3), `_fc` and `_ms` (1x1), as in MSc.

        The first of them brings the map to the stride of `onto`, unless it is coarser already;
        whatever its stride, the weights are the same. The release sums the scores of all maps; the
        paper says that it stacks their features under one classifier, which is the same but for one
        bias in place of six.
        """
        blob = features[name]
        stride = max(1, int(onto.stride / blob.stride))
        for kind, window in (("conv", same(3, stride=stride)), ("fc", Window(1))):
            layer = Conv(
                self.side_channels,
                window,
                norm=self.norm,
                kernel_init=side_init(name, kind),
                name=f"{name}_{kind}",
            )
            blob = self.drop(layer(blob, train=train), train=train)
        score = Conv(
            self.num_classes,
            Window(1),
            activation=None,
            kernel_init=side_init(name, "ms"),
            name=f"{name}_ms",
        )
        return score(blob, train=False)


def labels_under(score: Blob, image: Blob) -> Blob:
    """Takes the pixels at the centres of a score map's units, or half a pixel after the centres."""
    first, stride = math.ceil(score.start % score.stride), int(score.stride)
    pixels = image.maps[:, first::stride, first::stride]
    return image.then(geometry.Crop(first), pixels).then(Window(1, stride), pixels)


def side_init(name: str, kind: str) -> nn.initializers.Initializer:
    """Returns how the release initialises a layer of a side branch."""
    return nn.initializers.normal(RELEASED_SIDE_STD.get(f"{name}_{kind}", SIDE_STD[kind]))
