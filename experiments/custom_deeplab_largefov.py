"""DeepLab-LargeFOV on your own folder, a quarter as wide as VGG16, from scratch.

Source:  Chen et al. 2015 for the network; the recipe is ours, see experiments/_scratch.py.
Run:     python launch.py train --config=custom_deeplab_largefov \
             --workdir=runs/custom_deeplab_largefov --config.data.source_dir=my_folder
Expects: nothing: it depends on your data; check_data says what to beat.
Differs: no pretraining, batch norm, loss at every pixel instead of every 8th.
"""

from experiments import _scratch


def get_config():
    return _scratch.custom({"name": "vgg16_deeplab_largefov", "fc6_rate": 12, "fc_channels": 256})
