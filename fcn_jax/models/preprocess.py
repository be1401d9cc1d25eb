"""How an image is prepared for a backbone: as the framework did that its weights come from."""

from dataclasses import dataclass, replace

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num

from fcn_jax.errors import UserError


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


# BGR minus the ILSVRC mean, not scaled: every net of the FCN and DeepLab releases.
CAFFE = Preprocess(mean_rgb=(122.67892, 116.66877, 104.00699), std_rgb=(1.0, 1.0, 1.0), bgr=True)

# RGB in 0..1, normalised with ILSVRC's statistics: every net of torchvision.
TORCHVISION = Preprocess(
    mean_rgb=(0.485 * 255, 0.456 * 255, 0.406 * 255),
    std_rgb=(0.229 * 255, 0.224 * 255, 0.225 * 255),
)

PREPROCESSES = {"caffe": CAFFE, "torchvision": TORCHVISION}


def make_preprocess(preprocess: str) -> Preprocess:
    """Returns what the weights of `caffe` or of `torchvision` expect of an image.

    Args:
        preprocess: one of these; `caffe:R,G,B` is Caffe's with another mean colour.
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
    """Returns what `make_preprocess` makes it of; None if nothing does."""
    names = [*PREPROCESSES, "caffe:" + ",".join(map(str, preprocess.mean_rgb))]
    return next((name for name in names if make_preprocess(name).is_close(preprocess)), None)
