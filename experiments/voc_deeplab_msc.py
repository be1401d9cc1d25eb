"""DeepLab-MSc on VOC: side branches on the trained plain DeepLab.

Source:  the released configs of DeepLab v1 (train.prototxt, test.prototxt, solver.prototxt); Chen
         et al. 2015, Table 1.
Run:     python launch.py train --config=voc_deeplab_msc --workdir=runs/voc_deeplab_msc \
             --config.data.source_dir=VOC
Expects: 0.6130 mean IoU on VOC2012 val without CRF (paper).  Ours: not yet run.
Differs: see docs/design.md, Differences from the original.
"""

from experiments import _released


def get_config():
    return _released.deeplab(
        {"name": "vgg16_deeplab_msc"},
        init={"workdir": "runs/voc_deeplab"},
        crop_size=321,
        eval_size=513,
        batch_size=20,
        # The backbone, fc6 and fc7 stay as they are.
        lr_multipliers=(
            (r"(backbone/.*|fc6/.*|fc7/.*)", 0.0),
            *_released.BIAS_TWICE,
        ),
    )
