"""How an image is prepared for a backbone: as the framework did that its weights come from."""

from dataclasses import dataclass, replace

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num

from fcn_jax.errors import UserError
from fcn_jax.ops.papers import PREPROCESS


@dataclass(frozen=True)
class Preprocess:
    """What a backbone's weights expect of an image: (image - mean) / std, in this channel order."""

    mean_rgb: tuple[float, float, float]
    std_rgb: tuple[float, float, float]
    bgr: bool = False

    def __call__(self, images: Num[Array, "b h w 3"], dtype: str) -> Float[Array, "b h w 3"]:
        mean, std = (jnp.asarray(rgb, jnp.float32) for rgb in (self.mean_rgb, self.std_rgb))
        images = (images.astype(jnp.float32) - mean) / std
        return (images[..., ::-1] if self.bgr else images).astype(dtype)

    def is_close(self, other: "Preprocess") -> bool:
        """Says whether both prepare an image alike, but for rounding."""
        ours, theirs = ([*side.mean_rgb, *side.std_rgb] for side in (self, other))
        return self.bgr == other.bgr and np.allclose(ours, theirs)


PREPROCESSES = {name: Preprocess(**expected) for name, expected in PREPROCESS.items()}
CAFFE, TORCHVISION = PREPROCESSES["caffe"], PREPROCESSES["torchvision"]


def make_preprocess(preprocess: str) -> Preprocess:
    """Returns the preparation of this name.

    Args:
        preprocess: `caffe`, `torchvision`, or `caffe:R,G,B`: Caffe's with another mean colour.
    """
    if preprocess in PREPROCESSES:
        return PREPROCESSES[preprocess]
    try:
        red, green, blue = map(float, preprocess.removeprefix("caffe:").split(","))
    except ValueError:
        known = ", ".join(PREPROCESSES)
        raise UserError(
            f"unknown model.preprocess {preprocess!r}; known: {known}, caffe:R,G,B"
        ) from None
    return replace(CAFFE, mean_rgb=(red, green, blue))


def name_preprocess(preprocess: Preprocess) -> str | None:
    """Returns the name for which `make_preprocess` makes this preparation; None if no name does."""
    names = [*PREPROCESSES, "caffe:" + ",".join(map(str, preprocess.mean_rgb))]
    return next((name for name in names if make_preprocess(name).is_close(preprocess)), None)
