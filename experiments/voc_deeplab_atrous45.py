"""DeepLab with atrous conv4 and conv5 (output stride 4) on VOC, from VGG16's ImageNet weights.

Source:  Chen et al. 2015 for the idea; the recipe is DeepLab-LargeFOV's.
Run:     python launch.py train --config=voc_deeplab_atrous45 --workdir=runs/voc_deeplab_atrous45 \
             --config.data.source_dir=VOC
Expects: no published number.  Ours: not yet run.
Differs: no released counterpart; otherwise as voc_deeplab_largefov.
"""

from experiments import _released


def get_config():
    return _released.deeplab(
        {"name": "vgg16_deeplab_atrous45"},
        init={"weights": "weights/vgg16_largefov.safetensors"},
        crop_size=321,
        eval_size=513,
        batch_size=30,
    )
