"""Networks on images that are padded to a common size."""

from typing import Any

import flax.linen as nn
from jaxtyping import Array, Float, Int, Num

from fcn_jax.models.deeplab_v3 import DeepLabV3


def apply_padded(
    model: nn.Module, variables: Any, images: Num[Array, "b h w 3"], sizes: Int[Array, "b 2"]
) -> Float[Array, "b h w k"]:
    """Returns the logits of padded images; those of the padding mean nothing.

    A network that sees the whole image tells the padding apart. To others it is image, and changes
    only what is near to it; telling it apart would take time.

    Args:
        model: A network of the zoo.
        variables: Its variables.
        images: RGB in 0..255, padded at the bottom and at the right.
        sizes: Height and width of each image without the padding.
    """
    if isinstance(model, DeepLabV3) and model.image_pooling:
        return model.apply(variables, images, train=False, sizes=sizes)
    return model.apply(variables, images, train=False)
