"""AlexNet, convolutional up to pool5: CaffeNet, or the network of one tower that came after it.

CaffeNet is the AlexNet of two towers (groups) in Caffe's order: pooling before normalisation.

Source: Krizhevsky et al. 2012; voc-fcn-alexnet/net.py in shelhamer/fcn.berkeleyvision.org. One tower:
Krizhevsky 2014, One weird trick for parallelizing convolutional neural networks; torchvision's
alexnet.py.
"""

from functools import partial

import flax.linen as nn
from jaxtyping import Array, Num

from fcn_jax.models.layers import BatchNorm, Blob, Conv, LocalResponseNorm, MaxPool, run_stage
from fcn_jax.models.preprocess import CAFFE, Preprocess
from fcn_jax.ops.geometry import Window

# (channels, groups) of conv1 to conv5.
CAFFENET = ((96, 1), (256, 2), (384, 1), (384, 2), (256, 2))
ONE_TOWER = ((64, 1), (192, 1), (384, 1), (256, 1), (256, 1))


class AlexNet(nn.Module):
    """Maps images to `features["pool1"]`, `["pool2"]`, `["pool5"]`, and the image as `["data"]`.

    Attributes:
        width: multiplies the channels of every layer, to even numbers; 1.0 is the real network.
        norm: None is the released network.
        one_tower: torchvision's network: other channels, no groups, no normalisation across channels.
        pad: of conv1. FCN pads 100, so that every image size leaves fc6 a map; the classifier,
            which knows 227x227 alone, pads none; 5 puts unit i of conv1 on pixel 4 * i.
        pool_pad: of all pools; 1 keeps the units where they are.
        dtype: of the computation; parameters stay float32.
        remat: whether the gradient computes the maps inside a stage again; see `run_stage`.
    """

    width: float = 1.0
    norm: BatchNorm | None = None
    one_tower: bool = False
    pad: int = 100
    pool_pad: int = 0
    preprocess: Preprocess = CAFFE
    dtype: str = "float32"
    remat: bool = False

    @nn.compact
    def __call__(self, images: Num[Array, "b h w 3"], *, train: bool) -> dict[str, Blob]:
        # The convolutions before each pool.
        stages = {
            "pool1": {"conv1": Window(11, stride=4, pad=self.pad)},
            "pool2": {"conv2": Window(5, pad=2)},
            "pool5": dict.fromkeys(("conv3", "conv4", "conv5"), Window(3, pad=1)),
        }
        convs = [conv for stage in stages.values() for conv in stage]
        sizes = dict(zip(convs, ONE_TOWER if self.one_tower else CAFFENET, strict=True))

        def run(module: nn.Module, blob: Blob, *, train: bool, name: str) -> Blob:
            del module  # the layers find it by themselves
            for conv, window in stages[name].items():
                channels, groups = sizes[conv]
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
            if name != "pool5" and not self.one_tower:
                blob = LocalResponseNorm(name=name.replace("pool", "norm"))(blob)
        return features
