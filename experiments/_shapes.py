"""What the shapes experiments have in common: everything but the network.

600 drawn images train, 100 others are scored at their own sizes, 96 to 128 pixels a side. The
networks are VGG16 at an eighth of its width with batch norm. fc6 has a rate of 4 at output stride 8
where the paper has 12, since these images are a quarter as large as VOC's.
"""

from ml_collections import ConfigDict

from experiments import _scratch


def get_config(model: dict) -> ConfigDict:
    """Makes an experiment for a network; all of them get the same steps, data and optimizer."""
    return _scratch.make_config(
        model,
        data="shapes",
        width=0.125,
        augment={"crop_size": 96, "scale_range": (0.8, 1.25)},
        learning_rate=3e-3,
        train={
            "num_steps": 400,
            "batch_size": 16,
            "log_every": 10,
            "eval_every": 100,
            "checkpoint_every": 0,
        },
        size_multiple=128,  # one padded shape for all
    )
