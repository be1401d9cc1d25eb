"""DeepLab with atrous conv4 and conv5 (output stride 4) on the shapes, an eighth as wide as VGG16.

Source:  Chen et al. 2015 for the network; the recipe is ours, see experiments/_scratch.py.
Run:     python launch.py train --config=shapes_deeplab_atrous45 \
             --workdir=runs/shapes_deeplab_atrous45
Expects: 0.7297 mean IoU at the last step, one seed (docs/results.md).
Differs: no released counterpart; otherwise as shapes_deeplab_largefov.
"""

from experiments import _scratch


def get_config():
    return _scratch.shapes({"name": "vgg16_deeplab_atrous45", "fc6_rate": 8, "fc_channels": 128})
