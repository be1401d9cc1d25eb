"""VGG16 (configuration D), convolutional up to pool5.

Source: Simonyan and Zisserman 2015, Table 1; voc-fcn8s/net.py in shelhamer/fcn.berkeleyvision.org
(pad 100, pools that round up); the released DeepLab v1 prototxts (pools with padding, strides
removed).
"""

from collections.abc import Sequence
from functools import partial
from typing import ClassVar

import flax.linen as nn
from jaxtyping import Array, Int, Num

from fcn_jax.models.blob import Blob
from fcn_jax.models.layers import Conv, MaxPool, NormSpec, run_stage
from fcn_jax.models.preprocess import CAFFE, Preprocess
from fcn_jax.ops.geometry import Window
from fcn_jax.ops.papers import VGG16_STAGES

POOL_STRIDES = (2, 2, 2, 2, 2)


def fcn_pools() -> tuple[Window, ...]:
    """Returns the released FCNs' pools: 2x2, stride 2, no padding, rounding up."""
    return (Window(2, stride=2, ceil=True),) * len(VGG16_STAGES)


def noup_pools(strides: Sequence[int], *, pool4_pad: int = 1) -> tuple[Window, ...]:
    """Returns the pools of the first DeepLab (vgg128_noup): 2x2 with padding 1, but pool5 3x3.

    An even window has its centre between two pixels: at output stride 8 unit i lies on pixel
    8 i - 7.5. The release trains without the padding of pool4, which leaves out the unit before the
    image: 8 i + 0.5.
    """
    *first, last = strides
    pads = (1, 1, 1, pool4_pad)
    return (
        *(Window(2, stride, pad, ceil=True) for stride, pad in zip(first, pads, strict=True)),
        Window(3, last, pad=1, ceil=True),
    )


def deeplab_pools(
    strides: Sequence[int], *, rates: Sequence[int] = (1, 1, 1, 1, 1)
) -> tuple[Window, ...]:
    """Returns 3x3 pools with padding 1, as in DeepLab-LargeFOV: they keep unit i on pixel i*stride.

    The released nets never dilate a pool. With `rates` a removed stride is made up for in the pools
    after it too, which makes the hole algorithm exact.
    """
    return tuple(
        Window(3, stride, pad=rate, rate=rate, ceil=True)
        for stride, rate in zip(strides, rates, strict=True)
    )


class VGG16(nn.Module):
    """Maps images to `features["pool1"]` ... `features["pool5"]`, and the image as `["data"]`.

    `zoo.common_options` explains width, norm, preprocess, dtype and remat. The released network has
    no norm; from scratch it does not train without one.

    Attributes:
        pad: Padding of conv1_1. FCN pads 100, so that every image size, even 1x1, leaves fc6 a map.
        pools: Windows of pool1 to pool5.
        train_pools: Windows of the pools in training, where they differ; empty for the same ones.
        rates: Rates of the 3x3 convolutions of conv1 to conv5.
    """

    WEIGHT_OPTIONS: ClassVar[tuple[str, ...]] = ()
    weights_name: ClassVar[str] = "vgg16"

    width: float = 1.0
    norm: NormSpec | None = None
    pad: int = 1
    pools: tuple[Window, ...] = fcn_pools()
    train_pools: tuple[Window, ...] = ()
    rates: tuple[int, ...] = (1, 1, 1, 1, 1)
    preprocess: Preprocess = CAFFE
    dtype: str = "float32"
    remat: bool = False

    @nn.compact
    def __call__(
        self, images: Num[Array, "b h w 3"], *, train: bool, sizes: Int[Array, "b 2"] | None = None
    ) -> dict[str, Blob]:
        pools = self.train_pools if train and self.train_pools else self.pools
        blob = Blob.of_images(self.preprocess(images, self.dtype), sizes=sizes)
        features = {"data": blob}
        stages = zip(VGG16_STAGES, pools, self.rates, strict=True)
        for number, ((convs, channels), pool, rate) in enumerate(stages, start=1):
            stage = partial(
                VGG16.stage, number=number, convs=convs, channels=channels, pool=pool, rate=rate
            )
            blob = run_stage(stage, self, blob, train=train, remat=self.remat)
            features[f"pool{number}"] = blob
        return features

    def stage(
        self,
        blob: Blob,
        *,
        number: int,
        convs: int,
        channels: int,
        pool: Window,
        rate: int,
        train: bool,
    ) -> Blob:
        """Runs the convolutions of a stage, and the pool after them."""
        for index in range(1, convs + 1):
            pad = self.pad if number == index == 1 else rate
            layer = Conv(
                round(channels * self.width),
                Window(3, pad=pad, rate=rate),
                norm=self.norm,
                name=f"conv{number}_{index}",
            )
            blob = layer(blob, train=train)
        return MaxPool(pool, name=f"pool{number}")(blob)
