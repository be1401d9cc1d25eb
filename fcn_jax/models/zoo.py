"""The networks by name.

A constructor takes `num_classes`, `axis_name` and the keys of an experiment's `model` section.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

import flax.linen as nn

from fcn_jax.models.deeplab import DeepLab
from fcn_jax.models.fcn import FCN
from fcn_jax.models.layers import BatchNorm, same
from fcn_jax.models.vgg import VGG16, deeplab_pools, fcn_pools
from fcn_jax.ops.geometry import Window

# Of the computation; parameters, logits and loss are always float32.
DTYPES = ("float32", "bfloat16", "float16")
MIN_WIDTH = 1 / 64  # one channel in conv1


class Rates(NamedTuple):
    """Where a VGG16 keeps its stride and where it is atrous."""

    pool_strides: tuple[int, int, int, int, int]
    conv_rates: tuple[int, int, int, int, int]


RATES: Mapping[str, Rates] = {
    # As released: output stride 8, conv4 undilated.
    "largefov": Rates(pool_strides=(2, 2, 2, 1, 1), conv_rates=(1, 1, 1, 1, 2)),
    # conv4 and conv5 atrous: output stride 4.
    "atrous45": Rates(pool_strides=(2, 2, 1, 1, 1), conv_rates=(1, 1, 1, 2, 4)),
}


def make_norm(norm: str, axis_name: str | None) -> BatchNorm | None:
    """Makes the normalisation of a whole network: none, batch, or frozen (batch, as stored)."""
    if norm == "none":
        return None
    if norm in ("batch", "frozen"):
        return BatchNorm(frozen=norm == "frozen", axis_name=axis_name)
    raise ValueError(f"unknown model.norm {norm!r}; known: none, batch, frozen")


def vgg16_fcn(
    *,
    num_classes: int,
    axis_name: str | None = None,
    skips: tuple[str, ...],
    skip_scales: tuple[float, ...] = (),
    width: float = 1.0,
    norm: str = "none",
    padding: str = "caffe",
    fc6_kernel: int = 7,
    fc_channels: int = 4096,
    dropout: float = 0.5,
    dtype: str = "float32",
) -> FCN:
    """Makes an FCN on VGG16; the defaults are the released networks.

    Args:
        padding: `caffe` pads conv1_1 by 100 pixels and fc6 by none; `same` pads every convolution
            so that it keeps the size, which takes a third of the time on small images.
        fc6_kernel: odd.
    """
    if padding not in ("caffe", "same"):
        raise ValueError(f"unknown model.padding {padding!r}; known: caffe, same")
    caffe = padding == "caffe"
    batch_norm = make_norm(norm, axis_name)
    fc6 = Window(fc6_kernel) if caffe else same(fc6_kernel)
    return FCN(
        num_classes=num_classes,
        backbone=VGG16(
            width=width, norm=batch_norm, pad=100 if caffe else 1, pools=fcn_pools(), dtype=dtype
        ),
        skips=skips,
        skip_scales=skip_scales,
        fc=((fc6, fc_channels), (Window(1), fc_channels)),
        norm=batch_norm,
        dropout=dropout,
    )


def vgg16_deeplab(
    *,
    num_classes: int,
    axis_name: str | None = None,
    rates: str,
    fc6_kernel: int = 3,
    fc6_rate: int = 12,
    fc_channels: int = 1024,
    pool5a: bool = True,
    score_std: float = 0.01,
    width: float = 1.0,
    norm: str = "none",
    dropout: float = 0.5,
    dtype: str = "float32",
) -> DeepLab:
    """Makes a DeepLab v1 on VGG16; the defaults are the released LargeFOV.

    Args:
        rates: one of `RATES`.
        fc6_rate: in units of the score map; 12 at output stride 8 sees as far as 24 at 4.
    """
    if rates not in RATES:
        raise ValueError(f"unknown model.rates {rates!r}; known: {', '.join(RATES)}")
    strides, conv_rates = RATES[rates]
    batch_norm = make_norm(norm, axis_name)
    return DeepLab(
        num_classes=num_classes,
        backbone=VGG16(
            width=width,
            norm=batch_norm,
            pools=deeplab_pools(strides),
            rates=conv_rates,
            dtype=dtype,
        ),
        fc=((same(fc6_kernel, rate=fc6_rate), fc_channels), (Window(1), fc_channels)),
        pool5a=pool5a,
        norm=batch_norm,
        score_std=score_std,
        dropout=dropout,
    )


MODELS: Mapping[str, Callable[..., nn.Module]] = {
    "vgg16_fcn32s": partial(vgg16_fcn, skips=()),
    "vgg16_fcn16s": partial(vgg16_fcn, skips=("pool4",)),
    "vgg16_fcn8s": partial(vgg16_fcn, skips=("pool4", "pool3")),
    "vgg16_deeplab_largefov": partial(vgg16_deeplab, rates="largefov"),
    "vgg16_deeplab_atrous45": partial(vgg16_deeplab, rates="atrous45", fc6_rate=24),
}


def get_model(name: str, *, num_classes: int, axis_name: str | None = None, **options) -> nn.Module:
    """Makes the network `name`: images `[b, h, w, 3]` in 0..255 RGB to logits `[b, h, w, k]`."""
    if name not in MODELS:
        raise ValueError(f"unknown model.name {name!r}; known: {', '.join(MODELS)}")
    if (dtype := options.get("dtype", "float32")) not in DTYPES:
        raise ValueError(f"unknown model.dtype {dtype!r}; known: {', '.join(DTYPES)}")
    if (width := options.get("width", 1.0)) < MIN_WIDTH:
        raise ValueError(f"model.width={width} leaves no channel; at least {MIN_WIDTH}")
    return MODELS[name](num_classes=num_classes, axis_name=axis_name, **options)
