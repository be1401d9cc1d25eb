"""DeepLab-LargeFOV on MobileNetV2 on the animals of VOC2012, from ImageNet weights.

Source:  Chen et al. 2015 for the head, Sandler et al. 2018 for the backbone; the recipe is ours,
         see experiments/_imagenet.py.
Run:     python launch.py train --config=voc_animals_mobilenetv2_deeplab_largefov \
             --workdir=runs/voc_animals_mobilenetv2_deeplab_largefov --config.data.source_dir=VOC
Expects: mean IoU 0.616 and 0.620 (two seeds), see docs/results.md.
Differs: no released counterpart.
"""

from experiments import _imagenet


def get_config():
    return _imagenet.voc_animals(_imagenet.MOBILENETV2, {"name": "mobilenetv2_deeplab_largefov"})
