"""What all experiments from random weights have in common.

Batch norm instead of pretrained weights, AdamW instead of Caffe's SGD. beta2 is 0.99: the squared
gradients of the first steps, ten times larger than later ones, would otherwise slow a run of one
or two thousand steps to its end.
"""

from typing import Any

from ml_collections import ConfigDict

from experiments import _plain


def make_config(
    model: dict[str, Any],
    *,
    data: str,
    width: float,
    augment: dict[str, Any],
    learning_rate: float,
    train: dict[str, int],
    size_multiple: int,
) -> ConfigDict:
    """Makes an experiment: a network (its own keys of section `model`) on a data set."""
    return ConfigDict(
        {
            "seed": 0,
            "data": {"name": data, "source_dir": "", "data_dir": "", "classes": ()},
            "augment": {**_plain.AUGMENT, "flip_prob": 0.5, **augment},
            "model": {
                "width": width,
                "norm": "batch",
                "preprocess": "caffe",
                "dropout": 0.0,
                "dtype": "float32",
                "remat": False,
                **model,
            },
            "init": {**_plain.INIT},
            "loss": {**_plain.LOSS},
            "optim": {
                "name": "adamw",
                "learning_rate": learning_rate,
                "schedule": "poly",
                "power": 0.9,
                "momentum": 0.9,
                "beta2": 0.99,
                "weight_decay": 0.01,
                "lr_multipliers": ((".*", 1.0),),
                "decay_multipliers": ((".*/kernel", 1.0), (".*", 0.0)),
            },
            "train": {"split": "train", "iter_size": 1, "normalize": True, **train},
            "eval": {
                "split": "val",
                "device_batch_size": 4,
                "size_multiple": size_multiple,
                "convention": "caffe",
                "boundary_px": 5,
                "num_samples": 4,
            },
        }
    )
