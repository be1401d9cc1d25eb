"""FCN-16s on MobileNetV2 on CamVid, from ImageNet weights.

Source:  Long et al. 2015 for the head, Sandler et al. 2018 for the backbone; the recipe is ours,
         see experiments/_imagenet.py.
Run:     python launch.py train --config=camvid_mobilenetv2_fcn16s \
             --workdir=runs/camvid_mobilenetv2_fcn16s --config.data.source_dir=CamVid
Expects: mean IoU 0.664 and 0.662 (two seeds), see docs/results.md.
Differs: no released counterpart.
"""

from experiments import _imagenet


def get_config():
    return _imagenet.camvid(_imagenet.MOBILENETV2, {"name": "mobilenetv2_fcn16s"})
