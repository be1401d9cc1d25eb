"""FCN-16s on CamVid, a quarter as wide as VGG16, from scratch.

Source:  Long et al. 2015 for the network; the recipe is ours, see experiments/_scratch.py.
Run:     python launch.py train --config=camvid_fcn16s --workdir=runs/camvid_fcn16s \
             --config.data.source_dir=CamVid
Expects: no published number.  Ours: not yet run.
Differs: no pretraining, batch norm, no 100-pixel padding, fc6 3x3 instead of 7x7.
"""

from experiments import _scratch


def get_config():
    return _scratch.camvid(
        {"name": "vgg16_fcn16s", "padding": "same", "fc6_kernel": 3, "fc_channels": 256}
    )
