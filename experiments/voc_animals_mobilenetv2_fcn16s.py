"""FCN-16s on MobileNetV2 on the animals of VOC2012, from ImageNet weights.

Source:  Long et al. 2015 for the head, Sandler et al. 2018 for the backbone; the recipe is ours,
         see experiments/_imagenet.py.
Run:     python launch.py train --config=voc_animals_mobilenetv2_fcn16s \
             --workdir=runs/voc_animals_mobilenetv2_fcn16s --config.data.source_dir=VOC
Expects: mean IoU 0.583 and 0.578 (two seeds), see docs/results.md.
Differs: no released counterpart.
"""

from experiments import _imagenet


def get_config():
    return _imagenet.voc_animals(_imagenet.MOBILENETV2, {"name": "mobilenetv2_fcn16s"})
