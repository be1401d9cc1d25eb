"""What the CamVid experiments have in common: everything but the network.

367 images train, 101 are scored at 360x480, all networks from random weights: no pretraining.
The networks are VGG16 at a quarter of its width with batch norm, so that two CPU cores train one
in about twenty minutes. At the same cost, 2300 steps of 4 images scored higher by far than 1150 of 8
with the usual beta2 of 0.999 (docs/results.md).
"""

from ml_collections import ConfigDict

from experiments import _scratch


def get_config(model: dict) -> ConfigDict:
    """Makes an experiment for a network; all of them get the same steps, data and optimizer."""
    return _scratch.make_config(
        model,
        data="camvid",
        width=0.25,
        augment={"crop_size": 256, "scale_range": (0.6, 1.6)},
        learning_rate=1e-3,
        train={
            "num_steps": 2300,
            "batch_size": 4,
            "log_every": 20,
            "eval_every": 460,
            "checkpoint_every": 230,
        },
        size_multiple=8,  # 360x480 needs no padding
    )
