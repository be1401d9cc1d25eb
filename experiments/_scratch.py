"""Skips against atrous convolution from random weights: small VGG16s with batch norm.

All networks of a data set get the same steps, batches, augmentation and optimizer: AdamW instead of
Caffe's SGD. beta2 is 0.99: the squared gradients of the first steps, ten times larger than later
ones, would otherwise slow a run of one or two thousand steps to its end.
"""

from typing import Any

from ml_collections import ConfigDict


def shapes(model: dict[str, Any]) -> ConfigDict:
    """Makes an experiment on the synthetic shapes.

    600 drawn images train, 100 others are scored at their own sizes, 96 to 128 pixels a side. The
    networks are an eighth as wide as VGG16. fc6 of LargeFOV has a rate of 4 at output stride 8
    where the paper has 12, since these images are a quarter as large as VOC's.
    """
    return _make_config(
        {"width": 0.125, **model},
        data="shapes",
        augment={"crop_size": 96, "scale_range": (0.8, 1.25)},
        learning_rate=3e-3,
        train={"num_steps": 400, "batch_size": 16, "log_every": 10, "eval_every": 100},
        size_multiple=128,  # one padded shape for all
    )


def camvid(model: dict[str, Any]) -> ConfigDict:
    """Makes an experiment on CamVid: 367 images train, 101 are scored at 360x480.

    The networks are a quarter as wide as VGG16, so that two CPU cores train one in about twenty
    minutes. At the same cost, 2300 steps of 4 images scored higher by far than 1150 of 8 with the
    usual beta2 of 0.999 (docs/results.md).
    """
    return _make_quarter(model, data="camvid", size_multiple=8)  # 360x480 needs no padding


def custom(model: dict[str, Any]) -> ConfigDict:
    """Makes an experiment on a user's own folder, with the recipe of CamVid.

    Little is known of the images, so nothing is fitted to them. Pretrained weights are better where
    they fit (section init).
    """
    # Sizes of photographs vary: few padded shapes, little padding.
    return _make_quarter(model, data="custom", size_multiple=64)


def _make_quarter(model: dict[str, Any], *, data: str, size_multiple: int) -> ConfigDict:
    return _make_config(
        {"width": 0.25, **model},
        data=data,
        augment={"crop_size": 256, "scale_range": (0.6, 1.6)},
        learning_rate=1e-3,
        train={"num_steps": 2300, "batch_size": 4, "eval_every": 460, "checkpoint_every": 230},
        size_multiple=size_multiple,
    )


def _make_config(
    model: dict[str, Any],
    *,
    data: str,
    augment: dict[str, Any],
    learning_rate: float,
    train: dict[str, int],
    size_multiple: int,
) -> ConfigDict:
    return ConfigDict(
        {
            "data": {"name": data},
            "augment": augment,
            "model": {"norm": "batch", "dropout": 0.0, **model},
            "optim": {
                "name": "adamw",
                "learning_rate": learning_rate,
                "schedule": "poly",
                "beta2": 0.99,
                "weight_decay": 0.01,
                "decay_multipliers": ((".*/kernel", 1.0), (".*", 0.0)),
            },
            "train": train,
            "eval": {"size_multiple": size_multiple, "num_samples": 4},
        }
    )
