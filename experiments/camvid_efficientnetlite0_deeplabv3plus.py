"""DeepLab v3+ on EfficientNet-Lite0 on CamVid, from ImageNet weights.

Source:  Chen et al. 2018 for the head, Tan and Le 2019 for the backbone; the recipe is ours,
         see experiments/_imagenet.py.
Run:     python launch.py train --config=camvid_efficientnetlite0_deeplabv3plus \
             --workdir=runs/camvid_efficientnetlite0_deeplabv3plus --config.data.source_dir=CamVid
Expects: mean IoU 0.690 and 0.700 (two seeds), see docs/results.md.
Differs: the head's 3x3 convolutions are separable, and it has no norm.
"""

from experiments import _imagenet


def get_config():
    return _imagenet.camvid(
        _imagenet.EFFICIENTNET_LITE0,
        {"name": "efficientnetlite0_deeplabv3plus", **_imagenet.LIGHT_V3},
    )
