"""DeepLab-LargeFOV on VOC as in DeepLab v2: the poly schedule and small batches.

Source:  Chen et al. 2016 (DeepLab v2), Sec. 4.1, Tables 1 and 2.
Run:     python launch.py train --config=voc_deeplabv2_largefov \
             --workdir=runs/voc_deeplabv2_largefov --config.data.source_dir=VOC
Expects: 0.6576 mean IoU on VOC2012 val without CRF (paper).  Ours: not yet run.
Differs: see docs/design.md, Differences from the original.
"""

from experiments import _released


def get_config():
    return _released.deeplab_v2(
        {"name": "vgg16_deeplab_largefov"}, init={"weights": "weights/vgg16_largefov.safetensors"}
    )
