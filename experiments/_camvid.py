"""What the CamVid experiments have in common: everything but the network.

367 images train, 101 are scored at 360x480, all networks from random weights: no pretraining.
The networks are VGG16 at a quarter of its width with batch norm, so that two CPU cores train one
in about twenty minutes. At the same cost, 2300 steps of 4 images scored higher by far than 1150 of 8
with the usual beta2 of 0.999 (docs/results.md).
"""

from ml_collections import ConfigDict


def get_config(model: dict) -> ConfigDict:
    """Makes an experiment for a network; all of them get the same steps, data and optimizer."""
    return ConfigDict(
        {
            "seed": 0,
            "data": {"name": "camvid", "source_dir": "", "data_dir": ""},
            "augment": {"crop_size": 256, "scale_range": (0.6, 1.6), "flip_prob": 0.5},
            "model": {"width": 0.25, "norm": "batch", "dropout": 0.0, "dtype": "float32", **model},
            "optim": {
                "name": "adamw",
                "learning_rate": 1e-3,
                "schedule": "poly",
                "power": 0.9,
                "momentum": 0.9,
                "beta2": 0.99,
                "weight_decay": 0.01,
                "lr_multipliers": ((".*", 1.0),),
                "decay_multipliers": ((".*/kernel", 1.0), (".*", 0.0)),
            },
            "train": {
                "num_steps": 2300,
                "batch_size": 4,
                "normalize": True,
                "log_every": 20,
                "eval_every": 460,
                "checkpoint_every": 230,
            },
            "eval": {
                "split": "val",
                "device_batch_size": 4,
                "size_multiple": 8,
                "convention": "caffe",
                "num_samples": 4,
            },
        }
    )
