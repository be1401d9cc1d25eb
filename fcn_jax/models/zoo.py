"""The networks by name."""

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import flax.linen as nn

from fcn_jax.errors import UserError
from fcn_jax.models.alexnet import AlexNet
from fcn_jax.models.deeplab import DeepLab
from fcn_jax.models.deeplab_v3 import DeepLabV3
from fcn_jax.models.efficientnet import EfficientNetLite
from fcn_jax.models.fcn import FCN
from fcn_jax.models.layers import make_norm
from fcn_jax.models.mobilenet import MobileNetV2
from fcn_jax.models.networks import (
    Network,
    atrous_deeplab,
    classifier_fcn,
    deeplab_v3,
    plain_fcn,
    vgg16_deeplab,
)
from fcn_jax.models.preprocess import make_preprocess, name_preprocess
from fcn_jax.models.resnet import ResNet
from fcn_jax.models.vgg import VGG16

# Dtypes of the computation; parameters, logits and loss are always float32. float16 is not among
# them: beyond 65504 its gradients overflow, as those of a loss summed over all pixels do, and
# nothing scales the loss here.
DTYPES = ("float32", "bfloat16")
MIN_WIDTH = 1 / 64  # one channel in conv1

FCN16S, FCN8S = partial(FCN, skips=(16,)), partial(FCN, skips=(16, 8))
FCN4S, FCN2S = partial(FCN, skips=(16, 8, 4)), partial(FCN, skips=(16, 8, 4, 2))

# As VGG16 and AlexNet were released: with fc6 and fc7, and without norm.
VGG16_FCN = partial(classifier_fcn, same_padding={"pad": 1})
ALEXNET_FCN = partial(classifier_fcn, same_padding={"pad": 5, "pool_pad": 1}, fc6_kernel=6)
# The first DeepLab (vgg128_noup) and those that the paper compares with it: 4x4 and 7x7 were not
# released, and are taken to stand on the same pools.
VGG16_NOUP = partial(vgg16_deeplab, pools="noup", fc_channels=4096)
NO_POOL5A = partial(DeepLab, pool5a=False)
SIDES = ("data", "pool1", "pool2", "pool3", "pool4")  # of DeepLab-MSc

RESNET18, RESNET34, RESNET50, RESNET101 = (partial(ResNet, depth=n) for n in (18, 34, 50, 101))
# Learned upsampling without skips is that of Zhang et al., Dive into Deep Learning, Sec. 14.11.
RESNET_FCN = partial(FCN, upscore_pad=16)
MOBILENETV2_DEEPLAB = partial(MobileNetV2, conv_last=False)
LITE0, LITE1, LITE2 = (partial(EfficientNetLite, variant=n) for n in (0, 1, 2))
LITE0_DEEPLAB, LITE1_DEEPLAB, LITE2_DEEPLAB = (
    partial(lite, conv_last=False) for lite in (LITE0, LITE1, LITE2)
)
ASPP = partial(atrous_deeplab, fc6_rate=(6, 12, 18, 24))
# v3+ is v3 with a decoder.
DEEPLAB_V3PLUS = partial(DeepLabV3, low_level_stride=4, decoder_convs=2)
# ResNets as in the papers and in their re-trainings: multi-grid, and batch norm in the head.
RESNET50_V3, RESNET101_V3 = (partial(ResNet, depth=n, multi_grid=(1, 2, 4)) for n in (50, 101))
RESNET_V3 = partial(deeplab_v3, head_norm="batch")
# MobileNetV2 without atrous layers in ASPP, as its paper has it (Sec. 6.3).
MOBILENETV2_V3 = partial(deeplab_v3, aspp_rates=())
# torchvision's fcn_resnet50/101 and deeplabv3_resnet50/101.
TORCHVISION_NETWORK = {"output_stride": 8, "head_norm": "batch", "upsampling": "half_pixel"}
TORCHVISION_FCN_HEAD = partial(NO_POOL5A, aux="layer3")
TORCHVISION_FCN = partial(
    atrous_deeplab, fc6_rate=1, fc_channels=512, fc7=False, dropout=0.1, **TORCHVISION_NETWORK
)
TORCHVISION_V3_HEAD = partial(DeepLabV3, decoder_convs=1, aux="layer3")
TORCHVISION_V3 = partial(deeplab_v3, **TORCHVISION_NETWORK)

MODELS: Mapping[str, Network] = {
    "vgg16_fcn32s": Network(VGG16, FCN, VGG16_FCN),
    "vgg16_fcn16s": Network(VGG16, FCN16S, VGG16_FCN),
    "vgg16_fcn8s": Network(VGG16, FCN8S, VGG16_FCN),
    "vgg16_fcn8s_atonce": Network(VGG16, partial(FCN8S, skip_scales=(1e-2, 1e-4)), VGG16_FCN),
    "vgg16_fcn4s": Network(VGG16, FCN4S, VGG16_FCN),
    "vgg16_fcn2s": Network(VGG16, FCN2S, VGG16_FCN),
    "alexnet_fcn32s": Network(AlexNet, FCN, ALEXNET_FCN),
    "vgg16_deeplab": Network(VGG16, NO_POOL5A, partial(VGG16_NOUP, fc6_kernel=4, fc6_rate=4)),
    "vgg16_deeplab_4x4": Network(VGG16, NO_POOL5A, partial(VGG16_NOUP, fc6_kernel=4, fc6_rate=8)),
    "vgg16_deeplab_7x7": Network(VGG16, NO_POOL5A, partial(VGG16_NOUP, fc6_kernel=7, fc6_rate=4)),
    "vgg16_deeplab_largefov": Network(VGG16, DeepLab, vgg16_deeplab),
    "vgg16_deeplab_msc": Network(
        VGG16,
        NO_POOL5A,
        partial(vgg16_deeplab, fc6_kernel=4, fc6_rate=4, fc_channels=4096, sides=SIDES),
    ),
    "vgg16_deeplab_msc_largefov": Network(VGG16, DeepLab, partial(vgg16_deeplab, sides=SIDES)),
    "vgg16_deeplab_atrous45": Network(
        VGG16, DeepLab, partial(vgg16_deeplab, rates="atrous45", fc6_rate=24)
    ),
    "vgg16_deeplab_aspp": Network(  # ASPP-L of DeepLab v2
        VGG16, NO_POOL5A, partial(vgg16_deeplab, fc6_rate=(6, 12, 18, 24))
    ),
    "mobilenetv2_fcn32s": Network(MobileNetV2, FCN, plain_fcn),
    "mobilenetv2_fcn16s": Network(MobileNetV2, FCN16S, plain_fcn),
    "mobilenetv2_fcn8s": Network(MobileNetV2, FCN8S, plain_fcn),
    "mobilenetv2_fcn4s": Network(MobileNetV2, FCN4S, plain_fcn),
    "mobilenetv2_deeplab_largefov": Network(MOBILENETV2_DEEPLAB, DeepLab, atrous_deeplab),
    "mobilenetv2_deeplab_aspp": Network(MOBILENETV2_DEEPLAB, DeepLab, ASPP),
    "efficientnetlite0_fcn32s": Network(LITE0, FCN, plain_fcn),
    "efficientnetlite0_fcn16s": Network(LITE0, FCN16S, plain_fcn),
    "efficientnetlite0_fcn8s": Network(LITE0, FCN8S, plain_fcn),
    "efficientnetlite0_fcn4s": Network(LITE0, FCN4S, plain_fcn),
    "efficientnetlite0_deeplab_largefov": Network(LITE0_DEEPLAB, DeepLab, atrous_deeplab),
    "efficientnetlite0_deeplab_aspp": Network(LITE0_DEEPLAB, DeepLab, ASPP),
    "efficientnetlite1_fcn32s": Network(LITE1, FCN, plain_fcn),
    "efficientnetlite1_fcn16s": Network(LITE1, FCN16S, plain_fcn),
    "efficientnetlite1_fcn8s": Network(LITE1, FCN8S, plain_fcn),
    "efficientnetlite1_fcn4s": Network(LITE1, FCN4S, plain_fcn),
    "efficientnetlite1_deeplab_largefov": Network(LITE1_DEEPLAB, DeepLab, atrous_deeplab),
    "efficientnetlite1_deeplab_aspp": Network(LITE1_DEEPLAB, DeepLab, ASPP),
    "efficientnetlite2_fcn32s": Network(LITE2, FCN, plain_fcn),
    "efficientnetlite2_fcn16s": Network(LITE2, FCN16S, plain_fcn),
    "efficientnetlite2_fcn8s": Network(LITE2, FCN8S, plain_fcn),
    "efficientnetlite2_fcn4s": Network(LITE2, FCN4S, plain_fcn),
    "efficientnetlite2_deeplab_largefov": Network(LITE2_DEEPLAB, DeepLab, atrous_deeplab),
    "efficientnetlite2_deeplab_aspp": Network(LITE2_DEEPLAB, DeepLab, ASPP),
    "resnet18_fcn32s": Network(RESNET18, partial(RESNET_FCN, upsampling="learned"), plain_fcn),
    "resnet18_fcn16s": Network(RESNET18, partial(RESNET_FCN, skips=(16,)), plain_fcn),
    "resnet18_fcn8s": Network(RESNET18, partial(RESNET_FCN, skips=(16, 8)), plain_fcn),
    "resnet34_fcn8s": Network(RESNET34, FCN8S, plain_fcn),
    "resnet50_fcn32s": Network(RESNET50, FCN, plain_fcn),
    "resnet50_fcn16s": Network(RESNET50, FCN16S, plain_fcn),
    "resnet50_fcn8s": Network(RESNET50, FCN8S, plain_fcn),
    "resnet101_fcn8s": Network(RESNET101, FCN8S, plain_fcn),
    "resnet18_deeplab_largefov": Network(RESNET18, DeepLab, atrous_deeplab),
    "resnet34_deeplab_largefov": Network(RESNET34, DeepLab, atrous_deeplab),
    "resnet50_deeplab_largefov": Network(RESNET50, DeepLab, atrous_deeplab),
    "resnet101_deeplab_largefov": Network(RESNET101, DeepLab, atrous_deeplab),
    "resnet50_deeplab_aspp": Network(RESNET50, DeepLab, ASPP),
    "resnet101_deeplab_aspp": Network(RESNET101, DeepLab, ASPP),
    "mobilenetv2_deeplabv3": Network(MOBILENETV2_DEEPLAB, DeepLabV3, MOBILENETV2_V3),
    "mobilenetv2_deeplabv3plus": Network(MOBILENETV2_DEEPLAB, DEEPLAB_V3PLUS, deeplab_v3),
    "efficientnetlite0_deeplabv3": Network(LITE0_DEEPLAB, DeepLabV3, deeplab_v3),
    "efficientnetlite0_deeplabv3plus": Network(LITE0_DEEPLAB, DEEPLAB_V3PLUS, deeplab_v3),
    "efficientnetlite1_deeplabv3": Network(LITE1_DEEPLAB, DeepLabV3, deeplab_v3),
    "efficientnetlite1_deeplabv3plus": Network(LITE1_DEEPLAB, DEEPLAB_V3PLUS, deeplab_v3),
    "efficientnetlite2_deeplabv3": Network(LITE2_DEEPLAB, DeepLabV3, deeplab_v3),
    "efficientnetlite2_deeplabv3plus": Network(LITE2_DEEPLAB, DEEPLAB_V3PLUS, deeplab_v3),
    "resnet50_deeplabv3": Network(RESNET50_V3, DeepLabV3, RESNET_V3),
    "resnet50_deeplabv3plus": Network(RESNET50_V3, DEEPLAB_V3PLUS, RESNET_V3),
    "resnet101_deeplabv3": Network(RESNET101_V3, DeepLabV3, RESNET_V3),
    "resnet101_deeplabv3plus": Network(RESNET101_V3, DEEPLAB_V3PLUS, RESNET_V3),
    "resnet50_fcn_torchvision": Network(RESNET50, TORCHVISION_FCN_HEAD, TORCHVISION_FCN),
    "resnet101_fcn_torchvision": Network(RESNET101, TORCHVISION_FCN_HEAD, TORCHVISION_FCN),
    "resnet50_deeplabv3_torchvision": Network(RESNET50, TORCHVISION_V3_HEAD, TORCHVISION_V3),
    "resnet101_deeplabv3_torchvision": Network(RESNET101, TORCHVISION_V3_HEAD, TORCHVISION_V3),
}


def get_model(
    name: str, *, num_classes: int, axis_name: str | None = None, **options: Any
) -> nn.Module:
    """Makes the network `name`: images `[b, h, w, 3]` in 0..255 RGB to logits `[b, h, w, k]`.

    Args:
        axis_name: Mapped axis that batch norm is synchronised over; None on one device.
        options: Keyword-only parameters of any of `find_takers(name)`.
    """
    return build(_find(name), num_classes=num_classes, axis_name=axis_name, **options)


def build(
    network: Network, *, num_classes: int, axis_name: str | None = None, **options: Any
) -> nn.Module:
    """Makes a network out of its parts; see `get_model`."""
    common, backbone, head, join = (
        partial(taker, **{key: options.pop(key) for key in _options_of(taker) if key in options})
        for taker in _takers(network)
    )
    backbone = partial(backbone, **common(axis_name))
    # What is left nobody takes, and Python says so.
    return join(backbone, partial(head, num_classes=num_classes), axis_name, **options)


def find_takers(name: str) -> tuple[Callable, ...]:
    """Returns what takes the options of the network `name`.

    The keyword-only parameters in their signatures are the options, each in one of them, with the
    defaults that hold for this network. An option is explained in the docstring of the taker's
    `func`, under Args or Attributes.
    """
    return _takers(_find(name))


def get_weight_options(model: nn.Module) -> dict[str, Any]:
    """Returns the options without which the weights of a network mean something else."""
    options = {option: getattr(model.backbone, option) for option in model.backbone.WEIGHT_OPTIONS}
    scales = getattr(model, "skip_scales", ())  # which only some heads have, and few networks
    return options | ({"skip_scales": scales} if scales else {})


def common_options(
    axis_name: str | None,
    *,
    width: float = 1.0,
    norm: str = "none",
    preprocess: str = "caffe",
    dtype: str = "float32",
    remat: bool = False,
) -> dict[str, Any]:
    """Makes the attributes that every backbone has.

    Args:
        width: Factor of the channels of every layer of the backbone, at least 1/64; 1.0 is the
            real network.
        norm: Normalisation of the backbone's convolutions: `none`; `batch`, by the statistics of
            each batch while it trains; or `frozen`, by the stored ones, which stay as they are.
        preprocess: How an image is prepared, as the backbone's weights expect it: `caffe`,
            `torchvision`, `tensorflow`, `efficientnet_lite`, or `caffe:R,G,B`, Caffe's with another
            mean colour.
        dtype: Type of the computation: float32 or bfloat16. Parameters, logits and the loss are
            float32 in any case.
        remat: Whether training computes the maps inside a stage again instead of keeping them: less
            memory, more time, the same gradients.
    """
    if dtype not in DTYPES:
        raise UserError(f"unknown model.dtype {dtype!r}; known: {', '.join(DTYPES)}")
    if width < MIN_WIDTH:
        raise UserError(f"model.width={width} leaves no channel; at least {MIN_WIDTH}")
    return {
        "width": width,
        "norm": make_norm(norm, axis_name),
        "preprocess": make_preprocess(preprocess),
        "dtype": dtype,
        "remat": remat,
    }


def _find(name: str) -> Network:
    if name not in MODELS:
        raise UserError(f"unknown model.name {name!r}; known: {', '.join(MODELS)}")
    return MODELS[name]


def _takers(network: Network) -> tuple[partial, ...]:
    # The class of a backbone says how its weights were trained.
    backbone = partial(network.backbone).func
    common = partial(
        common_options,
        norm="none" if backbone.norm is None else "batch",
        preprocess=name_preprocess(backbone.preprocess),
    )
    return tuple(_show_options(part) for part in (common, *network))


def _show_options(part: Callable) -> partial:
    """Gives a callable the signature that consists of its options alone."""
    shown = partial(part)
    parameters = inspect.signature(shown).parameters
    shown.__signature__ = inspect.Signature([parameters[key] for key in _options_of(shown)])
    return shown


def _options_of(taker: partial) -> list[str]:
    """Lists the keyword-only parameters, but for the two that linen gives to every module."""
    parameters = inspect.signature(taker.func).parameters.values()
    names = [each.name for each in parameters if each.kind is each.KEYWORD_ONLY]
    return [name for name in names if name not in ("parent", "name")]
