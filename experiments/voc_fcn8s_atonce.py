"""FCN-8s on VOC, all skips at once, from VGG16's ImageNet weights.

Source:  voc-fcn8s-atonce/{net.py,solver.prototxt} in shelhamer/fcn.berkeleyvision.org.
Run:     python launch.py train --config=voc_fcn8s_atonce --workdir=runs/voc_fcn8s_atonce \
             --config.data.source_dir=VOC
Expects: 0.654 mean IoU on seg11valid (authors' README).  Ours: not yet run.
Differs: see docs/design.md, Differences from the original.
"""

from experiments import _released


def get_config():
    return _released.fcn(
        {"name": "vgg16_fcn8s_atonce"},
        learning_rate=1e-10,
        init={"weights": "weights/vgg16_fcn.safetensors"},
        num_steps=300_000,
    )
