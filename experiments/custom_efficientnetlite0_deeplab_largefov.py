"""DeepLab-LargeFOV on EfficientNet-Lite0 on your own folder, from ImageNet weights.

Source:  Chen et al. 2015 for the head, Tan and Le 2019 for the backbone; the recipe is ours,
         see experiments/_imagenet.py.
Run:     python launch.py train --config=custom_efficientnetlite0_deeplab_largefov \
             --workdir=runs/custom_efficientnetlite0_deeplab_largefov \
             --config.data.source_dir=my_folder
Expects: nothing: it depends on your data; check_data says what to beat.
Differs: no released counterpart; an output stride of 16 takes 0.4 of the time of the paper's 8.
"""

from experiments import _imagenet


def get_config():
    return _imagenet.custom(
        _imagenet.EFFICIENTNET_LITE0,
        {"name": "efficientnetlite0_deeplab_largefov", "output_stride": 16},
    )
