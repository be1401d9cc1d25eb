"""ResNet-18, 34, 50 and 101, convolutional up to layer4.

Source: He et al. 2016, Table 1; names, padding and preprocessing of torchvision's resnet.py, whose
bottlenecks have their stride on the 3x3 convolution ("v1.5").
"""

from dataclasses import KW_ONLY
from typing import ClassVar

import flax.linen as nn
from jaxtyping import Array, Int, Num

from fcn_jax.errors import UserError
from fcn_jax.models.blob import Blob
from fcn_jax.models.layers import Conv, Fuse, MaxPool, NormSpec, run_stage
from fcn_jax.models.preprocess import TORCHVISION, Preprocess
from fcn_jax.ops.geometry import Window, hole_algorithm, same
from fcn_jax.ops.papers import RESNET_BLOCKS, RESNET_BOTTLENECKS

# Strides of conv1, its pool, and layer1 to layer4.
STRIDES = (2, 2, 1, 2, 2, 2)


class Block(nn.Module):
    """Adds what two 3x3 convolutions make of a blob to the blob; in a bottleneck, 1x1, 3x3, 1x1.

    Where the blob has other channels than the sum, it is projected by the convolution `downsample`.

    Attributes:
        channels: Channels of the 3x3 convolutions; the sum of a bottleneck has four times as many.
        bottleneck: Whether 1x1 convolutions stand before and after a single 3x3.
        window: Window of the 3x3 convolution that has the stride.
        rate: Rate of the other 3x3 convolution.
        norm: Normalisation of every layer.
    """

    channels: int
    bottleneck: bool
    window: Window
    rate: int
    norm: NormSpec | None

    @nn.compact
    def __call__(self, blob: Blob, *, train: bool) -> Blob:
        if self.bottleneck:
            channels = 4 * self.channels
            convs = [
                (self.channels, Window(1)),
                (self.channels, self.window),
                (channels, Window(1)),
            ]
        else:
            channels = self.channels
            convs = [(channels, self.window), (channels, same(3, rate=self.rate))]
        branch = blob
        for number, (features, window) in enumerate(convs, start=1):
            layer = Conv(
                features,
                window,
                norm=self.norm,
                activation=nn.relu if number < len(convs) else None,
                name=f"conv{number}",
            )
            branch = layer(branch, train=train)
        if blob.maps.shape[-1] != channels:
            window = Window(1, self.window.stride, ceil=self.window.ceil)
            layer = Conv(channels, window, norm=self.norm, activation=None, name="downsample")
            blob = layer(blob, train=train)
        fused = Fuse(name="fuse")(branch, blob)
        return fused.replace(maps=nn.relu(fused.maps))


class ResNet(nn.Module):
    """Maps images to `features["layer1"]` ... `features["layer4"]`, and the image as `["data"]`.

    Unit i of every map is centred on pixel i * stride.

    `zoo.common_options` explains width, norm, preprocess, dtype and remat.

    Attributes:
        output_stride: Stride of layer4; see `hole_algorithm`.
        ceil: Whether strided layers round up, so that the last unit lies on or beyond the last
            pixel. torchvision's round down, which makes no difference where the size is 32 k + 1.
        depth: Number of layers that have weights, as in the paper: 18, 34, 50 or 101.
        multi_grid: Factors of the rates of layer4's blocks, one for each: (1, 2, 4) in DeepLab v3
            (Chen et al. 2017, Sec. 3.2.1); empty for none.
    """

    WEIGHT_OPTIONS: ClassVar[tuple[str, ...]] = ()

    width: float = 1.0
    norm: NormSpec | None = NormSpec()
    preprocess: Preprocess = TORCHVISION
    dtype: str = "float32"
    remat: bool = False
    output_stride: int = 32
    ceil: bool = False
    _: KW_ONLY
    depth: int = 18
    multi_grid: tuple[int, ...] = ()

    @property
    def weights_name(self) -> str:
        """The name under which `weights` knows this backbone."""
        return f"resnet{self.depth}"

    @nn.compact
    def __call__(
        self, images: Num[Array, "b h w 3"], *, train: bool, sizes: Int[Array, "b 2"] | None = None
    ) -> dict[str, Blob]:
        if self.depth not in RESNET_BLOCKS:
            known = ", ".join(map(str, RESNET_BLOCKS))
            raise UserError(f"unknown depth={self.depth} of a ResNet; known: {known}")
        holes = hole_algorithm(STRIDES, self.output_stride)
        conv1, maxpool = (
            same(kernel, stride=hole.stride, rate=hole.rate, ceil=self.ceil)
            for kernel, hole in zip((7, 3), holes[:2], strict=True)
        )
        blob = Blob.of_images(self.preprocess(images, self.dtype), sizes=sizes)
        features = {"data": blob}
        layer = Conv(round(64 * self.width), conv1, norm=self.norm, name="conv1")
        blob = MaxPool(maxpool, name="maxpool")(layer(blob, train=train))
        for stage, (blocks, hole) in enumerate(
            zip(RESNET_BLOCKS[self.depth], holes[2:], strict=True), start=1
        ):
            grid = (1,) * blocks
            if stage == 4 and self.multi_grid:
                grid = self.multi_grid
                if len(grid) != blocks or min(grid) < 1:
                    raise UserError(f"model.multi_grid={grid} must be {blocks} rates, 1 or more")
            for index, factor in enumerate(grid):
                rate = hole.rate_after * factor
                strided = same(3, stride=hole.stride, rate=hole.rate * factor, ceil=self.ceil)
                block = Block(
                    channels=round(64 * 2 ** (stage - 1) * self.width),
                    bottleneck=self.depth in RESNET_BOTTLENECKS,
                    window=same(3, rate=rate) if index else strided,
                    rate=rate,
                    norm=self.norm,
                    name=f"layer{stage}_{index}",
                )
                blob = run_stage(Block.__call__, block, blob, train=train, remat=self.remat)
            features[f"layer{stage}"] = blob
        return features
