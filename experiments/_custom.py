"""What the experiments on a user's own folder have in common: everything but the network.

As the CamVid experiments, since little is known of the images: networks from random weights, crops
of 256 pixels, 2300 steps of 4 images. Pretrained weights are better where they fit (section init).
"""

from ml_collections import ConfigDict

from experiments import _scratch


def get_config(model: dict) -> ConfigDict:
    """Makes an experiment for a network; all of them get the same steps, data and optimizer."""
    config = _scratch.make_config(
        model,
        data="custom",
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
        size_multiple=64,  # sizes of photographs vary: few padded shapes, little padding
    )
    config.data.update(
        {
            # Where neither lists nor folders say what is in `val`.
            "val_frac": 0.2,
            "split_seed": 0,
            # For --config.data.name=tfds:NAME, a data set that TFDS has prepared.
            "mask_key": "",
            "mask_classes": (),
        }
    )
    return config
