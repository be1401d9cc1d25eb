"""A network of four layers: what is done with networks in general compiles soonest with it."""

from collections.abc import Callable
from functools import partial
from typing import ClassVar

import flax.linen as nn

from fcn_jax.models.atrous_head import AtrousHead
from fcn_jax.models.blob import Blob
from fcn_jax.models.deeplab import DeepLab
from fcn_jax.models.deeplab_v3 import DeepLabV3
from fcn_jax.models.fcn import FCN
from fcn_jax.models.layers import Conv, NormSpec
from fcn_jax.models.networks import Network
from fcn_jax.models.preprocess import CAFFE, Preprocess
from fcn_jax.ops.geometry import same


class Tiny(nn.Module):
    """Maps images to `features["conv1"]` and `["conv2"]`, at strides 2 and 4, and to `["data"]`."""

    WEIGHT_OPTIONS: ClassVar = ()
    weights_name: ClassVar = "tiny"

    width: float = 1.0
    norm: NormSpec | None = NormSpec()
    preprocess: Preprocess = CAFFE
    dtype: str = "float32"
    remat: bool = False

    @nn.compact
    def __call__(self, images, *, train: bool, sizes=None) -> dict[str, Blob]:
        blob = Blob.of_images(self.preprocess(images, self.dtype), sizes=sizes)
        features = {"data": blob}
        for name, channels in (("conv1", 6), ("conv2", 12)):
            layer = Conv(round(channels * self.width), same(3, stride=2), norm=self.norm, name=name)
            blob = features[name] = layer(blob, train=train)
        return features


def tiny_fcn(
    backbone: Callable[..., nn.Module],
    head: Callable[..., FCN],
    axis_name: str | None,
    *,
    fc_channels: int = 8,
    dropout: float = 0.5,
) -> FCN:
    """Scores what fc6 makes of the features.

    Args:
        fc_channels: Channels of fc6.
        dropout: Fraction of the values that training drops after fc6.
    """
    del axis_name  # the backbone's norm has it
    made = backbone()
    return head(backbone=made, fc=((same(3), fc_channels),), norm=made.norm, dropout=dropout)


def tiny_deeplab(
    backbone: Callable[..., nn.Module], head: Callable[..., AtrousHead], axis_name: str | None
) -> AtrousHead:
    """Puts a head of DeepLab's on the features, without dropout, for images of any size."""
    del axis_name  # the backbone's norm has it
    return head(backbone=backbone(), dropout=0.0, upsampling="half_pixel")


TINY = Network(Tiny, FCN, tiny_fcn)
TINY_V3 = Network(Tiny, partial(DeepLabV3, rates=(2,), channels=8), tiny_deeplab)
TINY_WITH_AUX = Network(Tiny, partial(DeepLab, pool5a=False, aux="conv1"), tiny_deeplab)
