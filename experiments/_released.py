"""The published recipes on VOC, FCN's and DeepLab's, and what each family has in common.

Those of FCN, DeepLab v1 and v2 are Caffe's SGD with the learning rate inside the velocity, biases
at twice the learning rate and without weight decay. Weights come from ImageNet: `import_weights`
makes the files that section `init` names, from what the authors of VGG16 and CaffeNet released, and
from torchvision's ResNet-101.

Source: solver.prototxt and train.prototxt of the voc-* folders in shelhamer/fcn.berkeleyvision.org;
the released DeepLab v1 configs; Long et al. 2015, Sec. 4; Chen et al. 2015, Sec. 4; Chen et al.
2016 (v2), Sec. 4.1; Chen et al. 2017 (v3), Sec. 4; Chen et al. 2018 (v3+), Sec. 4.
"""

from typing import Any

from ml_collections import ConfigDict

BIAS_TWICE = ((r".*/bias", 2.0), (r".*/kernel", 1.0))
BIAS_UNDECAYED = ((r".*/bias", 0.0), (r".*/kernel", 1.0))

# fc8 learns ten times as fast as the network below it.
FC8_TENFOLD = ((r"fc8/kernel", 10.0), (r"fc8/bias", 20.0), *BIAS_TWICE)
# So does each of several.
EVERY_FC8_TENFOLD = ((r"fc8_\d/kernel", 10.0), (r"fc8_\d/bias", 20.0))
# Norms stay as ImageNet left them, their factors and biases too.
NORM_KEPT = ((r".*/norm/.*", 0.0),)
# Rates of ASPP's branches in DeepLab v2, small and large.
ASPP_S, ASPP_L = (2, 4, 8, 12), (6, 12, 18, 24)


def fcn(
    model: dict[str, Any],
    *,
    learning_rate: float,
    init: dict[str, str],
    momentum: float = 0.99,
    num_steps: int = 100_000,
    batch_size: int = 1,
    divide_by: str = "images",
    lr_multipliers: tuple = BIAS_TWICE,
    decay_multipliers: tuple = BIAS_UNDECAYED,
) -> ConfigDict:
    """Makes an FCN experiment: whole images, one at a time, on the training images of SBD."""
    return _make_config(
        model,
        init=init,
        augment={"crop_size": 500, "flip_prob": 0.0},
        optim={
            "learning_rate": learning_rate,
            "momentum": momentum,
            "lr_multipliers": lr_multipliers,
            "decay_multipliers": decay_multipliers,
        },
        train={
            "split": "sbd_train",
            "num_steps": num_steps,
            "batch_size": batch_size,
            "iter_size": batch_size,
            "eval_every": 4000,
            "checkpoint_every": 4000,
        },
        divide_by=divide_by,
        # Most VOC images are 500x375 or 375x500: these need no padding.
        evaluation={"split": "seg11valid", "size_multiple": 125},
    )


def deeplab(
    model: dict[str, Any],
    *,
    init: dict[str, str],
    crop_size: int,
    eval_size: int,
    batch_size: int,
    num_steps: int = 6000,
    learning_rate: float = 1e-3,
    schedule: str = "step",
    lr_multipliers: tuple = FC8_TENFOLD,
    decay_multipliers: tuple = BIAS_UNDECAYED,
    scales: tuple[float, ...] = (),
    label_shrink: bool = True,
) -> ConfigDict:
    """Makes a DeepLab experiment: mirrored crops, the loss on the score map, trained on train_aug.

    Args:
        eval_size: every image is padded to this size, bottom and right, with the mean.
        scales: factors of the size of a training image, of which each is drawn as often.
        label_shrink: whether the loss is taken on the score map, and not at every pixel.
    """
    shrink = {"label_shrink": True} if label_shrink else {}
    return _make_config(
        {**shrink, **model},
        init=init,
        augment={"crop_size": crop_size, **({"scales": scales} if scales else {})},
        optim={
            "learning_rate": learning_rate,
            "schedule": schedule,
            "lr_multipliers": lr_multipliers,
            "decay_multipliers": decay_multipliers,
        },
        train={
            "split": "train_aug",
            "num_steps": num_steps,
            "batch_size": batch_size,
            "eval_every": 1000,
            "checkpoint_every": 500,
        },
        evaluation={"size_multiple": eval_size},
    )


def deeplab_v2(model: dict[str, Any], **options: Any) -> ConfigDict:
    """Makes a DeepLab v2 experiment: smaller batches, more of them, and the poly schedule."""
    recipe = {"crop_size": 321, "eval_size": 513, "batch_size": 10, "num_steps": 20_000}
    return deeplab(model, schedule="poly", **recipe, **options)


def deeplab_v3(model: dict[str, Any], *, init: dict[str, str]) -> ConfigDict:
    """Makes a DeepLab v3 or v3+ experiment, the first stage: batch norm learns, output stride 16.

    One rate for all layers, no bias but those of norms and scores, and the loss at every pixel.
    """
    return _make_config(
        {"norm": "batch", **model},
        init=init,
        augment={"crop_size": 513, "scale_range": (0.5, 2.0)},
        optim={
            "learning_rate": 0.007,
            "schedule": "poly",
            "weight_decay": 1e-4,
            "decay_multipliers": ((r".*/kernel", 1.0), (r".*", 0.0)),
        },
        train={
            "split": "train_aug",
            "num_steps": 30_000,
            "batch_size": 16,
            "eval_every": 5000,
            "checkpoint_every": 1000,
        },
        evaluation={"size_multiple": 513},
    )


def _make_config(
    model: dict[str, Any],
    *,
    init: dict[str, str],
    augment: dict[str, Any],
    optim: dict[str, Any],
    train: dict[str, Any],
    evaluation: dict[str, Any],
    divide_by: str = "pixels",
) -> ConfigDict:
    return ConfigDict(
        {
            "seed": 1337,  # the FCN release's; no other of its random choices can be repeated
            "data": {"name": "voc"},
            "augment": augment,
            "model": model,
            "init": init,
            "loss": {"divide_by": divide_by},
            "optim": {"name": "sgd", "weight_decay": 5e-4, **optim},
            "train": train,
            "eval": {"device_batch_size": 1, **evaluation},
        }
    )
