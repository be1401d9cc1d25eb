"""DeepLab v3 on EfficientNet-Lite0 on CamVid, from ImageNet weights.

Source:  Chen et al. 2017 for the head, Tan and Le 2019 for the backbone; the recipe is ours,
         see experiments/_imagenet.py.
Run:     python launch.py train --config=camvid_efficientnetlite0_deeplabv3 \
             --workdir=runs/camvid_efficientnetlite0_deeplabv3 --config.data.source_dir=CamVid
Expects: mean IoU 0.636 (one seed), see docs/results.md.
Differs: the head's 3x3 convolutions are separable, and it has no norm.
"""

from experiments import _imagenet


def get_config():
    return _imagenet.camvid(
        _imagenet.EFFICIENTNET_LITE0, {"name": "efficientnetlite0_deeplabv3", **_imagenet.LIGHT_V3}
    )
