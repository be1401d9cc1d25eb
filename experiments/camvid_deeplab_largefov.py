"""DeepLab-LargeFOV on CamVid, a quarter as wide as VGG16, from scratch.

Source:  Chen et al. 2015 for the network; the recipe is ours, see experiments/_scratch.py.
Run:     python launch.py train --config=camvid_deeplab_largefov \
             --workdir=runs/camvid_deeplab_largefov --config.data.source_dir=CamVid
Expects: 0.4758 mean IoU at the last step, one seed (docs/results.md).
Differs: no pretraining, batch norm, loss at every pixel instead of every 8th.
"""

from experiments import _scratch


def get_config():
    return _scratch.camvid({"name": "vgg16_deeplab_largefov", "fc6_rate": 12, "fc_channels": 256})
