"""DeepLab v1: dense scores from atrous convolution, with a large field of view.

Source: Chen et al. 2015, Sec. 3; the released DeepLab-LargeFOV train.prototxt and test.prototxt.
"""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Num

from fcn_jax.models.layers import AvgPool, BatchNorm, BilinearUpscore, Conv, Crop, fc_layers
from fcn_jax.ops.geometry import Window
from fcn_jax.ops.upsample import align_corners


class DeepLab(nn.Module):
    """Maps images to logits of the same size: one score map, upsampled once, corners onto corners.

    Attributes:
        backbone: returns named features; the last of them feeds fc6.
        fc: (window, channels) of fc6, whose rate sets the field of view, and of fc7.
        pool5a: whether a 3x3 average at stride 1 stands before fc6, as in LargeFOV.
        score_std: deviation of fc8's initial weights; the release takes 0.01.
        dropout: fraction that is dropped after fc6 and after fc7 in training.
    """

    num_classes: int
    backbone: nn.Module
    fc: tuple[tuple[Window, int], ...]
    pool5a: bool = True
    norm: BatchNorm | None = None
    score_std: float = 0.01
    dropout: float = 0.5

    @nn.compact
    def __call__(
        self, images: Num[Array, "b h w 3"], *, train: bool
    ) -> Float[Array, "b h w {self.num_classes}"]:
        features = self.backbone(images, train=train)
        blob = list(features.values())[-1]
        if self.pool5a:
            blob = AvgPool(Window(3, pad=1, ceil=True), name="pool5a")(blob)
        blob = fc_layers(blob, self.fc, norm=self.norm, dropout=self.dropout, train=train)
        score = Conv(
            self.num_classes,
            Window(1),
            activation=None,
            kernel_init=nn.initializers.normal(self.score_std),
            name="fc8",
        )(blob, train=False)
        upscore = BilinearUpscore(align_corners(int(score.stride)), name="fc8_interp")(score)
        return Crop(name="fc8_crop")(upscore, features["data"]).maps.astype(jnp.float32)
