"""DeepLab v3+ on EfficientNet-Lite0 on the animals of VOC2012, from ImageNet weights.

Source:  Chen et al. 2018 for the head, Tan and Le 2019 for the backbone; the recipe is ours,
         see experiments/_imagenet.py.
Run:     python launch.py train --config=voc_animals_efficientnetlite0_deeplabv3plus \
             --workdir=runs/voc_animals_efficientnetlite0_deeplabv3plus --config.data.source_dir=VOC
Expects: mean IoU 0.731 and 0.717 (two seeds), see docs/results.md.
Differs: the head's 3x3 convolutions are separable, and it has no norm.
"""

from experiments import _imagenet


def get_config():
    return _imagenet.voc_animals(
        _imagenet.EFFICIENTNET_LITE0,
        {"name": "efficientnetlite0_deeplabv3plus", **_imagenet.LIGHT_V3},
    )
