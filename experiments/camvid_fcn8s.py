"""FCN-8s on CamVid, a quarter as wide as VGG16, from scratch.

Source:  Long et al. 2015 for the network; the recipe is ours, see experiments/_scratch.py.
Run:     python launch.py train --config=camvid_fcn8s --workdir=runs/camvid_fcn8s \
             --config.data.source_dir=CamVid
Expects: 0.5380 mean IoU at the last step, one seed (docs/results.md).
Differs: no pretraining, batch norm, no 100-pixel padding, fc6 3x3 instead of 7x7.
"""

from experiments import _scratch


def get_config():
    return _scratch.camvid(
        {"name": "vgg16_fcn8s", "padding": "same", "fc6_kernel": 3, "fc_channels": 256}
    )
