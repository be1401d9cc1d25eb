"""FCN-8s on EfficientNet-Lite0 on the animals of VOC2012, from ImageNet weights.

Source:  Long et al. 2015 for the head, Tan and Le 2019 for the backbone; the recipe is ours,
         see experiments/_imagenet.py.
Run:     python launch.py train --config=voc_animals_efficientnetlite0_fcn8s \
             --workdir=runs/voc_animals_efficientnetlite0_fcn8s --config.data.source_dir=VOC
Expects: mean IoU 0.698 (one seed), see docs/results.md.
Differs: no released counterpart.
"""

from experiments import _imagenet


def get_config():
    return _imagenet.voc_animals(_imagenet.EFFICIENTNET_LITE0, {"name": "efficientnetlite0_fcn8s"})
