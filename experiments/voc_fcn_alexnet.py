"""FCN-AlexNet on VOC, from CaffeNet's ImageNet weights.

Source:  voc-fcn-alexnet/{net.py,solver.prototxt} in shelhamer/fcn.berkeleyvision.org.
Run:     python launch.py train --config=voc_fcn_alexnet --workdir=runs/voc_fcn_alexnet \
             --config.data.source_dir=VOC
Expects: 0.480 mean IoU on seg11valid (authors' README).  Ours: not yet run.
Differs: see docs/design.md, Differences from the original.
"""

from experiments import _released


def get_config():
    # The release gives only score_fr its own multipliers: Caffe's defaults are 1 for all else.
    return _released.fcn(
        {"name": "alexnet_fcn32s"},
        learning_rate=1e-4,
        momentum=0.9,
        init={"weights": "weights/alexnet_fcn.safetensors"},
        batch_size=20,
        divide_by="pixels",
        lr_multipliers=((r"score_fr/bias", 2.0), (r".*", 1.0)),
        decay_multipliers=((r"score_fr/bias", 0.0), (r".*", 1.0)),
    )
