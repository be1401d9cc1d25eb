"""FCN-8s on VOC, from the trained FCN-16s.

Source:  voc-fcn8s/{net.py,solver.prototxt,solve.py} in shelhamer/fcn.berkeleyvision.org.
Run:     python launch.py train --config=voc_fcn8s --workdir=runs/voc_fcn8s \
             --config.data.source_dir=VOC
Expects: 0.655 mean IoU on seg11valid (authors' README).  Ours: not yet run.
Differs: see docs/design.md, Differences from the original.
"""

from experiments import _released


def get_config():
    return _released.fcn(
        {"name": "vgg16_fcn8s"},
        learning_rate=1e-14,
        init={"workdir": "runs/voc_fcn16s"},
    )
