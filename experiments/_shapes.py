"""What the shapes experiments have in common: everything but the network.

600 drawn images train, 100 others are scored at their own sizes, 96 to 128 pixels a side. The
networks are VGG16 at an eighth of its width with batch norm. fc6 has a rate of 4 at output stride 8
where the paper has 12, since these images are a quarter as large as VOC's.
"""

from ml_collections import ConfigDict


def get_config(model: dict) -> ConfigDict:
    """Makes an experiment for a network; all of them get the same steps, data and optimizer."""
    return ConfigDict(
        {
            "seed": 0,
            "data": {"name": "shapes", "source_dir": "", "data_dir": ""},
            "augment": {"crop_size": 96, "scale_range": (0.8, 1.25), "flip_prob": 0.5},
            "model": {"width": 0.125, "norm": "batch", "dropout": 0.0, "dtype": "float32", **model},
            "optim": {
                "name": "adamw",
                "learning_rate": 3e-3,
                "schedule": "poly",
                "power": 0.9,
                "momentum": 0.9,
                "beta2": 0.99,
                "weight_decay": 0.01,
                "lr_multipliers": ((".*", 1.0),),
                "decay_multipliers": ((".*/kernel", 1.0), (".*", 0.0)),
            },
            "train": {
                "num_steps": 400,
                "batch_size": 16,
                "normalize": True,
                "log_every": 10,
                "eval_every": 100,
                "checkpoint_every": 0,
            },
            "eval": {
                "split": "val",
                "device_batch_size": 4,
                "size_multiple": 128,
                "convention": "caffe",
                "num_samples": 4,
            },
        }
    )
