"""Fully convolutional networks: class scores at several strides, upsampled and summed.

Source: Long et al. 2015, Sec. 4; voc-fcn32s, voc-fcn16s, voc-fcn8s and voc-fcn8s-atonce (net.py) in
shelhamer/fcn.berkeleyvision.org. All layer names are the release's.
"""

from dataclasses import KW_ONLY
from fractions import Fraction
from functools import reduce
from itertools import pairwise

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Num

from fcn_jax.errors import UserError
from fcn_jax.models.blob import Blob
from fcn_jax.models.head import Head
from fcn_jax.models.layers import (
    BilinearUpscore,
    Concat,
    Conv,
    Crop,
    Fuse,
    LearnedUpscore,
    NormSpec,
    Scale,
    fc_layers,
)
from fcn_jax.ops.geometry import Upscore, Window, crop_offset, output_size

UPSAMPLINGS = ("bilinear", "learned")
FUSIONS = ("sum", "concat")


class FCN(Head):
    """Maps images to logits of the same size.

    The deepest features are scored and upsampled in steps; at every skip the scores of a finer map
    are added. Skips `()` is FCN-32s, `(16,)` 16s, `(16, 8)` 8s, and further ones give 4s and 2s.
    The sizes of the kernels and the offsets of the crops follow from the positions of the units:

    - Upsampling by a factor takes 2 * factor taps where the units of the coarse map lie halfway
      between those of the finer map, as after VGG16's pools (64 taps in FCN-32s). Where they lie on
      them, as in AlexNet and ResNets, it takes 2 * factor - 1 taps (63).
    - Before two maps are joined, the map that begins first is cut to begin with the other one.
      Where it also ends first, as it can above an fc6 smaller than the release's, the other is cut
      too.
    - The last map is cut to the image, from the unit that lies on the image's first pixel.

    Attributes:
        backbone: Returns named features.
        fc: Window and channels of fc6 and of fc7, the convolutionalised classifier; empty for none.
        norm: Normalisation of fc6 and fc7.
        dropout: Fraction that training drops after fc6 and after fc7.
        upscore_pad: Padding of the last upsampling where it is learned and there are no skips; None
            for the rules above. The padding is cut off on all sides of 2 * factor taps, and the
            logits begin at the top left of the rest, wherever the units lie. In the ResNet-18
            network of Zhang et al., Dive into Deep Learning, Sec. 14.11 (64 taps, padding 16) the
            logits lie 15.5 pixels further down and right than the pixels they are computed from.
        skips: Features that are scored beside the deepest ones, coarse to fine, each by its name or
            by its stride in pixels.
        skip_scales: Factors of the skips' features before they are scored, one for each skip
            (all-at-once training takes 0.01 and 0.0001); empty for none.
        upsampling: Kind of upsampling: `bilinear` is fixed; `learned` starts as bilinear and is
            trained, across classes too.
        fusion: Kind of skip: `sum` adds scores; `concat` stacks the features themselves, always
            upsampled by the fixed kernel, under a single score layer: the same scores but for the
            biases of coarse maps, in more memory (Shelhamer et al. 2016).
    """

    num_classes: int
    backbone: nn.Module
    fc: tuple[tuple[Window, int], ...] = ((Window(7), 4096), (Window(1), 4096))
    norm: NormSpec | None = None
    dropout: float = 0.5
    upscore_pad: int | None = None
    _: KW_ONLY
    skips: tuple[str | int, ...] = ()
    skip_scales: tuple[float, ...] = ()
    upsampling: str = "bilinear"
    fusion: str = "sum"

    @nn.compact
    def score_image(
        self, images: Num[Array, "b h w 3"], *, train: bool
    ) -> Float[Array, "b h w {self.num_classes}"]:
        """Computes the logits of images in one size."""
        features = self.backbone(images, train=train)
        skips = self.find_skips(features)
        self.check(features, skips)
        image, blob = features["data"], list(features.values())[-1]
        blob = fc_layers(blob, self.fc, norm=self.norm, dropout=self.dropout, train=train)
        if self.fusion == "sum":
            blob = self.score("score_fr", blob)

        name = "upscore2"
        for index, skip in enumerate(skips):
            scale = self.skip_scales[index] if self.skip_scales else None
            blob = self.fuse(skip, name, blob, features[skip], scale=scale)
            name = f"upscore_{skip}"
        if self.fusion == "concat":
            blob = self.score("score_fr", blob)

        if not skips:
            name = "upscore"
        elif blob.stride != 2:  # FCN-2s: upscore2 is taken by the first
            name = f"upscore{blob.stride}"
        pad = self.upscore_pad if self.upsampling == "learned" and not skips else None
        upscore = self.upscore(name, blob, onto=image, pad=pad)
        offset = None if pad is None else 0
        return Crop(offset, name="score")(upscore, image).maps.astype(jnp.float32)

    def find_skips(self, features: dict[str, Blob]) -> list[str]:
        """Returns the names of the features that are scored beside the deepest."""
        at_stride = {blob.stride: name for name, blob in features.items()}
        return [at_stride.get(skip, skip) for skip in self.skips]

    def check(self, features: dict[str, Blob], skips: list[str]) -> None:
        """Raises UserError for attributes that cannot be."""
        if self.upsampling not in UPSAMPLINGS:
            known = ", ".join(UPSAMPLINGS)
            raise UserError(f"unknown model.upsampling {self.upsampling!r}; known: {known}")
        if self.fusion not in FUSIONS:
            raise UserError(f"unknown model.fusion {self.fusion!r}; known: {', '.join(FUSIONS)}")
        if unknown := [skip for skip in skips if skip not in features]:
            raise UserError(
                f"unknown model.skips {unknown}; the backbone has {', '.join(features)}"
            )
        *_, top = features.values()
        if self.fc and (fc6 := self.fc[0][0]).extent > 1 + 2 * fc6.pad:
            # It takes units away. If one pixel has enough of them, the logits cover every image.
            units = reduce(lambda size, layer: output_size(layer, size), top.paths[0], 1)
            if fc6.extent > units + 2 * fc6.pad:
                raise UserError(
                    f"model.fc6_kernel={fc6.kernel} is too large to score every image: "
                    f"model.padding=caffe takes at most {units}, model.padding=same any"
                )
        strides = [features[skip].stride for skip in skips]
        if strides[:1] > [top.stride] or any(coarse <= fine for coarse, fine in pairwise(strides)):
            raise UserError(
                f"model.skips={self.skips} must go from coarse to fine, each of them once"
            )
        if self.skip_scales and len(self.skip_scales) != len(self.skips):
            raise UserError(
                f"model.skip_scales={self.skip_scales} must be one for each of {self.skips}"
            )

    def score(self, name: str, blob: Blob) -> Blob:
        """Scores every unit with a 1x1 convolution that starts at zero."""
        return Conv(
            self.num_classes,
            Window(1),
            activation=None,
            kernel_init=nn.initializers.zeros,
            name=name,
        )(blob, train=False)

    def upscore(
        self, name: str, blob: Blob, *, onto: Blob, fixed: bool = False, pad: int | None = None
    ) -> Blob:
        """Upsamples a blob to the stride of another one, and its units onto the units of that one.

        Args:
            fixed: Whether the kernel is bilinear even where upsampling is learned.
            pad: Padding that is cut off 2 * factor taps, wherever this puts the units.
        """
        factor = int(blob.stride / onto.stride)
        if factor == 1:
            return blob
        between = (blob.start - onto.start) / onto.stride % 1 == Fraction(1, 2)
        taps = 2 * factor if between or pad is not None else 2 * factor - 1
        layer = BilinearUpscore if fixed or self.upsampling == "bilinear" else LearnedUpscore
        return layer(Upscore(taps, factor, pad or 0), name=name)(blob)

    def fuse(self, skip: str, name: str, blob: Blob, tap: Blob, *, scale: float | None) -> Blob:
        """Upsamples `blob` under this name and joins it with the features of a skip."""
        upscore = self.upscore(name, blob, onto=tap, fixed=self.fusion == "concat")
        tap_name, join = skip, Concat
        if scale is not None:
            tap = Scale(scale, name=f"scale_{skip}")(tap)
        if self.fusion == "sum":
            tap_name, join = f"score_{skip}", Fuse
            tap = self.score(tap_name, tap)
        # Padded by 100 the skip is the larger map and begins first; otherwise the upsampled is.
        if crop_offset(tap.paths[0], upscore.paths[0]) >= 0:
            tap, upscore = self.meet(tap, upscore, names=(tap_name, name))
        else:
            upscore, tap = self.meet(upscore, tap, names=(name, tap_name))
        return join(name=f"fuse_{skip}")(upscore, tap)

    def meet(self, first: Blob, other: Blob, *, names: tuple[str, str]) -> tuple[Blob, Blob]:
        """Cuts the blob that begins first to the other one, and this to where the first ends."""
        first_name, other_name = names
        first = Crop(whole=False, name=f"{first_name}c")(first, other)
        if first.maps.shape[1:3] != other.maps.shape[1:3]:
            other = Crop(name=f"{other_name}c")(other, first)
        return first, other
