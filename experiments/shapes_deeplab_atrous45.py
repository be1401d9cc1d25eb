"""DeepLab with atrous conv4 and conv5 (output stride 4) on the synthetic shapes, an eighth as wide as VGG16.

Source:  Chen et al. 2015 for the network; the recipe is ours, see experiments/_shapes.py.
Run:     python launch.py train --config=shapes_deeplab_atrous45 --workdir=runs/shapes_deeplab_atrous45
Expects: see README.md, "Two commands".
Differs: no released counterpart; otherwise as shapes_deeplab_largefov.
"""

from experiments import _shapes


def get_config():
    return _shapes.get_config({"name": "vgg16_deeplab_atrous45", "fc6_rate": 8, "fc_channels": 128})
