"""DeepLab-LargeFOV on the synthetic shapes, an eighth as wide as VGG16.

Source:  Chen et al. 2015 for the network; the recipe is ours, see experiments/_shapes.py.
Run:     python launch.py train --config=shapes_deeplab_largefov --workdir=runs/shapes_deeplab_largefov
Expects: see README.md, "Two commands".
Differs: no pretraining, batch norm, loss at every pixel instead of every 8th.
"""

from experiments import _shapes


def get_config():
    return _shapes.get_config({"name": "vgg16_deeplab_largefov", "fc6_rate": 4, "fc_channels": 128})
