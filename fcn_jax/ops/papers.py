"""Tables of the papers that the networks and the readers of their weights have in common."""

import math
from typing import Any, NamedTuple

from fcn_jax.errors import UserError

# Configuration D: (convolutions, channels) of conv1 to conv5. Simonyan and Zisserman 2015, Table 1.
VGG16_STAGES = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))

# Blocks of layer1 to layer4, by depth. He et al. 2016, Table 1.
RESNET_BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
# Depths whose blocks are bottlenecks: 1x1, 3x3 and 1x1, the last with four times the channels.
RESNET_BOTTLENECKS = (50, 101)


class Stage(NamedTuple):
    """Bottlenecks in a row, of which only the first may have a stride.

    Attributes:
        expansion: Factor of the channels inside.
        channels: Channels that come out.
        repeats: Number of bottlenecks.
        kernel: Size of the depthwise convolution.
    """

    expansion: int
    channels: int
    repeats: int
    kernel: int = 3


# Sandler et al. 2018, Table 2.
MOBILENETV2_STAGES = (
    Stage(1, 16, 1),
    Stage(6, 24, 2),
    Stage(6, 32, 3),
    Stage(6, 64, 4),
    Stage(6, 96, 3),
    Stage(6, 160, 3),
    Stage(6, 320, 1),
)
# Stride of the first bottleneck of each stage, in the same table.
MOBILENETV2_STRIDES = (1, 2, 2, 2, 1, 2, 1)

# EfficientNet-B0 without its squeeze-and-excitation. Tan and Le 2019, Table 1.
EFFICIENTNET_STAGES = (
    Stage(1, 16, 1),
    Stage(6, 24, 2),
    Stage(6, 40, 2, kernel=5),
    Stage(6, 80, 3),
    Stage(6, 112, 3, kernel=5),
    Stage(6, 192, 4, kernel=5),
    Stage(6, 320, 1),
)
# Stride of the first bottleneck of each stage, in the same table.
EFFICIENTNET_STRIDES = (1, 2, 2, 2, 1, 2, 1)
# Factors of the channels and of the repeats of Lite0, Lite1 and Lite2: efficientnet_lite_builder.py
# of tensorflow/tpu.
EFFICIENTNET_LITE_FACTORS = {0: (1.0, 1.0), 1: (1.0, 1.1), 2: (1.1, 1.2)}


def scale_channels(channels: int, width: float) -> int:
    """Multiplies by `width`, to the nearest multiple of 8, but takes away no more than a tenth.

    Multiples of 8 fill vector registers, and are what files of pretrained weights hold.
    """
    scaled = channels * width
    rounded = max(8, int(scaled + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * scaled else rounded + 8


def scale_efficientnet_lite(variant: int) -> tuple[Stage, ...]:
    """Returns the stages of an EfficientNet-Lite; the first and the last are repeated as in Lite0.

    Args:
        variant: Key of `EFFICIENTNET_LITE_FACTORS`.
    """
    width, depth = EFFICIENTNET_LITE_FACTORS[variant]
    scaled = [
        stage._replace(
            channels=scale_channels(stage.channels, width),
            repeats=math.ceil(stage.repeats * depth),
        )
        for stage in EFFICIENTNET_STAGES
    ]
    first, *between, last = scaled
    return (first._replace(repeats=1), *between, last._replace(repeats=1))


# What released weights expect of an RGB image in 0..255: (image - mean_rgb) / std_rgb, and then the
# channels in the order BGR if so.
PREPROCESS = {
    # ILSVRC's mean, as every net.py of shelhamer/fcn.berkeleyvision.org writes it; not scaled.
    "caffe": {
        "mean_rgb": (122.67892, 116.66877, 104.00699),
        "std_rgb": (1.0, 1.0, 1.0),
        "bgr": True,
    },
    # ILSVRC's statistics for images in 0..1: the Normalize of torchvision's ImageNet examples.
    "torchvision": {
        "mean_rgb": (0.485 * 255, 0.456 * 255, 0.406 * 255),
        "std_rgb": (0.229 * 255, 0.224 * 255, 0.225 * 255),
        "bgr": False,
    },
    # TensorFlow's, in TF-slim: -1 to 1.
    "tensorflow": {"mean_rgb": (127.5,) * 3, "std_rgb": (127.5,) * 3, "bgr": False},
    # EfficientNet-Lite's: efficientnet_lite_builder.py of tensorflow/tpu.
    "efficientnet_lite": {"mean_rgb": (127.0,) * 3, "std_rgb": (128.0,) * 3, "bgr": False},
}


def make_preprocess(name: str, *, option: str) -> dict[str, Any]:
    """Returns the preparation of this name.

    Args:
        name: One of `PREPROCESS`; or `caffe:R,G,B`, Caffe's with another mean colour, in 0..255.
        option: What the user calls what has this value.
    """
    if name in PREPROCESS:
        return PREPROCESS[name]
    try:
        red, green, blue = map(float, name.removeprefix("caffe:").split(","))
    except ValueError:
        known = ", ".join(PREPROCESS)
        raise UserError(f"unknown {option} {name!r}; known: {known}, caffe:R,G,B") from None
    mean = (red, green, blue)
    if not all(0 <= each <= 255 for each in mean) or 0 < max(mean) <= 1:
        raise UserError(
            f"{option}={name} is no mean colour: red, green, blue in 0..255, not in 0..1"
        )
    return PREPROCESS["caffe"] | {"mean_rgb": mean}
