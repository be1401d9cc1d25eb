"""DeepLab v2 on VGG16 on VOC: ASPP-S, four branches of fc6 to fc8.

Source:  Chen et al. 2016 (DeepLab v2), Sec. 4.1 and Table 3.
Run:     python launch.py train --config=voc_deeplabv2_aspp_s \
             --workdir=runs/voc_deeplabv2_aspp_s --config.data.source_dir=VOC
Expects: 0.6698 mean IoU on VOC2012 val without CRF (paper).  Ours: not yet run.
Differs: fc6 and fc7 of the branches start at random; see docs/design.md for the rest.
"""

from experiments import _released


def get_config():
    return _released.deeplab_v2(
        {"name": "vgg16_deeplab_aspp", "fc6_rate": _released.ASPP_S},
        init={"weights": "weights/vgg16_largefov.safetensors"},
        lr_multipliers=_released.EVERY_FC8_TENFOLD + _released.BIAS_TWICE,
    )
