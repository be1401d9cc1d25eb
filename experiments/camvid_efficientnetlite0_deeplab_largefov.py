"""DeepLab-LargeFOV on EfficientNet-Lite0 on CamVid, from ImageNet weights.

Source:  Chen et al. 2015 for the head, Tan and Le 2019 for the backbone; the recipe is ours,
         see experiments/_imagenet.py.
Run:     python launch.py train --config=camvid_efficientnetlite0_deeplab_largefov \
             --workdir=runs/camvid_efficientnetlite0_deeplab_largefov \
             --config.data.source_dir=CamVid
Expects: mean IoU 0.654 (one seed), see docs/results.md.
Differs: no released counterpart.
"""

from experiments import _imagenet


def get_config():
    return _imagenet.camvid(
        _imagenet.EFFICIENTNET_LITE0, {"name": "efficientnetlite0_deeplab_largefov"}
    )
