"""Scores of finer maps beside the deepest: the side branches of DeepLab-MSc.

The release sums the branches' scores; the paper says that it stacks their features under one
classifier, which is the same but for one bias in place of six.

Source: Chen et al. 2015, Sec. 4.3; the released DeepLab-MSc and DeepLab-MSc-LargeFOV (train.prototxt
and test.prototxt).
"""

import flax.linen as nn

from fcn_jax.models.layers import BatchNorm, Blob, Conv
from fcn_jax.ops.geometry import Window, same

# Deviations of the initial weights by kind of layer, and where the release has another. It names
# none for pool3_ms, and zero is what Caffe then takes.
KERNEL_STD = {"conv": 0.001, "fc": 0.001, "ms": 0.01}
RELEASED_STD = {"pool4_fc": 0.005, "pool3_ms": 0.0}


def side_branch(
    name: str,
    blob: Blob,
    *,
    num_classes: int,
    channels: int,
    stride: int,
    norm: BatchNorm | None,
    dropout: float,
    train: bool,
) -> Blob:
    """Scores a map by the layers `<name>_conv` (3x3), `_fc` and `_ms` (1x1).

    Called inside a compact method, whose module gets the layers.

    Args:
        channels: of the first two, each of which is followed by dropout.
        stride: of the first; whatever it is, the weights are the same.
        dropout: fraction that is dropped in training.
    """
    for kind, window in (("conv", same(3, stride=stride)), ("fc", Window(1))):
        layer = Conv(
            channels, window, norm=norm, kernel_init=_init(name, kind), name=f"{name}_{kind}"
        )
        blob = layer(blob, train=train)
        blob = blob.replace(maps=nn.Dropout(dropout, deterministic=not train)(blob.maps))
    score = Conv(
        num_classes,
        Window(1),
        activation=None,
        kernel_init=_init(name, "ms"),
        name=f"{name}_ms",
    )
    return score(blob, train=False)


def _init(name: str, kind: str) -> nn.initializers.Initializer:
    return nn.initializers.normal(RELEASED_STD.get(f"{name}_{kind}", KERNEL_STD[kind]))
