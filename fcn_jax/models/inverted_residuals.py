"""What backbones of inverted residuals have in common: bottlenecks, and how they follow each other.

Source: Sandler et al. 2018, Sec. 3.3 and Table 1.
"""

from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY

import flax.linen as nn
from jaxtyping import Array, Int, Num

from fcn_jax.models.blob import Blob
from fcn_jax.models.layers import Conv, Fill, Fuse, NormSpec, run_stage
from fcn_jax.models.preprocess import TORCHVISION, Preprocess
from fcn_jax.ops.geometry import Hole, Window, hole_algorithm, one_sided, same
from fcn_jax.ops.papers import Stage, scale_channels


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


class InvertedResiduals(nn.Module):
    """A 3x3 convolution of stride 2, stages of bottlenecks, and a 1x1 convolution.

    `run` maps images to features: the image as `["data"]`, then the last bottleneck at each stride,
    and last `["conv_last"]`, or the last bottleneck where there is none. Unit i of every map is
    centred on pixel i * stride; with `tf_padding`, on pixel (i + 1) * stride - 1.

    `zoo.common_options` explains width (here channels go by `scale_channels`), norm, preprocess,
    dtype and remat.

    Attributes:
        output_stride: Stride of the last feature; see `hole_algorithm`.
        ceil: Whether strided layers round up, so that the last unit lies on or beyond the last
            pixel. torchvision's round down, which makes no difference where the size is 32 k + 1.
        conv_last: Whether the 1x1 convolution to 1280 channels ends the network; a width below 1
            leaves it as it is (Sec. 6.1), and a DeepLab head stands on the layer before (Sec. 6.3).
        tf_padding: Whether strided layers are padded as TensorFlow pads even sizes, a pixel less
            before than behind, as weights of TensorFlow saw images of 224 pixels. Images are filled
            up behind, to multiples of the output stride.
    """

    width: float = 1.0
    norm: NormSpec | None = NormSpec()
    preprocess: Preprocess = TORCHVISION
    dtype: str = "float32"
    remat: bool = False
    output_stride: int = 32
    ceil: bool = False
    conv_last: bool = True
    _: KW_ONLY
    tf_padding: bool = False

    def run(
        self,
        images: Num[Array, "b h w 3"],
        stages: Sequence[Stage],
        *,
        strides: Sequence[int],
        activation: Callable[[Array], Array] = nn.relu6,
        first_expand: bool = False,
        train: bool,
        sizes: Int[Array, "b 2"] | None = None,
    ) -> dict[str, Blob]:
        """Runs the layers; called inside the compact method of a backbone.

        Args:
            images: RGB in 0..255.
            stages: Stages of the network of width 1.
            strides: Stride of the first bottleneck of each stage.
            activation: Activation of every layer that has one.
            first_expand: Whether the first bottleneck has a 1x1 convolution `expand` too.
            train: Whether batch norm, where there is some, measures the batch.
            sizes: Height and width of each image without padding; see `Blob.of_images`.
        """
        first, *holes = hole_algorithm((2, *strides), self.output_stride)
        blob = Blob.of_images(self.preprocess(images, self.dtype), sizes=sizes)
        features = {"data": blob}
        if self.tf_padding:
            blob = Fill(self.output_stride, name="fill")(blob)
        blob = Conv(
            scale_channels(32, self.width),
            self.window(3, first),
            norm=self.norm,
            activation=activation,
            name="conv0",
        )(blob, train=train)
        number = 0
        # The stages before a stride: their last maps are the deepest at theirs.
        taps = [bool(after > 1) for after in (*strides[1:], 1)]
        for stage, stride, hole, is_tap in zip(stages, strides, holes, taps, strict=True):
            channels = scale_channels(stage.channels, self.width)
            window = self.window(stage.kernel, hole)
            for index in range(stage.repeats):
                number += 1
                bottleneck = Bottleneck(
                    expansion=stage.expansion if number > 1 or first_expand else None,
                    channels=channels,
                    window=same(stage.kernel, rate=hole.rate_after) if index else window,
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

    def window(self, kernel: int, hole: Hole) -> Window:
        """Returns the window of a layer that the table gives a stride."""
        if self.tf_padding and hole.stride > 1:
            return one_sided(kernel, stride=hole.stride)
        return same(kernel, stride=hole.stride, rate=hole.rate, ceil=self.ceil)
