"""DeepLab: dense scores from atrous convolution, with a field of view as large as one likes.

All layer names are the releases'.

Source: Chen et al. 2015, Sec. 3 and 4.3; the released train.prototxt and test.prototxt of DeepLab
(vgg128_noup), DeepLab-LargeFOV, DeepLab-MSc and DeepLab-MSc-LargeFOV. Several branches: ASPP of
DeepLab v2, Chen et al. 2016, Sec. 3.2.
"""

import math

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Num

from fcn_jax.errors import UserError
from fcn_jax.models.layers import (
    AvgPool,
    BatchNorm,
    BilinearUpscore,
    Blob,
    Conv,
    Crop,
    Fuse,
    fc_layers,
)
from fcn_jax.models.multiscale import side_branch
from fcn_jax.ops.geometry import Crop as CropLayer
from fcn_jax.ops.geometry import Window
from fcn_jax.ops.upsample import align_corners


class DeepLab(nn.Module):
    """Maps images to logits of the same size: score maps, each upsampled once, corners onto corners.

    With `label_shrink` the logits of training are those of the score map's own units, as released:
    their labels are those of the pixels that lie on the units' centres, or half a pixel after.

    Attributes:
        backbone: returns named features; the last of them feeds fc6.
        branches: (window, channels) of fc6, whose rate sets the field of view, and of fc7. Several
            branches (ASPP) look at the same features, and their scores are summed.
        pool5a: whether a 3x3 average at stride 1 stands before fc6, as in LargeFOV.
        sides: names of the features that are scored too, as in MSc: with a stride that gives them
            the units of fc8 where the labels shrink, and otherwise at all of their own.
        side_channels: of the layers in these side branches.
        score_std: deviation of fc8's initial weights; the release takes 0.01.
        dropout: fraction that is dropped after fc6 and after fc7 in training.
    """

    num_classes: int
    backbone: nn.Module
    branches: tuple[tuple[tuple[Window, int], ...], ...]
    pool5a: bool = True
    sides: tuple[str, ...] = ()
    side_channels: int = 128
    label_shrink: bool = False
    norm: BatchNorm | None = None
    score_std: float = 0.01
    dropout: float = 0.5

    @nn.compact
    def __call__(
        self, images: Num[Array, "b h w 3"], *, train: bool
    ) -> Float[Array, "b H W {self.num_classes}"]:
        features = self.backbone(images, train=train)
        self.check(features)
        image, blob = features["data"], list(features.values())[-1]
        if self.pool5a:
            blob = AvgPool(Window(3, pad=1, ceil=True), name="pool5a")(blob)
        fc8 = self.score(blob, train=train)
        onto = labels_under(fc8, image) if self.label_shrink and train else image
        scores = {name: self.side(name, features, onto, train=train) for name in self.sides}
        placed = [self.place(name, blob, onto) for name, blob in (scores | {"fc8": fc8}).items()]
        score = Fuse(name="fc_fusion")(*placed) if self.sides else placed[0]
        return score.maps.astype(jnp.float32)

    def check(self, features: dict[str, Blob]) -> None:
        """Raises ValueError for sides that cannot be."""
        if unknown := [side for side in self.sides if side not in features]:
            raise UserError(
                f"unknown model.sides {unknown}; the backbone has {', '.join(features)}"
            )
        if len(set(self.sides)) < len(self.sides):
            raise UserError(f"model.sides={self.sides} must name each of them once")

    def score(self, blob: Blob, *, train: bool) -> Blob:
        """Scores every unit by fc6, fc7 and fc8, or by the sum of several such branches."""
        scores = []
        for number, branch in enumerate(self.branches, start=1):
            suffix = f"_{number}" if len(self.branches) > 1 else ""
            top = fc_layers(
                blob, branch, norm=self.norm, dropout=self.dropout, train=train, suffix=suffix
            )
            layer = Conv(
                self.num_classes,
                Window(1),
                activation=None,
                kernel_init=nn.initializers.normal(self.score_std),
                name=f"fc8{suffix}",
            )
            scores.append(layer(top, train=False))
        return Fuse(name="fc8")(*scores) if len(scores) > 1 else scores[0]

    def side(self, name: str, features: dict[str, Blob], onto: Blob, *, train: bool) -> Blob:
        """Scores a finer map at the stride of `onto`, or at its own where this is finer still."""
        return side_branch(
            name,
            features[name],
            num_classes=self.num_classes,
            channels=self.side_channels,
            stride=max(1, int(onto.stride / features[name].stride)),
            norm=self.norm,
            dropout=self.dropout,
            train=train,
        )

    def place(self, name: str, score: Blob, onto: Blob) -> Blob:
        """Upsamples a score map to the stride of another one and cuts it to the units of that one.

        Pools of 2x2 leave the units half a pixel between two pixels. As in the release, which trims
        7 pixels where the first unit lies 7.5 before the image, that half is dropped.
        """
        factor = int(score.stride / onto.stride)
        if factor > 1:
            score = BilinearUpscore(align_corners(factor), name=f"{name}_interp")(score)
        offset = math.floor((onto.start - score.start) / onto.stride)
        return Crop(offset, name=f"{name}_crop")(score, onto)


def labels_under(score: Blob, image: Blob) -> Blob:
    """Takes the pixels that lie on the centres of a score map's units, or half a pixel after."""
    first, stride = math.ceil(score.start % score.stride), int(score.stride)
    pixels = image.maps[:, first::stride, first::stride]
    return image.then(CropLayer(first), pixels).then(Window(1, stride), pixels)
