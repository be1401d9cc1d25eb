"""DeepLab v3 on ResNet-101 on VOC, from ImageNet weights.

Source:  Chen et al. 2017 (DeepLab v3), Sec. 4 and Table 5.
Run:     python launch.py train --config=voc_resnet101_deeplabv3 \
             --workdir=runs/voc_resnet101_deeplabv3 --config.data.source_dir=VOC
Expects: 0.7721 mean IoU on VOC2012 val (paper, output stride 16).  Ours: not yet run.
Differs: at each batch statistics keep 0.9 of what they were, in the paper 0.9997.
"""

from experiments import _released


def get_config():
    return _released.deeplab_v3(
        {"name": "resnet101_deeplabv3"}, init={"weights": "weights/resnet101_imagenet.safetensors"}
    )
