"""MobileNetV2, convolutional up to bottleneck17 or to the 1x1 convolution after it.

Source: Sandler et al. 2018, Tables 1 and 2; padding and preprocessing of torchvision's mobilenetv2.py.
"""

from collections.abc import Callable

import flax.linen as nn
from jaxtyping import Array, Num

from fcn_jax.errors import UserError
from fcn_jax.models.layers import BatchNorm, Blob, Conv, Fuse, run_stage
from fcn_jax.models.preprocess import TORCHVISION, Preprocess
from fcn_jax.ops.geometry import Window, hole_algorithm, same

# (expansion, channels, bottlenecks) of each stage.
STAGES = (
    (1, 16, 1),
    (6, 24, 2),
    (6, 32, 3),
    (6, 64, 4),
    (6, 96, 3),
    (6, 160, 3),
    (6, 320, 1),
)
STRIDES = (1, 2, 2, 2, 1, 2, 1)  # of the first bottleneck of each stage, in the paper's Table 2
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
        expansion: None leaves the 1x1 convolution `expand` out.
        window: of the depthwise convolution.
        residual: whether what came in is added.
    """

    expansion: int | None
    channels: int
    window: Window
    residual: bool
    norm: BatchNorm | None
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

    Attributes:
        width: multiplies the channels; see `scale_channels`. 1.0 is the real network.
        output_stride: of the last feature; see `hole_algorithm`.
        conv_last: whether the 1x1 convolution to 1280 channels ends the network; a width below 1
            leaves it as it is (Sec. 6.1), and a DeepLab head stands on what comes before (Sec. 6.3).
        first_expand: whether bottleneck1 has a 1x1 convolution too, with factor 1. The paper and
            torchvision leave it out; some files of pretrained weights hold it.
        strides: stride of the first bottleneck of each of the seven stages: the paper's, or those
            of the network that the weights were trained in. Some files of pretrained weights have
            the fourth stride on the fifth stage: (1, 2, 2, 1, 2, 2, 1).
        activation: `relu6` as in the paper, or `relu`, likewise.
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
    strides: tuple[int, ...] = STRIDES
    activation: str = "relu6"
    ceil: bool = False
    preprocess: Preprocess = TORCHVISION
    dtype: str = "float32"
    remat: bool = False

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
        """Returns the activation; raises ValueError for attributes that cannot be."""
        if self.activation not in ACTIVATIONS:
            known = ", ".join(ACTIVATIONS)
            raise UserError(f"unknown model.activation {self.activation!r}; known: {known}")
        if len(self.strides) != len(STAGES) or sorted(self.strides) != sorted(STRIDES):
            raise UserError(
                f"model.strides={self.strides} must place three strides of 2 on the {len(STAGES)} "
                f"stages; the paper has {STRIDES}"
            )
        return ACTIVATIONS[self.activation]
