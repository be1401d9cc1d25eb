"""One skip more, twice the steps and a loss that counts classes, not pixels: how high CamVid goes.

Source:  Long et al. 2015 for the head, Sandler et al. 2018 for the backbone, Milletari et al. 2016
         for the Dice loss; the recipe is ours, see experiments/_imagenet.py.
Run:     python launch.py train --config=camvid_mobilenetv2_fcn4s_dice \
             --workdir=runs/camvid_mobilenetv2_fcn4s_dice --config.data.source_dir=CamVid
Expects: not run since its network was corrected, see docs/results.md.
Differs: no released counterpart. Not one of the four that are compared with each other: they all
         have the same recipe, and this one has another.
"""

from experiments import _imagenet


def get_config():
    config = _imagenet.camvid(_imagenet.MOBILENETV2, {"name": "mobilenetv2_fcn4s"})
    config.augment.update(scale_range=(0.5, 2.0), brightness=0.2, contrast=0.2, saturation=0.2)
    config.loss = {"dice_weight": 1.0}
    config.train.num_steps = 4600
    return config
