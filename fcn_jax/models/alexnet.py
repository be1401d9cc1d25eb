"""AlexNet in Caffe's order (CaffeNet: pooling before normalisation), convolutional up to pool5.

Source: Krizhevsky et al. 2012; voc-fcn-alexnet/net.py in shelhamer/fcn.berkeleyvision.org.
"""

import flax.linen as nn
from jaxtyping import Array, Num

from fcn_jax.models.layers import (
    CAFFE,
    BatchNorm,
    Blob,
    Conv,
    LocalResponseNorm,
    MaxPool,
    Preprocess,
)
from fcn_jax.ops.geometry import Window


class AlexNet(nn.Module):
    """Maps images to `features["pool1"]`, `["pool2"]`, `["pool5"]`, and the image as `["data"]`.

    Attributes:
        width: multiplies the channels of every layer, to even numbers; 1.0 is the real network.
        norm: None is the released network.
        pad: of conv1. FCN pads 100, so that every image size leaves fc6 a map; the classifier,
            which knows 227x227 alone, pads none; 5 puts unit i of conv1 on pixel 4 * i.
        pool_pad: of all pools; 1 keeps the units where they are.
        dtype: of the computation; parameters stay float32.
    """

    width: float = 1.0
    norm: BatchNorm | None = None
    pad: int = 100
    pool_pad: int = 0
    preprocess: Preprocess = CAFFE
    dtype: str = "float32"

    @nn.compact
    def __call__(self, images: Num[Array, "b h w 3"], *, train: bool) -> dict[str, Blob]:
        def conv(number: int, channels: int, window: Window, groups: int = 1) -> Blob:
            features = 2 * round(channels * self.width / 2)
            layer = Conv(features, window, groups=groups, norm=self.norm, name=f"conv{number}")
            return layer(blob, train=train)

        pool = Window(3, stride=2, pad=self.pool_pad, ceil=True)
        blob = Blob(self.preprocess(images, self.dtype))
        features = {"data": blob}
        blob = conv(1, 96, Window(11, stride=4, pad=self.pad))
        blob = features["pool1"] = MaxPool(pool, name="pool1")(blob)
        blob = LocalResponseNorm(name="norm1")(blob)
        blob = conv(2, 256, Window(5, pad=2), groups=2)
        blob = features["pool2"] = MaxPool(pool, name="pool2")(blob)
        blob = LocalResponseNorm(name="norm2")(blob)
        blob = conv(3, 384, Window(3, pad=1))
        blob = conv(4, 384, Window(3, pad=1), groups=2)
        blob = conv(5, 256, Window(3, pad=1), groups=2)
        features["pool5"] = MaxPool(pool, name="pool5")(blob)
        return features
