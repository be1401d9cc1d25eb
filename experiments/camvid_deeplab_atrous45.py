"""DeepLab with atrous conv4 and conv5 (output stride 4) on CamVid, a quarter as wide as VGG16.

Source:  Chen et al. 2015 for the network; the recipe is ours, see experiments/_scratch.py.
Run:     python launch.py train --config=camvid_deeplab_atrous45 \
             --workdir=runs/camvid_deeplab_atrous45 --config.data.source_dir=CamVid
Expects: 0.4997 mean IoU at the last step, one seed (docs/results.md).
Differs: no released counterpart; otherwise as camvid_deeplab_largefov.
"""

from experiments import _scratch


def get_config():
    return _scratch.camvid({"name": "vgg16_deeplab_atrous45", "fc6_rate": 24, "fc_channels": 256})
