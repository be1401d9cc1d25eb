"""DeepLab-LargeFOV on MobileNetV2 on CamVid, from ImageNet weights.

Source:  Chen et al. 2015 for the head, Sandler et al. 2018 for the backbone; the recipe is ours,
         see experiments/_imagenet.py.
Run:     python launch.py train --config=camvid_mobilenetv2_deeplab_largefov \
             --workdir=runs/camvid_mobilenetv2_deeplab_largefov --config.data.source_dir=CamVid
Expects: mean IoU 0.674 and 0.671 (two seeds), see docs/results.md.
Differs: no released counterpart.
"""

from experiments import _imagenet


def get_config():
    return _imagenet.camvid(_imagenet.MOBILENETV2, {"name": "mobilenetv2_deeplab_largefov"})
