"""AlexNet, convolutional up to pool5: CaffeNet, or the network of one tower that came after it.

CaffeNet is the AlexNet of two towers (groups) in Caffe's order: pooling before normalisation.

Source: Krizhevsky et al. 2012; voc-fcn-alexnet/net.py in shelhamer/fcn.berkeleyvision.org. One
tower: Krizhevsky 2014, One weird trick for parallelizing convolutional neural networks;
torchvision's alexnet.py.
"""

from dataclasses import KW_ONLY
from functools import partial
from typing import ClassVar

import flax.linen as nn
from jaxtyping import Array, Int, Num

from fcn_jax.models.blob import Blob
from fcn_jax.models.layers import Conv, LocalResponseNorm, MaxPool, NormSpec, run_stage
from fcn_jax.models.preprocess import CAFFE, Preprocess
from fcn_jax.ops.geometry import Window, hole_algorithm

# (channels, groups) of conv1 to conv5.
CAFFENET = ((96, 1), (256, 2), (384, 1), (384, 2), (256, 2))
ONE_TOWER = ((64, 1), (192, 1), (384, 1), (256, 1), (256, 1))

STRIDES = (4, 2, 2, 2)  # of conv1, pool1, pool2 and pool5


class AlexNet(nn.Module):
    """Maps images to `features["pool1"]`, `["pool2"]`, `["pool5"]`, and the image as `["data"]`.

    `zoo.common_options` explains width (here to even numbers of channels), norm, preprocess, dtype
    and remat. The released network has no norm.

    Attributes:
        output_stride: Stride of pool5; see `hole_algorithm`.
        ceil: Whether conv1 rounds up as the pools do, so that the last unit of every map lies on or
            beyond the last pixel.
        pad: Padding of conv1. FCN pads 100, so that every image size leaves fc6 a map; the
            classifier, which knows 227x227 alone, pads none; 5 puts unit i of conv1 on pixel 4 * i.
        pool_pad: Padding of all pools; 1 keeps the units where they are.
        one_tower: Whether the network is torchvision's, whose weights take
            `preprocess="torchvision"`: other channels, no groups, no normalisation across channels.
    """

    WEIGHT_OPTIONS: ClassVar[tuple[str, ...]] = ("one_tower",)
    weights_name: ClassVar[str] = "alexnet"

    width: float = 1.0
    norm: NormSpec | None = None
    preprocess: Preprocess = CAFFE
    dtype: str = "float32"
    remat: bool = False
    output_stride: int = 32
    ceil: bool = False
    pad: int = 100
    pool_pad: int = 0
    _: KW_ONLY
    one_tower: bool = False

    @nn.compact
    def __call__(
        self, images: Num[Array, "b h w 3"], *, train: bool, sizes: Int[Array, "b 2"] | None = None
    ) -> dict[str, Blob]:
        conv1, *pools = hole_algorithm(STRIDES, self.output_stride)
        rate2, rate5 = pools[0].rate_after, pools[1].rate_after
        # The convolutions before each pool.
        stages = {
            "pool1": {"conv1": Window(11, conv1.stride, self.pad, ceil=self.ceil)},
            "pool2": {"conv2": Window(5, pad=2 * rate2, rate=rate2)},
            "pool5": dict.fromkeys(("conv3", "conv4", "conv5"), Window(3, pad=rate5, rate=rate5)),
        }
        blob = Blob.of_images(self.preprocess(images, self.dtype), sizes=sizes)
        features = {"data": blob}
        for (name, convs), hole in zip(stages.items(), pools, strict=True):
            pad = self.pool_pad * hole.rate
            pool = Window(3, stride=hole.stride, pad=pad, rate=hole.rate, ceil=True)
            stage = partial(AlexNet.stage, convs=convs, pool=pool, name=name)
            blob = features[name] = run_stage(stage, self, blob, train=train, remat=self.remat)
            if name != "pool5" and not self.one_tower:
                blob = LocalResponseNorm(name=name.replace("pool", "norm"))(blob)
        return features

    def stage(
        self, blob: Blob, *, convs: dict[str, Window], pool: Window, name: str, train: bool
    ) -> Blob:
        """Runs the convolutions of a stage, and the pool of this name after them."""
        for conv, window in convs.items():
            channels, groups = (ONE_TOWER if self.one_tower else CAFFENET)[int(conv[-1]) - 1]
            features = 2 * round(channels * self.width / 2)
            layer = Conv(features, window, groups=groups, norm=self.norm, name=conv)
            blob = layer(blob, train=train)
        return MaxPool(pool, name=name)(blob)
