"""DeepLab v3+ on ResNet-101 on VOC, from ImageNet weights.

Source:  Chen et al. 2018 (DeepLab v3+), Sec. 4.2 and Table 3.
Run:     python launch.py train --config=voc_resnet101_deeplabv3plus \
             --workdir=runs/voc_resnet101_deeplabv3plus --config.data.source_dir=VOC
Expects: 0.7885 mean IoU on VOC2012 val (paper, output stride 16).  Ours: not yet run.
Differs: as voc_resnet101_deeplabv3.
"""

from experiments import _released


def get_config():
    return _released.deeplab_v3(
        {"name": "resnet101_deeplabv3plus"},
        init={"weights": "weights/resnet101_imagenet.safetensors"},
    )
