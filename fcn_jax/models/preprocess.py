"""How an image is prepared for a backbone: as the framework did that its weights come from."""

from dataclasses import dataclass

import jax.numpy as jnp
from jaxtyping import Array, Float, Num


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


# BGR minus the ILSVRC mean, not scaled: every net of the FCN and DeepLab releases.
CAFFE = Preprocess(mean_rgb=(122.67892, 116.66877, 104.00699), std_rgb=(1.0, 1.0, 1.0), bgr=True)

# RGB in 0..1, normalised with ILSVRC's statistics: every net of torchvision.
TORCHVISION = Preprocess(
    mean_rgb=(0.485 * 255, 0.456 * 255, 0.406 * 255),
    std_rgb=(0.229 * 255, 0.224 * 255, 0.225 * 255),
)

PREPROCESSES = {"caffe": CAFFE, "torchvision": TORCHVISION}


def make_preprocess(preprocess: str) -> Preprocess:
    """Returns what the weights of `caffe` or of `torchvision` expect of an image."""
    if preprocess not in PREPROCESSES:
        known = ", ".join(PREPROCESSES)
        raise ValueError(f"unknown model.preprocess {preprocess!r}; known: {known}")
    return PREPROCESSES[preprocess]
