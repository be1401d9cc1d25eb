"""DeepLab v3+ on MobileNetV2 on CamVid, from ImageNet weights.

Source:  Chen et al. 2018 for the head, Sandler et al. 2018 for the backbone; the recipe is ours,
         see experiments/_imagenet.py.
Run:     python launch.py train --config=camvid_mobilenetv2_deeplabv3plus \
             --workdir=runs/camvid_mobilenetv2_deeplabv3plus --config.data.source_dir=CamVid
Expects: mean IoU 0.683 and 0.686 (two seeds), see docs/results.md.
Differs: the head's 3x3 convolutions are separable, and it has no norm; it learns faster, and the
         backbone more slowly, than in the other experiments on these images.
"""

from experiments import _imagenet


def get_config():
    return _imagenet.camvid(
        _imagenet.MOBILENETV2,
        {"name": "mobilenetv2_deeplabv3plus", "score_std": 0.1, **_imagenet.LIGHT_V3},
        **_imagenet.SMALL_FEATURES,
    )
