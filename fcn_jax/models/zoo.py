"""The networks by name."""

from collections.abc import Callable, Mapping
from functools import partial

import flax.linen as nn

from fcn_jax.errors import UserError
from fcn_jax.models.deeplabs import (
    SIDES,
    mobilenetv2_deeplab,
    resnet_deeplab,
    vgg16_deeplab,
    vgg16_deeplab_noup,
)
from fcn_jax.models.fcns import alexnet_fcn, mobilenetv2_fcn, resnet_fcn, vgg16_fcn

# Of the computation; parameters, logits and loss are always float32. Not float16: beyond 65504 its
# gradients overflow, as those of a loss summed over all pixels do, and nothing scales the loss here.
DTYPES = ("float32", "bfloat16")
MIN_WIDTH = 1 / 64  # one channel in conv1
# Options that a layer cannot be made without.
SIZES = ("fc6_kernel", "fc_channels", "side_channels")

MODELS: Mapping[str, Callable[..., nn.Module]] = {
    "vgg16_fcn32s": partial(vgg16_fcn, skips=()),
    "vgg16_fcn16s": partial(vgg16_fcn, skips=("pool4",)),
    "vgg16_fcn8s": partial(vgg16_fcn, skips=("pool4", "pool3")),
    "vgg16_fcn8s_atonce": partial(vgg16_fcn, skips=("pool4", "pool3"), skip_scales=(1e-2, 1e-4)),
    "vgg16_fcn4s": partial(vgg16_fcn, skips=("pool4", "pool3", "pool2")),
    "vgg16_fcn2s": partial(vgg16_fcn, skips=("pool4", "pool3", "pool2", "pool1")),
    "alexnet_fcn32s": alexnet_fcn,
    "vgg16_deeplab": partial(vgg16_deeplab_noup, fc6_kernel=4, fc6_rate=4),
    "vgg16_deeplab_4x4": partial(vgg16_deeplab_noup, fc6_kernel=4, fc6_rate=8),
    "vgg16_deeplab_7x7": partial(vgg16_deeplab_noup, fc6_kernel=7, fc6_rate=4),
    "vgg16_deeplab_largefov": vgg16_deeplab,
    "vgg16_deeplab_msc": partial(
        vgg16_deeplab,
        fc6_kernel=4,
        fc6_rate=4,
        fc_channels=4096,
        pool5a=False,
        sides=SIDES,
    ),
    "vgg16_deeplab_msc_largefov": partial(vgg16_deeplab, sides=SIDES),
    "vgg16_deeplab_atrous45": partial(vgg16_deeplab, rates="atrous45", fc6_rate=24),
    "vgg16_deeplab_aspp": partial(  # ASPP-L of DeepLab v2
        vgg16_deeplab, fc6_rate=(6, 12, 18, 24), pool5a=False
    ),
    "mobilenetv2_fcn32s": partial(mobilenetv2_fcn, skips=()),
    "mobilenetv2_fcn16s": partial(mobilenetv2_fcn, skips=(16,)),
    "mobilenetv2_fcn8s": partial(mobilenetv2_fcn, skips=(16, 8)),
    "mobilenetv2_fcn4s": partial(mobilenetv2_fcn, skips=(16, 8, 4)),
    "mobilenetv2_deeplab_largefov": mobilenetv2_deeplab,
    "resnet18_fcn32s": partial(resnet_fcn, depth=18, skips=(), upsampling="learned"),
    "resnet18_fcn16s": partial(resnet_fcn, depth=18, skips=("layer3",)),
    "resnet18_fcn8s": partial(resnet_fcn, depth=18, skips=("layer3", "layer2")),
    "resnet18_deeplab_largefov": partial(resnet_deeplab, depth=18),
    "resnet50_deeplab_largefov": partial(resnet_deeplab, depth=50),
    "resnet101_deeplab_largefov": partial(resnet_deeplab, depth=101),
}


def get_model(
    name: str,
    *,
    num_classes: int,
    axis_name: str | None = None,
    remat: bool = False,
    **options,
) -> nn.Module:
    """Makes the network `name`: images `[b, h, w, 3]` in 0..255 RGB to logits `[b, h, w, k]`.

    Args:
        remat: trains in less memory and more time, with the same gradients; see `layers.run_stage`.
        options: the constructor's.
    """
    if name not in MODELS:
        raise UserError(f"unknown model.name {name!r}; known: {', '.join(MODELS)}")
    if (dtype := options.get("dtype", "float32")) not in DTYPES:
        raise UserError(f"unknown model.dtype {dtype!r}; known: {', '.join(DTYPES)}")
    if (width := options.get("width", 1.0)) < MIN_WIDTH:
        raise UserError(f"model.width={width} leaves no channel; at least {MIN_WIDTH}")
    if not 0 <= (dropout := options.get("dropout", 0.0)) < 1:
        raise UserError(f"model.dropout={dropout} must lie in [0, 1)")
    for size in SIZES:
        if options.get(size, 1) < 1:
            raise UserError(f"model.{size}={options[size]} must be at least 1")
    model = MODELS[name](num_classes=num_classes, axis_name=axis_name, **options)
    return model.clone(backbone=model.backbone.clone(remat=remat))
