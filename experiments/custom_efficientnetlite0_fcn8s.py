"""FCN-8s on EfficientNet-Lite0 on your own folder, from ImageNet weights.

Source:  Long et al. 2015 for the head, Tan and Le 2019 for the backbone; the recipe is ours,
         see experiments/_imagenet.py.
Run:     python launch.py train --config=custom_efficientnetlite0_fcn8s \
             --workdir=runs/custom_efficientnetlite0_fcn8s --config.data.source_dir=my_folder
Expects: nothing: it depends on your data; check_data says what to beat.
Differs: no released counterpart.
"""

from experiments import _imagenet


def get_config():
    return _imagenet.custom(_imagenet.EFFICIENTNET_LITE0, {"name": "efficientnetlite0_fcn8s"})
