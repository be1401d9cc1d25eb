"""DeepLabs by backbone: from the keys of an experiment's `model` section to the network.

A constructor takes `num_classes`, `axis_name` (the mapped axis that batch norm is synchronised over)
and these keys.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from math import prod

from fcn_jax.errors import UserError
from fcn_jax.models.deeplab import DeepLab
from fcn_jax.models.layers import make_norm
from fcn_jax.models.mobilenet import STRIDES, MobileNetV2
from fcn_jax.models.preprocess import make_preprocess
from fcn_jax.models.resnet import ResNet
from fcn_jax.models.vgg import POOL_STRIDES, VGG16, deeplab_pools, noup_pools
from fcn_jax.ops.geometry import Hole, Window, hole_algorithm, same

# Output strides whose rates have a name.
RATES: Mapping[str, int] = {
    "largefov": 8,  # as released: conv5 atrous
    "atrous45": 4,  # conv4 and conv5 atrous
}

SIDES = ("data", "pool1", "pool2", "pool3", "pool4")  # of DeepLab-MSc

# Of LargeFOV's fc6 by output stride: its taps lie 96 pixels apart.
FC6_RATES: Mapping[int, int] = {32: 3, 16: 6, 8: 12, 4: 24}


def make_rates(
    rates: str | tuple[int, ...], output_stride: int
) -> tuple[list[Hole], tuple[int, ...]]:
    """Returns what the hole algorithm leaves of VGG16's pools, and the rates of conv1 to conv5."""
    if isinstance(rates, str):
        if rates not in RATES:
            raise UserError(f"unknown model.rates {rates!r}; known: {', '.join(RATES)}")
        holes = hole_algorithm(POOL_STRIDES, output_stride or RATES[rates])
        return holes, tuple(hole.rate for hole in holes)
    if len(rates) != len(POOL_STRIDES):
        raise UserError(f"model.rates={rates} must be one for each of conv1 to conv5")
    check_rates("rates", rates)
    if not output_stride:
        raise UserError(f"model.rates={rates} needs a model.output_stride: 32, 16, 8 or 4")
    return hole_algorithm(POOL_STRIDES, output_stride), rates


def check_rates(option: str, rates: Sequence[int]) -> None:
    """Raises ValueError unless there are rates and all are positive."""
    if not rates or min(rates) < 1:
        raise UserError(f"model.{option}={rates} must be positive rates, at least one")


def vgg16_deeplab(
    *,
    num_classes: int,
    axis_name: str | None = None,
    rates: str | tuple[int, ...] = "largefov",
    output_stride: int = 0,
    pools: str = "pool3",
    atrous_pools: bool = False,
    fc6_kernel: int = 3,
    fc6_rate: int | tuple[int, ...] = 12,
    fc_channels: int = 1024,
    pool5a: bool = True,
    sides: tuple[str, ...] = (),
    side_channels: int = 128,
    label_shrink: bool = False,
    score_std: float = 0.01,
    width: float = 1.0,
    norm: str = "none",
    dropout: float = 0.5,
    preprocess: str = "caffe",
    dtype: str = "float32",
) -> DeepLab:
    """Makes a DeepLab on VGG16; the defaults are the released LargeFOV.

    Args:
        rates: one of `RATES`, or the rates of conv1 to conv5, which need an `output_stride`.
        output_stride: 32, 16, 8 or 4 in place of that of the named rates, and with rates to match
            (the hole algorithm); 0 for as `rates` says.
        pools: `pool3`, 3x3, in all released nets but the first, which has `noup`: 2x2 with padding 1.
        atrous_pools: gives the pools their rates too, which makes the hole algorithm exact; the
            releases do not.
        fc6_rate: in units of the score map; 12 at output stride 8 sees as far as 24 at 4. Several
            make as many branches (ASPP).
        sides: features that are scored beside the deepest ones.
        label_shrink: trains on the labels at the units of the score map, as released, instead of at
            every pixel.
    """
    if pools not in ("pool3", "noup"):
        raise UserError(f"unknown model.pools {pools!r}; known: pool3, noup")
    holes, conv_rates = make_rates(rates, output_stride)
    strides = [hole.stride for hole in holes]
    if pools == "noup" and (sides or atrous_pools or prod(strides) > 8):
        # Their units lie between two pixels, and at 16 and 32 the last pixels can be beyond them.
        raise UserError(
            "model.pools=noup is for output strides 8 and 4, without model.sides and "
            "model.atrous_pools; model.pools=pool3 is for all"
        )
    if pools == "noup":
        all_pools = noup_pools(strides)
        train_pools = noup_pools(strides, pool4_pad=0) if label_shrink else ()
    else:
        pool_rates = [hole.rate if atrous_pools else 1 for hole in holes]
        all_pools, train_pools = deeplab_pools(strides, rates=pool_rates), ()
    batch_norm = make_norm(norm, axis_name)
    fc6_rates = (fc6_rate,) if isinstance(fc6_rate, int) else fc6_rate
    check_rates("fc6_rate", fc6_rates)
    return DeepLab(
        num_classes=num_classes,
        backbone=VGG16(
            width=width,
            norm=batch_norm,
            pools=all_pools,
            train_pools=train_pools,
            rates=conv_rates,
            preprocess=make_preprocess(preprocess),
            dtype=dtype,
        ),
        branches=tuple(
            ((same(fc6_kernel, rate=rate), fc_channels), (Window(1), fc_channels))
            for rate in fc6_rates
        ),
        pool5a=pool5a,
        sides=sides,
        side_channels=side_channels,
        label_shrink=label_shrink,
        norm=batch_norm,
        score_std=score_std,
        dropout=dropout,
    )


# The released DeepLab (vgg128_noup) and those that the paper compares with it: 4x4 and 7x7 were not
# released, and are taken to stand on the same pools.
vgg16_deeplab_noup = partial(vgg16_deeplab, pools="noup", fc_channels=4096, pool5a=False)


def mobilenetv2_deeplab(
    *,
    num_classes: int,
    axis_name: str | None = None,
    output_stride: int = 8,
    fc_channels: int = 256,
    width: float = 1.0,
    norm: str = "batch",
    first_expand: bool = False,
    strides: tuple[int, ...] = STRIDES,
    activation: str = "relu6",
    dropout: float = 0.5,
    preprocess: str = "torchvision",
    dtype: str = "float32",
) -> DeepLab:
    """Makes a DeepLab-LargeFOV on MobileNetV2 up to bottleneck17; see `largefov`."""
    backbone = MobileNetV2(
        width=width,
        norm=make_norm(norm, axis_name),
        output_stride=output_stride,
        conv_last=False,
        first_expand=first_expand,
        strides=strides,
        activation=activation,
        ceil=True,
        preprocess=make_preprocess(preprocess),
        dtype=dtype,
    )
    return largefov(backbone, num_classes=num_classes, fc_channels=fc_channels, dropout=dropout)


def resnet_deeplab(
    *,
    num_classes: int,
    axis_name: str | None = None,
    depth: int,
    output_stride: int = 8,
    fc_channels: int = 256,
    width: float = 1.0,
    norm: str = "batch",
    dropout: float = 0.5,
    preprocess: str = "torchvision",
    dtype: str = "float32",
) -> DeepLab:
    """Makes a DeepLab-LargeFOV on a ResNet; see `largefov`."""
    backbone = ResNet(
        depth=depth,
        width=width,
        norm=make_norm(norm, axis_name),
        output_stride=output_stride,
        ceil=True,
        preprocess=make_preprocess(preprocess),
        dtype=dtype,
    )
    return largefov(backbone, num_classes=num_classes, fc_channels=fc_channels, dropout=dropout)


def largefov(
    backbone: MobileNetV2 | ResNet, *, num_classes: int, fc_channels: int, dropout: float
) -> DeepLab:
    """Puts LargeFOV's pool5a, fc6, fc7 and fc8 on a backbone that was trained without a classifier.

    After the last removed stride all rates, that of fc6 included, are multiples of what was removed.
    The average of pool5a joins the units that lie closer together: without it the maps that are
    interleaved there are decided each by itself, and masks get a grid of dots (docs/results.md).

    The layers have biases and no batch norm, whatever the backbone has: frozen statistics that nobody
    measured would mean nothing, and one network has the same variables however it is trained.

    Args:
        fc_channels: 256 is what DeepLab v3 puts on such backbones. With the 1024 of VGG16's fc6,
            this layer alone would take more multiply-adds than MobileNetV2 below it.
    """
    if backbone.output_stride not in FC6_RATES:
        known = ", ".join(map(str, FC6_RATES))
        raise UserError(f"unknown model.output_stride={backbone.output_stride}; known: {known}")
    fc6 = same(3, rate=FC6_RATES[backbone.output_stride])
    return DeepLab(
        num_classes=num_classes,
        backbone=backbone,
        branches=(((fc6, fc_channels), (Window(1), fc_channels)),),
        dropout=dropout,
    )
