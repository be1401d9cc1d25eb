"""DeepLab v2 on ResNet-101 on VOC: ASPP without hidden layers, three sizes of every image.

Source:  Chen et al. 2016 (DeepLab v2), Sec. 4.1.2 and Table 4; the recipe of its release.
Run:     python launch.py train --config=voc_resnet101_deeplabv2 \
             --workdir=runs/voc_resnet101_deeplabv2 --config.data.source_dir=VOC
Expects: 0.7635 mean IoU on VOC2012 val without CRF (paper, from weights of COCO).
         Ours: not yet run.
Differs: it starts from ImageNet (Caffe's ResNet-101), which should cost points; the losses are
         taken at every pixel, not on the score maps.
"""

from experiments import _released


def get_config():
    return _released.deeplab_v2(
        {
            "name": "resnet101_deeplab_aspp",
            "fc_channels": 0,
            "pool5a": False,
            "norm": "frozen",
            "preprocess": "caffe",
            "stride_in_1x1": True,
            "input_scales": (0.75, 0.5),
        },
        init={"weights": "weights/resnet101_imagenet.safetensors"},
        learning_rate=2.5e-4,
        lr_multipliers=(*_released.NORM_KEPT, *_released.EVERY_FC8_TENFOLD, (r".*/kernel", 1.0)),
        decay_multipliers=_released.NORM_KEPT + _released.BIAS_UNDECAYED,
        scales=(0.5, 0.75, 1.0, 1.25, 1.5),
        label_shrink=False,
    )
