"""How an image is prepared for a backbone: as the framework did that its weights come from."""

from dataclasses import dataclass, replace

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num

from fcn_jax.ops import papers


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


CAFFE, TORCHVISION, EFFICIENTNET_LITE = (
    Preprocess(**papers.PREPROCESS[name]) for name in ("caffe", "torchvision", "efficientnet_lite")
)


def make_preprocess(preprocess: str) -> Preprocess:
    """Returns the preparation of this name.

    Args:
        preprocess: `caffe`, `torchvision`, `tensorflow`, `efficientnet_lite`, or `caffe:R,G,B`:
            Caffe's with another mean colour.
    """
    return Preprocess(**papers.make_preprocess(preprocess, option="model.preprocess"))


def name_preprocess(preprocess: Preprocess) -> str | None:
    """Returns the name for which `make_preprocess` makes this preparation; None if no name does."""
    for name, expected in papers.PREPROCESS.items():
        if Preprocess(**expected).is_close(preprocess):
            return name
    is_caffe = replace(CAFFE, mean_rgb=preprocess.mean_rgb).is_close(preprocess)
    return "caffe:" + ",".join(map(str, preprocess.mean_rgb)) if is_caffe else None
