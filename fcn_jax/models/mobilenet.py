"""MobileNetV2, convolutional up to bottleneck17 or to the 1x1 convolution after it.

Source: Sandler et al. 2018, Tables 1 and 2; padding and preprocessing of torchvision's
mobilenetv2.py.
"""

from collections.abc import Callable
from dataclasses import KW_ONLY
from typing import ClassVar

import flax.linen as nn
from jaxtyping import Array, Num

from fcn_jax.errors import UserError
from fcn_jax.models.layers import Blob, Conv, Fuse, NormSpec, run_stage
from fcn_jax.models.preprocess import TORCHVISION, Preprocess
from fcn_jax.ops.geometry import Window, hole_algorithm, same
from fcn_jax.ops.papers import MOBILENETV2_STAGES as STAGES
from fcn_jax.ops.papers import MOBILENETV2_STRIDES as STRIDES

ACTIVATIONS = {"relu6": nn.relu6, "relu": nn.relu}


def scale_channels(channels: int, width: float) -> int:
    """Multiplies by `width`, to the nearest multiple of 8, but takes away no more than a tenth.

    Multiples of 8 fill vector registers, and are what files of pretrained weights hold.
    """
    scaled = channels * width
    rounded = max(8, int(scaled + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * scaled else rounded + 8


class Bottleneck(nn.Module):
    """Expands the channels, filters each by itself, and projects them without an activation.

    Attributes:
        expansion: Factor of the 1x1 convolution `expand`; None leaves it out.
        channels: Channels of the output.
        window: Window of the depthwise convolution.
        residual: Whether the input is added to the output.
        norm: Normalisation of every layer.
        activation: Activation after `expand` and after the depthwise convolution.
    """

    expansion: int | None
    channels: int
    window: Window
    residual: bool
    norm: NormSpec | None
    activation: Callable[[Array], Array] = nn.relu6

    @nn.compact
    def __call__(self, blob: Blob, *, train: bool) -> Blob:
        branch, hidden = blob, blob.maps.shape[-1]
        if self.expansion is not None:
            hidden *= self.expansion
            layer = Conv(
                hidden, Window(1), norm=self.norm, activation=self.activation, name="expand"
            )
            branch = layer(branch, train=train)
        branch = Conv(
            hidden,
            self.window,
            groups=hidden,
            norm=self.norm,
            activation=self.activation,
            name="depthwise",
        )(branch, train=train)
        layer = Conv(self.channels, Window(1), norm=self.norm, activation=None, name="project")
        branch = layer(branch, train=train)
        return Fuse(name="fuse")(branch, blob) if self.residual else branch


class MobileNetV2(nn.Module):
    """Maps images to features: the image as `["data"]`, then the last bottleneck at each stride,
    `["bottleneck1"]`, 3, 6 and 13 at strides 2 to 16 in the paper's network, and last
    `["conv_last"]`, or `["bottleneck17"]` where there is none, at 32.

    Unit i of every map is centred on pixel i * stride.

    `zoo.common_options` explains width (here channels go by `scale_channels`), norm, preprocess,
    dtype and remat.

    Attributes:
        output_stride: Stride of the last feature; see `hole_algorithm`.
        ceil: Whether strided layers round up, so that the last unit lies on or beyond the last
            pixel. torchvision's round down, which makes no difference where the size is 32 k + 1.
        conv_last: Whether the 1x1 convolution to 1280 channels ends the network; a width below 1
            leaves it as it is (Sec. 6.1), and a DeepLab head stands on the layer before (Sec. 6.3).
        first_expand: Whether bottleneck1 has a 1x1 convolution too, with factor 1. The paper and
            torchvision leave it out; some files of pretrained weights hold it.
        strides: Stride of the first bottleneck of each of the seven stages, three of them 2: the
            paper's, or those of the network that the weights were trained in. Some files of
            pretrained weights have the fourth stride on the fifth stage: (1, 2, 2, 1, 2, 2, 1).
        activation: Activation of every layer that has one: `relu6` as in the paper, or `relu` as in
            the network that the weights were trained in.
    """

    # Options that the weights were trained with, and that their shapes do not all show.
    WEIGHT_OPTIONS: ClassVar[tuple[str, ...]] = ("first_expand", "strides", "activation")
    weights_name: ClassVar[str] = "mobilenetv2"

    width: float = 1.0
    norm: NormSpec | None = NormSpec()
    preprocess: Preprocess = TORCHVISION
    dtype: str = "float32"
    remat: bool = False
    output_stride: int = 32
    ceil: bool = False
    conv_last: bool = True
    _: KW_ONLY
    first_expand: bool = False
    strides: tuple[int, ...] = STRIDES
    activation: str = "relu6"

    @nn.compact
    def __call__(self, images: Num[Array, "b h w 3"], *, train: bool) -> dict[str, Blob]:
        activation = self.check()
        first, *holes = hole_algorithm((2, *self.strides), self.output_stride)
        blob = Blob(self.preprocess(images, self.dtype))
        features = {"data": blob}
        blob = Conv(
            scale_channels(32, self.width),
            same(3, stride=first.stride, rate=first.rate, ceil=self.ceil),
            norm=self.norm,
            activation=activation,
            name="conv0",
        )(blob, train=train)
        number = 0
        # The stages before a stride: their last maps are the deepest at theirs.
        taps = [bool(after > 1) for after in (*self.strides[1:], 1)]
        stages = zip(STAGES, self.strides, holes, taps, strict=True)
        for (expansion, channels, repeats), stride, hole, is_tap in stages:
            channels = scale_channels(channels, self.width)
            window = same(3, stride=hole.stride, rate=hole.rate, ceil=self.ceil)
            for index in range(repeats):
                number += 1
                bottleneck = Bottleneck(
                    expansion=expansion if number > 1 or self.first_expand else None,
                    channels=channels,
                    window=same(3, rate=hole.rate_after) if index else window,
                    # By the stride of the table: one that was removed does not make it a sum.
                    residual=(index > 0 or stride == 1) and blob.maps.shape[-1] == channels,
                    norm=self.norm,
                    activation=activation,
                    name=f"bottleneck{number}",
                )
                blob = run_stage(
                    Bottleneck.__call__, bottleneck, blob, train=train, remat=self.remat
                )
            if is_tap:
                features[f"bottleneck{number}"] = blob
        last = f"bottleneck{number}"
        if self.conv_last:
            last = "conv_last"
            blob = Conv(
                scale_channels(1280, max(1.0, self.width)),
                Window(1),
                norm=self.norm,
                activation=activation,
                name=last,
            )(blob, train=train)
        features[last] = blob
        return features

    def check(self) -> Callable[[Array], Array]:
        """Returns the activation; raises UserError for attributes that cannot be."""
        if self.activation not in ACTIVATIONS:
            known = ", ".join(ACTIVATIONS)
            raise UserError(f"unknown model.activation {self.activation!r}; known: {known}")
        if len(self.strides) != len(STAGES) or sorted(self.strides) != sorted(STRIDES):
            raise UserError(
                f"model.strides={self.strides} must place three strides of 2 on the {len(STAGES)} "
                f"stages; the paper has {STRIDES}"
            )
        return ACTIVATIONS[self.activation]
