"""AlexNet in Caffe's order (CaffeNet: pooling before normalisation), convolutional up to pool5.

Source: Krizhevsky et al. 2012; voc-fcn-alexnet/net.py in shelhamer/fcn.berkeleyvision.org.
"""

from functools import partial

import flax.linen as nn
from jaxtyping import Array, Num

from fcn_jax.models.layers import BatchNorm, Blob, Conv, LocalResponseNorm, MaxPool, run_stage
from fcn_jax.models.preprocess import CAFFE, Preprocess
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
        remat: whether the gradient computes the maps inside a stage again; see `run_stage`.
    """

    width: float = 1.0
    norm: BatchNorm | None = None
    pad: int = 100
    pool_pad: int = 0
    preprocess: Preprocess = CAFFE
    dtype: str = "float32"
    remat: bool = False

    @nn.compact
    def __call__(self, images: Num[Array, "b h w 3"], *, train: bool) -> dict[str, Blob]:
        # Channels, window and groups of the convolutions before each pool.
        stages = {
            "pool1": {"conv1": (96, Window(11, stride=4, pad=self.pad), 1)},
            "pool2": {"conv2": (256, Window(5, pad=2), 2)},
            "pool5": {
                "conv3": (384, Window(3, pad=1), 1),
                "conv4": (384, Window(3, pad=1), 2),
                "conv5": (256, Window(3, pad=1), 2),
            },
        }

        def run(module: nn.Module, blob: Blob, *, train: bool, name: str) -> Blob:
            del module  # the layers find it by themselves
            for conv, (channels, window, groups) in stages[name].items():
                features = 2 * round(channels * self.width / 2)
                layer = Conv(features, window, groups=groups, norm=self.norm, name=conv)
                blob = layer(blob, train=train)
            pool = Window(3, stride=2, pad=self.pool_pad, ceil=True)
            return MaxPool(pool, name=name)(blob)

        blob = Blob(self.preprocess(images, self.dtype))
        features = {"data": blob}
        for name in stages:
            stage = partial(run, name=name)
            blob = features[name] = run_stage(stage, self, blob, train=train, remat=self.remat)
            if name != "pool5":
                blob = LocalResponseNorm(name=name.replace("pool", "norm"))(blob)
        return features
