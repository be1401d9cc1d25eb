"""DeepLab v3 on MobileNetV2 on CamVid, from ImageNet weights.

Source:  Chen et al. 2017 for the head, Sandler et al. 2018 for the backbone; the recipe is ours,
         see experiments/_imagenet.py.
Run:     python launch.py train --config=camvid_mobilenetv2_deeplabv3 \
             --workdir=runs/camvid_mobilenetv2_deeplabv3 --config.data.source_dir=CamVid
Expects: mean IoU 0.590 (one seed), see docs/results.md.
Differs: the head's 3x3 convolutions are separable, and it has no norm; it learns faster, and the
         backbone more slowly, than in the other experiments on these images. Its output stride
         is LargeFOV's.
"""

from experiments import _imagenet


def get_config():
    return _imagenet.camvid(
        _imagenet.MOBILENETV2,
        {
            "name": "mobilenetv2_deeplabv3",
            "output_stride": 8,
            "aspp_rates": (6, 12, 18),
            "score_std": 0.1,
            **_imagenet.LIGHT_V3,
        },
        **_imagenet.SMALL_FEATURES,
    )
