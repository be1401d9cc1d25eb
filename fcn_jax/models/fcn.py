"""Fully convolutional networks: class scores at several strides, upsampled and summed.

Source: Long et al. 2015, Sec. 4; voc-fcn32s, voc-fcn16s, voc-fcn8s and voc-fcn8s-atonce (net.py) in
shelhamer/fcn.berkeleyvision.org. All layer names are the release's.
"""

from itertools import pairwise

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Num

from fcn_jax.models.layers import BatchNorm, BilinearUpscore, Blob, Conv, Crop, Fuse, fc_layers
from fcn_jax.ops.geometry import Upscore, Window, crop_offset


class FCN(nn.Module):
    """Maps images to logits of the same size.

    The deepest features are scored and upsampled in steps; at every skip the scores of a finer map
    are added. Skips `()` is FCN-32s, `("pool4",)` 16s, `("pool4", "pool3")` 8s, and further ones
    give 4s and 2s. No offset is given: every crop follows from the geometry of its two maps.

    Attributes:
        backbone: returns named features.
        skips: names of the features that are scored beside the deepest, coarse to fine.
        skip_scales: multiply each skip's features before they are scored (all-at-once training
            takes 0.01 and 0.0001); empty for none.
        fc: (window, channels) of fc6 and fc7, the convolutionalised classifier; empty for none.
        dropout: fraction that is dropped after fc6 and after fc7 in training.
    """

    num_classes: int
    backbone: nn.Module
    skips: tuple[str, ...] = ()
    skip_scales: tuple[float, ...] = ()
    fc: tuple[tuple[Window, int], ...] = ((Window(7), 4096), (Window(1), 4096))
    norm: BatchNorm | None = None
    dropout: float = 0.5

    @nn.compact
    def __call__(
        self, images: Num[Array, "b h w 3"], *, train: bool
    ) -> Float[Array, "b h w {self.num_classes}"]:
        features = self.backbone(images, train=train)
        blob = list(features.values())[-1]
        blob = fc_layers(blob, self.fc, norm=self.norm, dropout=self.dropout, train=train)

        score = self.score("score_fr", blob)
        upscore_name = "upscore2"
        for skip, scale in zip(self.skips, self.check_skips(features), strict=True):
            tap = features[skip]
            upscore = self.upscore(upscore_name, score, int(score.stride / tap.stride))
            score_skip = self.score(f"score_{skip}", tap.replace(maps=tap.maps * scale))
            # Padded by 100 the skip is the larger map and begins first; otherwise the upsampled is.
            if crop_offset(score_skip.paths[0], upscore.paths[0]) >= 0:
                score_skip = Crop(name=f"score_{skip}c")(score_skip, upscore)
            else:
                upscore = Crop(name=f"{upscore_name}c")(upscore, score_skip)
            score = Fuse(name=f"fuse_{skip}")(upscore, score_skip)
            upscore_name = f"upscore_{skip}"

        stride = int(score.stride)
        if not self.skips:
            upscore_name = "upscore"
        elif stride != 2:  # FCN-2s: upscore2 is taken by the first
            upscore_name = f"upscore{stride}"
        upscore = self.upscore(upscore_name, score, stride)
        return Crop(name="score")(upscore, features["data"]).maps.astype(jnp.float32)

    def check_skips(self, features: dict[str, Blob]) -> tuple[float, ...]:
        """Returns the scale of every skip, or raises ValueError for skips that cannot be."""
        if unknown := [skip for skip in self.skips if skip not in features]:
            raise ValueError(f"unknown skips {unknown}; the backbone has {', '.join(features)}")
        strides = [features[skip].stride for skip in self.skips]
        if any(coarse <= fine for coarse, fine in pairwise(strides)):
            raise ValueError(f"skips={self.skips} must go from coarse to fine, each of them once")
        if self.skip_scales and len(self.skip_scales) != len(self.skips):
            raise ValueError(f"skip_scales={self.skip_scales} must be one for each of {self.skips}")
        return self.skip_scales or (1.0,) * len(self.skips)

    def score(self, name: str, blob: Blob) -> Blob:
        """Scores every unit with a 1x1 convolution that starts at zero."""
        return Conv(
            self.num_classes,
            Window(1),
            activation=None,
            kernel_init=nn.initializers.zeros,
            name=name,
        )(blob, train=False)

    def upscore(self, name: str, blob: Blob, factor: int) -> Blob:
        """Upsamples with Caffe's bilinear filler of 2 * factor taps."""
        if factor == 1:
            return blob
        return BilinearUpscore(Upscore(kernel=2 * factor, stride=factor), name=name)(blob)
