"""FCN-32s on ResNet-18 with a learned upsampling on VOC, from ImageNet weights.

Source:  Zhang et al., Dive into Deep Learning, Sec. 14.11, for the network; the recipe is ours, see
         experiments/_imagenet.py.
Run:     python launch.py train --config=voc_resnet18_fcn32s --workdir=runs/voc_resnet18_fcn32s \
             --config.data.source_dir=VOC
Expects: no published number.  Ours: not yet run.
Differs: the book trains five epochs of 320x480 crops of VOC2012's 1464 images.
"""

from experiments import _imagenet


def get_config():
    return _imagenet.voc(_imagenet.RESNET18, {"name": "resnet18_fcn32s"})
