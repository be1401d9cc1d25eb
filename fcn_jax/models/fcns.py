"""FCNs by backbone: from the keys of an experiment's `model` section to the network.

A constructor takes `num_classes`, `axis_name` (the mapped axis that batch norm is synchronised over)
and these keys.
"""

from fcn_jax.errors import UserError
from fcn_jax.models.alexnet import AlexNet
from fcn_jax.models.fcn import FCN
from fcn_jax.models.layers import make_norm
from fcn_jax.models.mobilenet import STRIDES, MobileNetV2
from fcn_jax.models.preprocess import make_preprocess
from fcn_jax.models.resnet import ResNet
from fcn_jax.models.vgg import VGG16, fcn_pools
from fcn_jax.ops.geometry import Window, same


def is_caffe(padding: str) -> bool:
    """Tells the releases' padding, 100 pixels once, from `same`, which keeps the size everywhere."""
    if padding not in ("caffe", "same"):
        raise UserError(f"unknown model.padding {padding!r}; known: caffe, same")
    return padding == "caffe"


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
    upsampling: str = "bilinear",
    fusion: str = "sum",
    preprocess: str = "caffe",
    dtype: str = "float32",
) -> FCN:
    """Makes an FCN on VGG16; the defaults are the released networks.

    Args:
        padding: `caffe` pads conv1_1 by 100 pixels and fc6 by none; `same` pads every convolution
            so that it keeps the size, which takes a third of the time on small images.
        fc6_kernel: padded `caffe`, at most the released 7, which is what pool5 has of one pixel; odd
            where pool5 is a skip.
    """
    caffe = is_caffe(padding)
    batch_norm = make_norm(norm, axis_name)
    fc6 = Window(fc6_kernel) if caffe else same(fc6_kernel)
    return FCN(
        num_classes=num_classes,
        backbone=VGG16(
            width=width,
            norm=batch_norm,
            pad=100 if caffe else 1,
            pools=fcn_pools(),
            preprocess=make_preprocess(preprocess),
            dtype=dtype,
        ),
        skips=skips,
        skip_scales=skip_scales,
        fc=((fc6, fc_channels), (Window(1), fc_channels)),
        norm=batch_norm,
        dropout=dropout,
        upsampling=upsampling,
        fusion=fusion,
    )


def alexnet_fcn(
    *,
    num_classes: int,
    axis_name: str | None = None,
    width: float = 1.0,
    norm: str = "none",
    one_tower: bool = False,
    padding: str = "caffe",
    fc6_kernel: int = 6,
    fc_channels: int = 4096,
    dropout: float = 0.5,
    upsampling: str = "bilinear",
    preprocess: str = "caffe",
    dtype: str = "float32",
) -> FCN:
    """Makes FCN-AlexNet (stride 32); the defaults are the released network.

    Args:
        one_tower: whether AlexNet is torchvision's, whose weights take `preprocess="torchvision"`.
        padding: `caffe` pads conv1 by 100 pixels and fc6 by none; `same` pads every layer so that
            its units stay where they are, which takes less time on small images.
        fc6_kernel: padded `caffe`, at most the released 6, which is what pool5 has of one pixel.
            Padded `same`, an even one has its units between those of pool5, and one more.
    """
    caffe = is_caffe(padding)
    batch_norm = make_norm(norm, axis_name)
    fc6 = Window(fc6_kernel) if caffe else same(fc6_kernel)
    return FCN(
        num_classes=num_classes,
        backbone=AlexNet(
            width=width,
            norm=batch_norm,
            one_tower=one_tower,
            pad=100 if caffe else 5,
            pool_pad=0 if caffe else 1,
            preprocess=make_preprocess(preprocess),
            dtype=dtype,
        ),
        fc=((fc6, fc_channels), (Window(1), fc_channels)),
        norm=batch_norm,
        dropout=dropout,
        upsampling=upsampling,
    )


def mobilenetv2_fcn(
    *,
    num_classes: int,
    axis_name: str | None = None,
    skips: tuple[str | int, ...],
    width: float = 1.0,
    norm: str = "batch",
    first_expand: bool = False,
    strides: tuple[int, ...] = STRIDES,
    activation: str = "relu6",
    upsampling: str = "bilinear",
    preprocess: str = "torchvision",
    dtype: str = "float32",
) -> FCN:
    """Makes an FCN on MobileNetV2, whose last 1x1 convolution stands in for fc6 and fc7."""
    return FCN(
        num_classes=num_classes,
        backbone=MobileNetV2(
            width=width,
            norm=make_norm(norm, axis_name),
            first_expand=first_expand,
            strides=strides,
            activation=activation,
            preprocess=make_preprocess(preprocess),
            dtype=dtype,
        ),
        skips=skips,
        fc=(),
        upsampling=upsampling,
    )


def resnet_fcn(
    *,
    num_classes: int,
    axis_name: str | None = None,
    depth: int,
    skips: tuple[str, ...],
    width: float = 1.0,
    norm: str = "batch",
    upsampling: str = "bilinear",
    preprocess: str = "torchvision",
    dtype: str = "float32",
) -> FCN:
    """Makes an FCN on a ResNet, which scores its maps as they are: there is no fc6 and no fc7.

    Args:
        upsampling: `learned` without skips is the ResNet-18 network of Zhang et al., Dive into Deep
            Learning, Sec. 14.11: 64 taps at stride 32, padding 16.
    """
    return FCN(
        num_classes=num_classes,
        backbone=ResNet(
            depth=depth,
            width=width,
            norm=make_norm(norm, axis_name),
            preprocess=make_preprocess(preprocess),
            dtype=dtype,
        ),
        skips=skips,
        fc=(),
        upsampling=upsampling,
        upscore_pad=16 if upsampling == "learned" and not skips else None,
    )
