"""DeepLab-LargeFOV on VOC, from VGG16's ImageNet weights.

Source:  the released configs of DeepLab v1 (train.prototxt, test.prototxt, solver.prototxt); Chen
         et al. 2015, Table 1.
Run:     python launch.py train --config=voc_deeplab_largefov --workdir=runs/voc_deeplab_largefov \
             --config.data.source_dir=VOC
Expects: 0.6225 mean IoU on VOC2012 val without CRF (paper).  Ours: not yet run.
Differs: see docs/design.md, Differences from the original.
"""

from experiments import _released


def get_config():
    return _released.deeplab(
        {"name": "vgg16_deeplab_largefov"},
        init={"weights": "weights/vgg16_largefov.safetensors"},
        crop_size=321,
        eval_size=513,
        batch_size=30,
    )
