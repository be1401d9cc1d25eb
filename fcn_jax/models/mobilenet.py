"""MobileNetV2, convolutional up to bottleneck17 or to the 1x1 convolution after it.

Source: Sandler et al. 2018, Tables 1 and 2; padding and preprocessing of torchvision's
mobilenetv2.py.
"""

from collections.abc import Callable
from dataclasses import KW_ONLY
from typing import ClassVar

import flax.linen as nn
from jaxtyping import Array, Int, Num

from fcn_jax.errors import UserError
from fcn_jax.models.blob import Blob
from fcn_jax.models.inverted_residuals import InvertedResiduals
from fcn_jax.ops.papers import MOBILENETV2_STAGES as STAGES
from fcn_jax.ops.papers import MOBILENETV2_STRIDES as STRIDES

ACTIVATIONS = {"relu6": nn.relu6, "relu": nn.relu}


class MobileNetV2(InvertedResiduals):
    """Maps images to features, as `InvertedResiduals` says: `["bottleneck1"]`, 3, 6 and 13 lie at
    strides 2 to 16 in the paper's network, and `["conv_last"]` or `["bottleneck17"]` at 32.

    Attributes:
        first_expand: Whether bottleneck1 has a 1x1 convolution too, with factor 1. The paper and
            torchvision leave it out; some files of pretrained weights hold it.
        strides: Stride of the first bottleneck of each of the seven stages, three of them 2: the
            paper's, or those of the network that the weights were trained in. Some files of
            pretrained weights have the fourth stride on the fifth stage: (1, 2, 2, 1, 2, 2, 1).
        activation: Activation of every layer that has one: `relu6` as in the paper, or `relu` as in
            the network that the weights were trained in.
    """

    # Options that the weights were trained with, and that their shapes do not all show.
    WEIGHT_OPTIONS: ClassVar[tuple[str, ...]] = ("first_expand", "strides", "activation")
    weights_name: ClassVar[str] = "mobilenetv2"

    _: KW_ONLY
    first_expand: bool = False
    strides: tuple[int, ...] = STRIDES
    activation: str = "relu6"

    @nn.compact
    def __call__(
        self, images: Num[Array, "b h w 3"], *, train: bool, sizes: Int[Array, "b 2"] | None = None
    ) -> dict[str, Blob]:
        return self.run(
            images,
            STAGES,
            strides=self.strides,
            activation=self.check(),
            first_expand=self.first_expand,
            train=train,
            sizes=sizes,
        )

    def check(self) -> Callable[[Array], Array]:
        """Returns the activation; raises UserError for attributes that cannot be."""
        if self.activation not in ACTIVATIONS:
            known = ", ".join(ACTIVATIONS)
            raise UserError(f"unknown model.activation {self.activation!r}; known: {known}")
        if len(self.strides) != len(STAGES) or sorted(self.strides) != sorted(STRIDES):
            raise UserError(
                f"model.strides={self.strides} must place three strides of 2 on the {len(STAGES)} "
                f"stages; the paper has {STRIDES}"
            )
        return ACTIVATIONS[self.activation]
