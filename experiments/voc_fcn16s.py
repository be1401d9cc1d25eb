"""FCN-16s on VOC, from the trained FCN-32s.

Source:  voc-fcn16s/{net.py,solver.prototxt,solve.py} in shelhamer/fcn.berkeleyvision.org.
Run:     python launch.py train --config=voc_fcn16s --workdir=runs/voc_fcn16s \
             --config.data.source_dir=VOC
Expects: 0.650 mean IoU on seg11valid (authors' README).  Ours: not yet run.
Differs: see docs/design.md, Differences from the original.
"""

from experiments import _released


def get_config():
    return _released.fcn(
        {"name": "vgg16_fcn16s"},
        learning_rate=1e-12,
        init={"workdir": "runs/voc_fcn32s"},
    )
