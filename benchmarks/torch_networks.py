"""The benchmarked networks in PyTorch, written as its users write them, with our names and tables.

For images of k * stride + 1 pixels, where rounding up and down is the same, or of FCN's padding.
"""

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fcn_jax.ops.papers import MOBILENETV2_STAGES, MOBILENETV2_STRIDES, VGG16_STAGES

CAFFE_MEAN_BGR = (104.00699, 116.66877, 122.67892)
TORCHVISION_MEAN, TORCHVISION_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class VGG16(nn.Module):
    """Convolutions and pools up to pool5; `rates` are those of conv1 to conv5."""

    channels: ClassVar = {
        f"pool{stage}": features for stage, (_, features) in enumerate(VGG16_STAGES, start=1)
    }

    def __init__(self, pools: list[nn.MaxPool2d], *, pad: int = 1, rates=(1, 1, 1, 1, 1)):
        super().__init__()
        self.register_buffer("mean", torch.tensor(CAFFE_MEAN_BGR)[:, None, None], persistent=False)
        channels = 3
        for stage, (convs, features) in enumerate(VGG16_STAGES, start=1):
            for index in range(1, convs + 1):
                rate = rates[stage - 1]
                padding = pad if channels == 3 else rate
                layer = nn.Conv2d(channels, features, 3, padding=padding, dilation=rate)
                self.add_module(f"conv{stage}_{index}", layer)
                channels = features
            self.add_module(f"pool{stage}", pools[stage - 1])

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        maps = images.float().flip(1) - self.mean
        maps = maps.contiguous(memory_format=torch.channels_last)
        features = {}
        for name, layer in self.named_children():
            if name.startswith("pool"):
                maps = features[name] = layer(maps)
            else:
                maps = F.relu(layer(maps), inplace=True)
        return features


class ConvNorm(nn.Module):
    """Convolution and batch norm with stored statistics."""

    def __init__(
        self, channels: int, features: int, kernel: int = 1, *, activation=F.relu6, **conv
    ):
        super().__init__()
        pad = conv.get("dilation", 1) * (kernel // 2)
        self.conv = nn.Conv2d(channels, features, kernel, padding=pad, bias=False, **conv)
        self.norm = nn.BatchNorm2d(features)
        self.activation = activation

    def forward(self, maps: Tensor) -> Tensor:
        maps = self.norm(self.conv(maps))
        return self.activation(maps, inplace=True) if self.activation else maps


class Bottleneck(nn.Module):
    """Expands the channels (where `expansion` is one), filters each by itself, projects them."""

    def __init__(
        self,
        channels: int,
        features: int,
        *,
        expansion: int | None,
        residual: bool,
        activation=F.relu6,
        **conv,
    ):
        super().__init__()
        hidden = channels * (expansion or 1)
        self.residual = residual
        self.expand = (
            ConvNorm(channels, hidden, activation=activation) if expansion else nn.Identity()
        )
        self.depthwise = ConvNorm(hidden, hidden, 3, groups=hidden, activation=activation, **conv)
        self.project = ConvNorm(hidden, features, activation=None)

    def forward(self, maps: Tensor) -> Tensor:
        branch = self.project(self.depthwise(self.expand(maps)))
        return maps + branch if self.residual else branch


class MobileNetV2(nn.Module):
    """Up to bottleneck17, or to the 1x1 convolution to 1280 channels after it.

    `first_expand` gives bottleneck1 an expansion by 1, and `strides` are those of the stages, as
    some files of weights have them; `activation` is then `F.relu`.
    """

    channels: ClassVar = {"bottleneck3": 24, "bottleneck6": 32, "bottleneck13": 96}

    def __init__(
        self,
        *,
        output_stride: int = 32,
        conv_last: bool = True,
        first_expand: bool = False,
        strides=MOBILENETV2_STRIDES,
        activation=F.relu6,
    ):
        super().__init__()
        for name, value in (("mean", TORCHVISION_MEAN), ("std", TORCHVISION_STD)):
            buffer = 255 * torch.tensor(value)[:, None, None]
            self.register_buffer(name, buffer, persistent=False)
        self.conv0 = ConvNorm(3, 32, 3, stride=2, activation=activation)
        channels, product, rate, number = 32, 2, 1, 0
        for (expansion, features, repeats), table_stride in zip(
            MOBILENETV2_STAGES, strides, strict=True
        ):
            for index in range(repeats):
                number += 1
                stride, before = (table_stride if index == 0 else 1), rate
                residual = stride == 1 and channels == features
                if product * stride > output_stride:
                    stride, rate = 1, rate * stride
                product *= stride
                block = Bottleneck(
                    channels,
                    features,
                    expansion=expansion if number > 1 or first_expand else None,
                    residual=residual,
                    activation=activation,
                    stride=stride,
                    dilation=before,
                )
                self.add_module(f"bottleneck{number}", block)
                channels = features
        if conv_last:
            self.conv_last = ConvNorm(channels, 1280, activation=activation)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        maps = (images.float() - self.mean) / self.std
        maps = maps.contiguous(memory_format=torch.channels_last)
        features = {}
        for name, layer in self.named_children():
            maps = features[name] = layer(maps)
        return features


class FCN(nn.Module):
    """Scores features and sums them, coarse to fine; `padded` by FCN's 100 pixels, or `same`."""

    def __init__(self, backbone, num_classes: int, *, deepest: int, skips=(), fc=(), padded=False):
        super().__init__()
        self.backbone, self.skips, self.padded = backbone, skips, padded
        self.fc = [f"fc{number}" for number, _ in enumerate(fc, start=6)]
        for name, (kernel, features) in zip(self.fc, fc, strict=True):
            self.add_module(name, nn.Conv2d(deepest, features, kernel))
            deepest = features
        self.score_fr = nn.Conv2d(deepest, num_classes, 1)
        for skip in skips:
            self.add_module(f"score_{skip}", nn.Conv2d(backbone.channels[skip], num_classes, 1))
        self.factors = [2] * len(skips) + [32 // 2 ** len(skips)]
        for index, factor in enumerate(self.factors if padded else ()):
            upscore = nn.ConvTranspose2d(
                num_classes, num_classes, 2 * factor, factor, groups=num_classes, bias=False
            )
            taps = 1 - (torch.arange(2 * factor) - factor + 0.5).abs() / factor
            upscore.weight = nn.Parameter((taps[:, None] * taps).expand_as(upscore.weight).clone())
            self.add_module(f"up{index}", upscore.requires_grad_(False))

    def forward(self, images: Tensor) -> Tensor:
        features = self.backbone(images)
        maps = list(features.values())[-1]
        for name in self.fc:
            maps = F.dropout(F.relu(getattr(self, name)(maps)), training=self.training)
        maps = self.score_fr(maps)
        for index, skip in enumerate(self.skips):
            finer = getattr(self, f"score_{skip}")(features[skip])
            if self.padded:
                maps = self.up(index, maps)
                offset = (5, 9)[index]
                maps = maps + finer[:, :, offset:, offset:][:, :, : maps.shape[2], : maps.shape[3]]
            else:
                maps = finer + interpolate(maps, finer.shape[2:])
        if not self.padded:
            return interpolate(maps, images.shape[2:])
        offset = {0: 19, 1: 27, 2: 31}[len(self.skips)]
        maps = self.up(len(self.skips), maps)[:, :, offset:, offset:]
        return maps[:, :, : images.shape[2], : images.shape[3]]

    def up(self, index: int, maps: Tensor) -> Tensor:
        return getattr(self, f"up{index}")(maps)


class DeepLab(nn.Module):
    """LargeFOV: an atrous fc6 on the deepest features, fc7, fc8, and one upsampling."""

    def __init__(self, backbone, num_classes: int, *, deepest: int, channels: int, fc6_rate: int):
        super().__init__()
        self.backbone = backbone
        self.pool5a = nn.AvgPool2d(3, 1, 1)
        self.fc6 = nn.Conv2d(deepest, channels, 3, padding=fc6_rate, dilation=fc6_rate)
        self.fc7 = nn.Conv2d(channels, channels, 1)
        self.fc8 = nn.Conv2d(channels, num_classes, 1)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.pool5a(list(self.backbone(images).values())[-1])
        for layer in (self.fc6, self.fc7):
            maps = F.dropout(F.relu(layer(maps)), training=self.training)
        return interpolate(self.fc8(maps), images.shape[2:])


def interpolate(maps: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=True)


def vgg16_fcn(num_classes: int, *, skips: tuple[str, ...]) -> FCN:
    pools = [nn.MaxPool2d(2, 2, ceil_mode=True) for _ in VGG16_STAGES]
    fc = ((7, 4096), (1, 4096))
    backbone = VGG16(pools, pad=100)
    return FCN(backbone, num_classes, deepest=512, skips=skips, fc=fc, padded=True)


def vgg16_deeplab(num_classes: int, *, output_stride: int) -> DeepLab:
    strides, rates = {8: ((2, 2, 2, 1, 1), (1, 1, 1, 1, 2)), 4: ((2, 2, 1, 1, 1), (1, 1, 1, 2, 4))}[
        output_stride
    ]
    pools = [nn.MaxPool2d(3, stride, 1, ceil_mode=True) for stride in strides]
    backbone, fc6_rate = VGG16(pools, rates=rates), 96 // output_stride
    return DeepLab(backbone, num_classes, deepest=512, channels=1024, fc6_rate=fc6_rate)


def mobilenetv2_fcn(num_classes: int, *, skips: tuple[str, ...]) -> FCN:
    return FCN(MobileNetV2(), num_classes, deepest=1280, skips=skips)


def mobilenetv2_deeplab(num_classes: int) -> DeepLab:
    backbone = MobileNetV2(output_stride=8, conv_last=False)
    return DeepLab(backbone, num_classes, deepest=320, channels=256, fc6_rate=12)


NETWORKS = {
    "vgg16_fcn32s": lambda classes: vgg16_fcn(classes, skips=()),
    "vgg16_fcn8s": lambda classes: vgg16_fcn(classes, skips=("pool4", "pool3")),
    "vgg16_deeplab_largefov": lambda classes: vgg16_deeplab(classes, output_stride=8),
    "vgg16_deeplab_atrous45": lambda classes: vgg16_deeplab(classes, output_stride=4),
    "mobilenetv2_fcn8s": lambda classes: mobilenetv2_fcn(
        classes, skips=("bottleneck13", "bottleneck6")
    ),
    "mobilenetv2_deeplab_largefov": mobilenetv2_deeplab,
}

LEAVES = {"kernel": "weight", "bias": "bias", "scale": "weight", "mean": "running_mean"}


def load(network: nn.Module, leaves: Mapping[str, np.ndarray]) -> nn.Module:
    """Copies our variables, `{"backbone/conv1_1/kernel": array}`, into the network of that name."""
    state = network.state_dict()
    fixed = {name for name in state if name.startswith("up") or name.endswith("tracked")}
    for path, leaf in leaves.items():
        *modules, kind = path.split("/")
        if modules[-1] != "norm" and ".".join([*modules, "conv", "weight"]) in state:
            modules.append("conv")
        name = ".".join([*modules, LEAVES.get(kind, "running_var")])
        array = leaf.transpose(3, 2, 0, 1) if leaf.ndim == 4 else leaf
        if state[name].shape != array.shape:
            raise ValueError(
                f"{path}: {array.shape} cannot be {name} of {tuple(state[name].shape)}"
            )
        state[name].copy_(torch.from_numpy(np.ascontiguousarray(array)))
        fixed.add(name)
    if missing := set(state) - fixed:
        raise ValueError(f"not among our variables: {sorted(missing)}")
    return network
