"""DeepLab-LargeFOV on the synthetic shapes, an eighth as wide as VGG16.

Source:  Chen et al. 2015 for the network; the recipe is ours, see experiments/_scratch.py.
Run:     python launch.py train --config=shapes_deeplab_largefov \
             --workdir=runs/shapes_deeplab_largefov
Expects: 0.5833 mean IoU at the last step, one seed (docs/results.md).
Differs: no pretraining, batch norm, loss at every pixel instead of every 8th.
"""

from experiments import _scratch


def get_config():
    return _scratch.shapes({"name": "vgg16_deeplab_largefov", "fc6_rate": 4, "fc_channels": 128})
