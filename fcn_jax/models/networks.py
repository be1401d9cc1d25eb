"""How a head stands on a backbone.

A network is a backbone, a head and what joins the two: a function that makes the backbone as the
head wants it, and the head with the layers that suit the backbone. Such a function takes

- `backbone`: makes the backbone, all options of which are given already;
- `head`: makes the head, with the number of classes and its own options, from a backbone;
- `axis_name`: the mapped axis that batch norm is synchronised over;

and keyword-only parameters, which are keys of an experiment's section `model`. So are the
keyword-only attributes of the backbone's class and of the head's.
"""

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import NamedTuple

import flax.linen as nn

from fcn_jax.errors import UserError
from fcn_jax.models.atrous_head import check_upsampling
from fcn_jax.models.deeplab import Branch, DeepLab
from fcn_jax.models.deeplab_v3 import DeepLabV3
from fcn_jax.models.fcn import FCN
from fcn_jax.models.layers import NORMS, NormSpec, make_norm
from fcn_jax.models.vgg import POOL_STRIDES, deeplab_pools, noup_pools
from fcn_jax.ops.geometry import Hole, Window, hole_algorithm, same

# Output strides whose rates have a name.
RATES: Mapping[str, int] = {
    "largefov": 8,  # as released: conv5 atrous
    "atrous45": 4,  # conv4 and conv5 atrous
}

# Rates of LargeFOV's fc6 by output stride: its taps lie 96 pixels apart.
FC6_RATES: Mapping[int, int] = {32: 3, 16: 6, 8: 12, 4: 24}


class Network(NamedTuple):
    """A line of the table of networks.

    Attributes:
        backbone: Class of the backbone, or a partial of it.
        head: Class of the head, or a partial of it.
        join: Function of this module, or a partial of it.
    """

    backbone: Callable[..., nn.Module]
    head: Callable[..., nn.Module]
    join: Callable[..., nn.Module]


def plain_fcn(
    backbone: Callable[..., nn.Module], head: Callable[..., FCN], axis_name: str | None
) -> FCN:
    """Scores the features as they are, as suits backbones without fc6 and fc7."""
    del axis_name  # a score has no norm
    return head(backbone=backbone(), fc=())


def classifier_fcn(
    backbone: Callable[..., nn.Module],
    head: Callable[..., FCN],
    axis_name: str | None,
    same_padding: Mapping[str, int],
    *,
    padding: str = "caffe",
    fc6_kernel: int = 7,
    fc_channels: int = 4096,
    dropout: float = 0.5,
    head_norm: str = "same",
) -> FCN:
    """Scores what the classifier's fc6 and fc7 make of the features; the defaults are as released.

    Args:
        same_padding: Attributes of the backbone that `padding="same"` takes.
        padding: Kind of padding. `caffe` pads the first layer by 100 pixels and fc6 by none, as
            released; `same` pads every layer so that its units stay where they are, which takes a
            third of the time on small images.
        fc6_kernel: Size of fc6, at least 1. Padded `caffe`, it is at most the released one (7 for
            VGG16, 6 for AlexNet), which is what the last pool has of one pixel, and odd where that
            pool is a skip. Padded `same`, an even one has its units between those of the pool, and
            one more of them.
        fc_channels: Channels of fc6 and of fc7, at least 1.
        dropout: Fraction of the values that training drops after fc6 and after fc7, in [0, 1).
        head_norm: Normalisation of fc6 and fc7: none, batch or frozen; `same` takes the backbone's.
    """
    if padding not in ("caffe", "same"):
        raise UserError(f"unknown model.padding {padding!r}; known: caffe, same")
    check_fc(fc6_kernel=fc6_kernel, fc_channels=fc_channels, dropout=dropout)
    caffe = padding == "caffe"
    made = backbone(pad=100) if caffe else backbone(**same_padding)
    fc6 = Window(fc6_kernel) if caffe else same(fc6_kernel)
    return head(
        backbone=made,
        fc=((fc6, fc_channels), (Window(1), fc_channels)),
        norm=make_head_norm(head_norm, made, axis_name),
        dropout=dropout,
    )


def atrous_deeplab(
    backbone: Callable[..., nn.Module],
    head: Callable[..., DeepLab],
    axis_name: str | None,
    *,
    output_stride: int = 8,
    fc6_kernel: int = 3,
    fc6_rate: int | tuple[int, ...] = 0,
    fc_channels: int = 256,
    fc7: bool = True,
    dropout: float = 0.5,
    head_norm: str = "none",
    upsampling: str = "align_corners",
) -> DeepLab:
    """Puts DeepLab's fc6, fc7 and fc8 on a backbone that was trained without such a classifier.

    After the last removed stride all rates, that of fc6 included, are multiples of what was
    removed. The average of pool5a joins the units that lie closer together: without it the maps
    that are interleaved there are decided each by itself, and masks get a grid of dots
    (docs/results.md).

    Args:
        output_stride: Stride of the features that the head stands on: 32, 16, 8 or 4.
        fc6_kernel: Size of fc6, at least 1.
        fc6_rate: Rate of fc6 in units of the features; several rates make as many branches (ASPP);
            0 is LargeFOV's, whose taps lie 96 pixels apart at every output stride.
        fc_channels: Channels of fc6 and of fc7. 256 is what DeepLab v3 puts on such backbones. With
            the 1024 of VGG16's fc6, this layer alone would take more multiply-adds than MobileNetV2
            below it. 0 leaves both out: fc8 has the window of fc6, as in DeepLab v2 on ResNet-101.
        fc7: Whether fc7, a 1x1 convolution, stands between fc6 and fc8. torchvision's FCN has none.
        dropout: Fraction of the values that training drops after fc6 and after fc7, in [0, 1).
        head_norm: Normalisation of fc6 and fc7: none, batch, frozen, or the backbone's (`same`).
            With none the layers have biases: frozen statistics that nobody measured would mean
            nothing, and one network has the same variables however it is trained.
        upsampling: How scores come onto the image: `align_corners` puts every unit on the pixel at
            its centre; `half_pixel` stretches the map to the image's size, as torchvision does, and
            rounds strided layers down as it does.
    """
    check_output_stride(output_stride)
    check_upsampling(upsampling)
    check_fc(fc6_kernel=fc6_kernel, fc_channels=fc_channels or 1, dropout=dropout)
    made = backbone(output_stride=output_stride, ceil=upsampling == "align_corners")
    return head(
        upsampling=upsampling,
        backbone=made,
        branches=make_branches(
            fc6_kernel, fc6_rate or FC6_RATES[output_stride], fc_channels, fc7=fc7
        ),
        norm=make_head_norm(head_norm, made, axis_name),
        dropout=dropout,
    )


def deeplab_v3(
    backbone: Callable[..., nn.Module],
    head: Callable[..., DeepLabV3],
    axis_name: str | None,
    *,
    output_stride: int = 16,
    aspp_rates: tuple[int, ...] = (6, 12, 18),
    head_channels: int = 256,
    dropout: float = 0.5,
    head_norm: str = "none",
    upsampling: str = "align_corners",
) -> DeepLabV3:
    """Puts DeepLab v3's or v3+'s head on a backbone.

    Args:
        output_stride: Stride of the features that ASPP stands on: 32, 16, 8 or 4.
        aspp_rates: Rates of ASPP's 3x3 convolutions at output stride 16; at 8 they are doubled, and
            at 32 halved, as they see the same pixels then. () for none.
        head_channels: Channels of the head's layers, at least 1.
        dropout: Fraction of the values that training drops after ASPP, in [0, 1).
        head_norm: Normalisation of the head's layers: none, batch, frozen, or the backbone's
            (`same`).
        upsampling: How scores come onto the image: `align_corners` puts every unit on the pixel at
            its centre; `half_pixel` stretches the map to the image's size, as torchvision does, and
            rounds strided layers down as it does.
    """
    check_output_stride(output_stride)
    check_upsampling(upsampling)
    check_fc(head_channels=head_channels, dropout=dropout)
    if aspp_rates:
        check_rates("aspp_rates", aspp_rates)
    made = backbone(output_stride=output_stride, ceil=upsampling == "align_corners")
    return head(
        backbone=made,
        norm=make_head_norm(head_norm, made, axis_name),
        dropout=dropout,
        upsampling=upsampling,
        rates=tuple(max(1, rate * 16 // output_stride) for rate in aspp_rates),
        channels=head_channels,
    )


def vgg16_deeplab(
    backbone: Callable[..., nn.Module],
    head: Callable[..., DeepLab],
    axis_name: str | None,
    *,
    rates: str | tuple[int, ...] = "largefov",
    output_stride: int = 0,
    pools: str = "pool3",
    atrous_pools: bool = False,
    fc6_kernel: int = 3,
    fc6_rate: int | tuple[int, ...] = 12,
    fc_channels: int = 1024,
    dropout: float = 0.5,
    head_norm: str = "same",
    sides: tuple[str, ...] = (),
    side_channels: int = 128,
    label_shrink: bool = False,
) -> DeepLab:
    """Puts DeepLab's fc6, fc7 and fc8 on VGG16; the defaults are the released LargeFOV.

    Args:
        rates: Rates of conv1 to conv5, which need an `output_stride`; or the name of some:
            `largefov` (conv5 atrous, output stride 8), `atrous45` (conv4 and conv5, stride 4).
        output_stride: Stride of pool5: 32, 16, 8 or 4 in place of that of the named rates, and with
            rates to match (the hole algorithm); 0 for what `rates` says.
        pools: Kind of pools: `pool3`, 3x3, as in all released nets but the first, which has `noup`:
            2x2 with padding 1.
        atrous_pools: Whether the pools get rates too, which makes the hole algorithm exact; the
            releases' do not.
        fc6_kernel: Size of fc6, at least 1.
        fc6_rate: Rate of fc6 in units of pool5; 12 at output stride 8 sees as far as 24 at 4.
            Several rates make as many branches (ASPP).
        fc_channels: Channels of fc6 and of fc7, at least 1.
        dropout: Fraction of the values that training drops after fc6, after fc7 and after the
            layers of the side branches, in [0, 1).
        head_norm: Normalisation of these layers: none, batch, frozen, or the backbone's (`same`).
        sides: Names of the features that are scored beside the deepest ones (MSc): `data`, `pool1`
            to `pool4`.
        side_channels: Channels of the layers in these side branches, at least 1.
        label_shrink: Whether training compares the score map's own units with the labels under
            them, as released, instead of upsampled scores with the label of every pixel.
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
    check_fc(
        fc6_kernel=fc6_kernel, fc_channels=fc_channels, dropout=dropout, side_channels=side_channels
    )
    if pools == "noup":
        train_pools = noup_pools(strides, pool4_pad=0) if label_shrink else ()
        pooling = {"pools": noup_pools(strides), "train_pools": train_pools}
    else:
        pool_rates = [hole.rate if atrous_pools else 1 for hole in holes]
        pooling = {"pools": deeplab_pools(strides, rates=pool_rates)}
    made = backbone(rates=conv_rates, **pooling)
    return head(
        backbone=made,
        branches=make_branches(fc6_kernel, fc6_rate, fc_channels),
        norm=make_head_norm(head_norm, made, axis_name),
        dropout=dropout,
        sides=sides,
        side_channels=side_channels,
        label_shrink=label_shrink,
    )


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


def make_branches(
    kernel: int, rate: int | tuple[int, ...], channels: int, *, fc7: bool = True
) -> tuple[Branch, ...]:
    """Returns fc6 to fc8 of DeepLab, one of each for each rate; without channels, fc8 alone."""
    rates = (rate,) if isinstance(rate, int) else rate
    check_rates("fc6_rate", rates)
    windows = [same(kernel, rate=each) for each in rates]
    if not channels:
        return tuple(Branch(fc8=window) for window in windows)
    after = ((Window(1), channels),) if fc7 else ()
    return tuple(Branch(((window, channels), *after)) for window in windows)


def make_head_norm(head_norm: str, backbone: nn.Module, axis_name: str | None) -> NormSpec | None:
    """Makes the normalisation of a head's layers by its name: none, batch, frozen or same."""
    if head_norm == "same":
        return backbone.norm
    if head_norm not in NORMS:
        raise UserError(f"unknown model.head_norm {head_norm!r}; known: same, {', '.join(NORMS)}")
    return make_norm(head_norm, axis_name)


def check_output_stride(output_stride: int) -> None:
    """Raises UserError for an output stride that is not known."""
    if output_stride not in FC6_RATES:
        known = ", ".join(map(str, FC6_RATES))
        raise UserError(f"unknown model.output_stride={output_stride}; known: {known}")


def check_rates(option: str, rates: Sequence[int]) -> None:
    """Raises UserError unless there are rates and all are positive."""
    if not rates or min(rates) < 1:
        raise UserError(f"model.{option}={rates} must be positive rates, at least one")


def check_fc(*, dropout: float, **sizes: int) -> None:
    """Raises UserError for a fraction or for sizes that layers cannot be made with."""
    if not 0 <= dropout < 1:
        raise UserError(f"model.dropout={dropout} must lie in [0, 1)")
    for option, size in sizes.items():
        if size < 1:
            raise UserError(f"model.{option}={size} must be at least 1")
