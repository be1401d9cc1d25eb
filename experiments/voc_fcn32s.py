"""FCN-32s on VOC, from VGG16's ImageNet weights.

Source:  voc-fcn32s/{net.py,solver.prototxt} in shelhamer/fcn.berkeleyvision.org.
Run:     python launch.py train --config=voc_fcn32s --workdir=runs/voc_fcn32s \
             --config.data.source_dir=VOC
Expects: 0.636 mean IoU on seg11valid (authors' README).  Ours: not yet run.
Differs: see docs/design.md, Differences from the original.
"""

from experiments import _released


def get_config():
    return _released.fcn(
        {"name": "vgg16_fcn32s"},
        learning_rate=1e-10,
        init={"weights": "weights/vgg16_fcn.safetensors"},
    )
