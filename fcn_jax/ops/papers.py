"""Tables of the papers that the networks and the readers of their weights have in common."""

from typing import Any

from fcn_jax.errors import UserError

# Configuration D: (convolutions, channels) of conv1 to conv5. Simonyan and Zisserman 2015, Table 1.
VGG16_STAGES = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))

# Blocks of layer1 to layer4, by depth. He et al. 2016, Table 1.
RESNET_BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
# Depths whose blocks are bottlenecks: 1x1, 3x3 and 1x1, the last with four times the channels.
RESNET_BOTTLENECKS = (50, 101)

# (expansion, channels, bottlenecks) of each stage. Sandler et al. 2018, Table 2.
MOBILENETV2_STAGES = (
    (1, 16, 1),
    (6, 24, 2),
    (6, 32, 3),
    (6, 64, 4),
    (6, 96, 3),
    (6, 160, 3),
    (6, 320, 1),
)
# Stride of the first bottleneck of each stage, in the same table.
MOBILENETV2_STRIDES = (1, 2, 2, 2, 1, 2, 1)

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
