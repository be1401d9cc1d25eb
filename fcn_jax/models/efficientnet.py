"""EfficientNet-Lite0, 1 and 2, convolutional up to the last bottleneck or the convolution after it.

Source: Tan and Le 2019, Table 1, without squeeze-and-excitation and with ReLU6, as
efficientnet_lite_builder.py of tensorflow/tpu has it, and its preprocessing; padding is the same on
both sides unless `tf_padding` says otherwise. There is no drop connect.
"""

from dataclasses import KW_ONLY
from typing import ClassVar

import flax.linen as nn
from jaxtyping import Array, Int, Num

from fcn_jax.errors import UserError
from fcn_jax.models.blob import Blob
from fcn_jax.models.inverted_residuals import InvertedResiduals
from fcn_jax.models.preprocess import EFFICIENTNET_LITE, Preprocess
from fcn_jax.ops.papers import (
    EFFICIENTNET_LITE_FACTORS,
    EFFICIENTNET_STRIDES,
    scale_efficientnet_lite,
)


class EfficientNetLite(InvertedResiduals):
    """Maps images to features, as `InvertedResiduals` says: in Lite0 `["bottleneck1"]`, 3, 5 and 11
    lie at strides 2 to 16, and `["conv_last"]` or `["bottleneck16"]` at 32.

    Attributes:
        variant: Number of the network: 0, 1 or 2. Lite1 has more bottlenecks than Lite0, and Lite2
            more channels than both.
    """

    WEIGHT_OPTIONS: ClassVar[tuple[str, ...]] = ()

    preprocess: Preprocess = EFFICIENTNET_LITE
    _: KW_ONLY
    variant: int = 0

    @property
    def weights_name(self) -> str:
        """The name under which `weights` knows this backbone."""
        return f"efficientnetlite{self.variant}"

    @nn.compact
    def __call__(
        self, images: Num[Array, "b h w 3"], *, train: bool, sizes: Int[Array, "b 2"] | None = None
    ) -> dict[str, Blob]:
        if self.variant not in EFFICIENTNET_LITE_FACTORS:
            known = ", ".join(map(str, EFFICIENTNET_LITE_FACTORS))
            raise UserError(f"there is no EfficientNet-Lite{self.variant}; known: {known}")
        stages = scale_efficientnet_lite(self.variant)
        return self.run(images, stages, strides=EFFICIENTNET_STRIDES, train=train, sizes=sizes)
