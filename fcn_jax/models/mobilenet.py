"""MobileNetV2, convolutional up to bottleneck17 or to the 1x1 convolution after it.

Source: Sandler et al. 2018, Tables 1 and 2; padding and preprocessing of torchvision's mobilenetv2.py.
"""

import flax.linen as nn
from jaxtyping import Array, Num

from fcn_jax.models.layers import BatchNorm, Blob, Conv, Fuse, run_stage
from fcn_jax.models.preprocess import TORCHVISION, Preprocess
from fcn_jax.ops.geometry import Window, hole_algorithm, same

# (expansion, channels, bottlenecks, stride of the first of them).
STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
# The last bottlenecks at the strides 2, 4, 8 and 16.
TAPS = ("bottleneck1", "bottleneck3", "bottleneck6", "bottleneck13")


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
        expansion: None leaves the 1x1 convolution `expand` out.
        window: of the depthwise convolution.
        residual: whether what came in is added.
    """

    expansion: int | None
    channels: int
    window: Window
    residual: bool
    norm: BatchNorm | None

    @nn.compact
    def __call__(self, blob: Blob, *, train: bool) -> Blob:
        branch, hidden = blob, blob.maps.shape[-1]
        if self.expansion is not None:
            hidden *= self.expansion
            layer = Conv(hidden, Window(1), norm=self.norm, activation=nn.relu6, name="expand")
            branch = layer(branch, train=train)
        branch = Conv(
            hidden,
            self.window,
            groups=hidden,
            norm=self.norm,
            activation=nn.relu6,
            name="depthwise",
        )(branch, train=train)
        layer = Conv(self.channels, Window(1), norm=self.norm, activation=None, name="project")
        branch = layer(branch, train=train)
        return Fuse(name="fuse")(branch, blob) if self.residual else branch


class MobileNetV2(nn.Module):
    """Maps images to features: the image as `["data"]`, then `["bottleneck1"]`, 3, 6 and 13 at
    strides 2 to 16, and last `["conv_last"]`, or `["bottleneck17"]` where there is none, at 32.

    Unit i of every map is centred on pixel i * stride.

    Attributes:
        width: multiplies the channels; see `scale_channels`. 1.0 is the real network.
        output_stride: of the last feature; see `hole_algorithm`.
        conv_last: whether the 1x1 convolution to 1280 channels ends the network; a width below 1
            leaves it as it is (Sec. 6.1), and a DeepLab head stands on what comes before (Sec. 6.3).
        first_expand: whether bottleneck1 has a 1x1 convolution too, with factor 1. The paper and
            torchvision leave it out; some files of pretrained weights hold it.
        ceil: whether strided layers round up, so that the last unit lies on or beyond the last
            pixel. torchvision's round down; where the size is 32 k + 1 it is the same.
        dtype: of the computation; parameters stay float32.
        remat: whether the gradient computes the maps inside a bottleneck again; see `run_stage`.
    """

    width: float = 1.0
    norm: BatchNorm | None = BatchNorm()
    output_stride: int = 32
    conv_last: bool = True
    first_expand: bool = False
    ceil: bool = False
    preprocess: Preprocess = TORCHVISION
    dtype: str = "float32"
    remat: bool = False

    @nn.compact
    def __call__(self, images: Num[Array, "b h w 3"], *, train: bool) -> dict[str, Blob]:
        first, *holes = hole_algorithm((2, *(stride for *_, stride in STAGES)), self.output_stride)
        blob = Blob(self.preprocess(images, self.dtype))
        features = {"data": blob}
        blob = Conv(
            scale_channels(32, self.width),
            same(3, stride=first.stride, rate=first.rate, ceil=self.ceil),
            norm=self.norm,
            activation=nn.relu6,
            name="conv0",
        )(blob, train=train)
        number = 0
        for (expansion, channels, repeats, stride), hole in zip(STAGES, holes, strict=True):
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
                    name=f"bottleneck{number}",
                )
                blob = run_stage(
                    Bottleneck.__call__, bottleneck, blob, train=train, remat=self.remat
                )
                if bottleneck.name in TAPS:
                    features[bottleneck.name] = blob
        last = f"bottleneck{number}"
        if self.conv_last:
            last = "conv_last"
            blob = Conv(
                scale_channels(1280, max(1.0, self.width)),
                Window(1),
                norm=self.norm,
                activation=nn.relu6,
                name=last,
            )(blob, train=train)
        features[last] = blob
        return features
