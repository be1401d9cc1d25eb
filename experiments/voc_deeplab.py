"""Plain DeepLab (fc6 of 4x4 at rate 4) on VOC, from VGG16's ImageNet weights.

Source:  the released configs of DeepLab v1 (train.prototxt, test.prototxt, solver.prototxt); Chen
         et al. 2015, Table 1.
Run:     python launch.py train --config=voc_deeplab --workdir=runs/voc_deeplab \
             --config.data.source_dir=VOC
Expects: 0.5980 mean IoU on VOC2012 val without CRF (paper).  Ours: not yet run.
Differs: see docs/design.md, Differences from the original.
"""

from experiments import _released


def get_config():
    return _released.deeplab(
        {"name": "vgg16_deeplab"},
        init={"weights": "weights/vgg16_4x4.safetensors"},
        crop_size=306,
        eval_size=514,
        batch_size=20,
    )
