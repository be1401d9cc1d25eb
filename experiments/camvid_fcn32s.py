"""FCN-32s on CamVid, a quarter as wide as VGG16, from scratch.

Source:  Long et al. 2015 for the network; the recipe is ours, see experiments/_camvid.py.
Run:     python launch.py train --config=camvid_fcn32s --workdir=runs/camvid_fcn32s \
             --config.data.source_dir=CamVid
Expects: see docs/results.md.
Differs: no pretraining, batch norm, no 100-pixel padding, fc6 3x3 instead of 7x7.
"""

from experiments import _camvid


def get_config():
    return _camvid.get_config(
        {"name": "vgg16_fcn32s", "padding": "same", "fc6_kernel": 3, "fc_channels": 256}
    )
