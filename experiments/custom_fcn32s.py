"""FCN-32s on your own folder, a quarter as wide as VGG16, from scratch.

Source:  Long et al. 2015 for the network; the recipe is ours, see experiments/_scratch.py.
Run:     python launch.py train --config=custom_fcn32s --workdir=runs/custom_fcn32s \
             --config.data.source_dir=my_folder
Expects: nothing: it depends on your data; check_data says what to beat.
Differs: no pretraining, batch norm, no 100-pixel padding, fc6 3x3 instead of 7x7.
"""

from experiments import _scratch


def get_config():
    return _scratch.custom(
        {"name": "vgg16_fcn32s", "padding": "same", "fc6_kernel": 3, "fc_channels": 256}
    )
