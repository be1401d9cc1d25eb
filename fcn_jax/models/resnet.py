"""ResNet-18, 34, 50 and 101, convolutional up to layer4.

Source: He et al. 2016, Table 1; names, padding and preprocessing of torchvision's resnet.py, whose
bottlenecks have their stride on the 3x3 convolution ("v1.5"); the paper's and Caffe's have it on
the first 1x1.
"""

from dataclasses import KW_ONLY
from typing import ClassVar

import flax.linen as nn
from jaxtyping import Array, Int, Num

from fcn_jax.errors import UserError
from fcn_jax.models.blob import Blob
from fcn_jax.models.layers import Conv, Fuse, MaxPool, NormSpec, run_stage
from fcn_jax.models.preprocess import TORCHVISION, Preprocess
from fcn_jax.ops.geometry import Hole, Window, hole_algorithm, same
from fcn_jax.ops.papers import RESNET_BLOCKS, RESNET_BOTTLENECKS

# Strides of conv1, its pool, and layer1 to layer4.
STRIDES = (2, 2, 1, 2, 2, 2)


class Block(nn.Module):
    """Adds what two 3x3 convolutions make of a blob to the blob; in a bottleneck, 1x1, 3x3, 1x1.

    Where the blob has other channels than the sum, it is projected by the convolution `downsample`.

    Attributes:
        channels: Channels of the convolutions but for the last; that of a bottleneck, which has
            three, has four times as many.
        windows: Windows of the convolutions, at most one of which has a stride.
        norm: Normalisation of every layer.
    """

    channels: int
    windows: tuple[Window, ...]
    norm: NormSpec | None

    @nn.compact
    def __call__(self, blob: Blob, *, train: bool) -> Blob:
        last = len(self.windows)
        channels = 4 * self.channels if last == 3 else self.channels
        branch = blob
        for number, window in enumerate(self.windows, start=1):
            layer = Conv(
                channels if number == last else self.channels,
                window,
                norm=self.norm,
                activation=None if number == last else nn.relu,
                name=f"conv{number}",
            )
            branch = layer(branch, train=train)
        if blob.maps.shape[-1] != channels:
            strided = max(self.windows, key=lambda window: window.stride)
            window = Window(1, strided.stride, ceil=strided.ceil)
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
        stride_in_1x1: Whether a bottleneck has its stride on the first 1x1 convolution, as the
            paper's and Caffe's, and not on the 3x3, as torchvision's: as in the network that the
            weights were trained in.
    """

    WEIGHT_OPTIONS: ClassVar[tuple[str, ...]] = ("stride_in_1x1",)

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
    stride_in_1x1: bool = False

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
        if self.stride_in_1x1 and self.depth not in RESNET_BOTTLENECKS:
            raise UserError(
                f"model.stride_in_1x1 is of bottlenecks, and a ResNet-{self.depth} has none; leave "
                "it out"
            )
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
                block = Block(
                    channels=round(64 * 2 ** (stage - 1) * self.width),
                    windows=self.windows(hole, factor, is_first=index == 0),
                    norm=self.norm,
                    name=f"layer{stage}_{index}",
                )
                blob = run_stage(Block.__call__, block, blob, train=train, remat=self.remat)
            features[f"layer{stage}"] = blob
        return features

    def windows(self, hole: Hole, factor: int, *, is_first: bool) -> tuple[Window, ...]:
        """Returns the windows of a block's convolutions.

        Args:
            hole: What the hole algorithm leaves of the stage's stride.
            factor: Factor of the block's rates.
            is_first: Whether the block is the first of its stage, which has the stride.
        """
        stride, rate, ceil = 1, hole.rate_after, False
        if is_first:
            stride, rate, ceil = hole.stride, hole.rate, self.ceil
        after = same(3, rate=hole.rate_after * factor)
        strided = same(3, stride=stride, rate=rate * factor, ceil=ceil)
        if self.depth not in RESNET_BOTTLENECKS:
            return strided, after
        if self.stride_in_1x1:
            return Window(1, stride, ceil=ceil), after, Window(1)
        return Window(1), strided, Window(1)
