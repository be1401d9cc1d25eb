"""Checks on photos that a backbone is the network that its weights were trained in.

A batch norm stores the means and variances that its layer had in training. If the layers compute
something else here, with a stride in another place or another activation, the statistics of real
photos disagree with the stored ones. Variances tell more than means: after a batch norm and a
rectifier, the means of the next layer follow from scale and bias, whatever its convolution does.

The check sees another scale of the images, and hardly another order of their colours.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import UInt8
from PIL import Image

from fcn_jax.data.files.file_names import SUFFIXES, is_picture, list_visible
from fcn_jax.data.files.pictures import read_image_file
from fcn_jax.errors import UserError
from fcn_jax.models.efficientnet import EfficientNetLite
from fcn_jax.models.layers import Conv, NormSpec
from fcn_jax.models.mobilenet import MobileNetV2
from fcn_jax.models.preprocess import Preprocess
from fcn_jax.models.resnet import ResNet
from fcn_jax.models.vgg import VGG16
from fcn_jax.ops.conv.conv import conv
from fcn_jax.ops.papers import EFFICIENTNET_LITE_FACTORS
from fcn_jax.weights.network_file import Weights

DEAD_VAR = 1e-8

# As networks are shown the images of ImageNet: the short side is resized, and the middle cut out.
SHORT_SIDE_PX, CROP_PX = 256, 224

# An agreeing layer has variances that follow the stored ones, and are about as large. Where the
# stored ones are all alike, as in EfficientNet-Lite, noise takes from the correlation: in 28 draws
# of 60 photos of VOC it fell to 0.73 in the very network, and to 0.59 or less in each wrong one
# whose ratios did not tell. (How far ratios spread over the channels tells less: in these layers as
# far as behind a wrong stride.)
MIN_CORRELATION, MAX_RATIO = 0.66, 2.0

# Once a network is known to be another, the trouble begins where correlations are below this.
CLOSE_CORRELATION = 0.8

# What the last layers compute depends on what the photos show. In 20 draws of 60 photos of VOC, and
# in 20 of 120, MobileNetV2 as its weights want it never disagreed before its last four layers; with
# ReLU6 instead of ReLU it always did.
NUM_UNJUDGED = 4

BACKBONES: Mapping[str, Callable[..., nn.Module]] = {
    "vgg16": VGG16,
    **{f"resnet{depth}": partial(ResNet, depth=depth) for depth in (18, 34, 50, 101)},
    "mobilenetv2": MobileNetV2,
    **{
        f"efficientnetlite{variant}": partial(EfficientNetLite, variant=variant)
        for variant in EFFICIENTNET_LITE_FACTORS
    },
}


class LayerCheck(NamedTuple):
    """How the statistics of a layer on photos compare with the stored ones, over its channels.

    Attributes:
        layer: Path of the convolution in the backbone.
        var_correlation: Correlation of the logarithms of the variances.
        var_ratio: Median of the variances on photos divided by the stored ones.
        mean_correlation: Correlation of the means.
        is_judged: Whether the verdict counts this layer; see `NUM_UNJUDGED`.
    """

    layer: str
    var_correlation: float
    var_ratio: float
    mean_correlation: float
    is_judged: bool

    @property
    def agrees(self) -> bool:
        """Whether the variances are those that were stored."""
        return self._agrees(MIN_CORRELATION)

    @property
    def agrees_closely(self) -> bool:
        """Whether they are, beyond doubt."""
        return self._agrees(CLOSE_CORRELATION)

    def _agrees(self, least: float) -> bool:
        return 1 / MAX_RATIO < self.var_ratio < MAX_RATIO and self.var_correlation > least


@dataclass(frozen=True)
class NormCheck:
    """The comparison of every layer, in the order in which they run."""

    layers: tuple[LayerCheck, ...]

    @property
    def first_disagreement(self) -> LayerCheck | None:
        """The first layer that counts and does not agree closely; None if all agree."""
        judged = [row for row in self.layers if row.is_judged]
        if all(row.agrees for row in judged):
            return None
        return next(row for row in judged if not row.agrees_closely)

    @property
    def verdict(self) -> str:
        """The outcome in a line."""
        judged = sum(row.is_judged for row in self.layers)
        if (row := self.first_disagreement) is None:
            return (
                f"the batch norms agree in all of the first {judged} of {len(self.layers)} layers"
            )
        return (
            f"the batch norms disagree: {row.layer} is the first layer where they do (correlation "
            f"{row.var_correlation:.2f}, ratio {row.var_ratio:.2f}); these weights were trained in "
            "another network, or for other images"
        )

    def __str__(self) -> str:
        width = max(len(row.layer) for row in self.layers)
        lines = [f"{'layer':{width}}  log var r  var ratio  mean r"]
        for row in self.layers:
            note = "" if row.agrees_closely else "  agrees less" if row.agrees else "  disagrees"
            note = note if row.is_judged or row.agrees else "  (does not count)"
            numbers = (
                f"{row.var_correlation:9.2f}  {row.var_ratio:9.2f}  {row.mean_correlation:6.2f}"
            )
            lines.append(f"{row.layer:{width}}  {numbers}{note}")
        return "\n".join([*lines, self.verdict])


def check_weights(
    weights: Weights, photos: Iterable[UInt8[np.ndarray, "h w 3"]]
) -> NormCheck | None:
    """Checks the batch norms of a file in the network that it requires; None if it has none."""
    if not any(leaf.startswith("batch_stats/backbone/") for leaf in weights.arrays):
        return None
    mean, std, bgr = (weights.preprocess[key] for key in ("mean_rgb", "std_rgb", "bgr"))
    make_backbone = BACKBONES[weights.network]
    options = partial(make_backbone).func.WEIGHT_OPTIONS  # a head may require others
    backbone = make_backbone(
        norm=NormSpec(frozen=True),
        preprocess=Preprocess(tuple(mean), tuple(std), bgr),
        **{key: value for key, value in weights.requires.items() if key in options},
    )
    return check_norms(backbone, backbone_variables(weights.arrays), photos)


def backbone_variables(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Takes the variables of the backbone out of arrays by path."""
    parts = {leaf: leaf.split("/") for leaf in arrays}
    return unflatten_dict(
        {
            (kind, *path): arrays[leaf]
            for leaf, (kind, room, *path) in parts.items()
            if room == "backbone"
        }
    )


def check_norms(
    backbone: nn.Module,
    variables: Mapping[str, Any],
    photos: Iterable[UInt8[np.ndarray, "h w 3"]],
) -> NormCheck:
    """Compares the statistics before every batch norm on photos with those that are stored.

    Args:
        backbone: Network with frozen batch norm.
        variables: Variables of the backbone.
        photos: Photos of one size, prepared as `read_photos` does it.
    """
    stored = flatten_dict(variables["batch_stats"], sep="/")
    stats = measure_norms(backbone, variables, photos)
    rows = []
    for index, (layer, (mean, var)) in enumerate(stats.items(), start=1):
        stored_mean, stored_var = (
            np.asarray(stored[f"{layer}/norm/{name}"]) for name in ("mean", "var")
        )
        # A channel that does not vary is dead, here or there: its logarithm says nothing.
        alive = (var > DEAD_VAR) & (stored_var > DEAD_VAR)
        ratios = var[alive] / stored_var[alive]
        rows.append(
            LayerCheck(
                layer=layer,
                var_correlation=_correlation(np.log(var[alive]), np.log(stored_var[alive])),
                var_ratio=float(np.median(ratios)) if alive.any() else np.nan,
                mean_correlation=_correlation(mean, stored_mean),
                is_judged=index <= len(stats) - NUM_UNJUDGED,
            )
        )
    return NormCheck(tuple(rows))


def measure_norms(
    backbone: nn.Module,
    variables: Mapping[str, Any],
    photos: Iterable[UInt8[np.ndarray, "h w 3"]],
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Measures mean and variance of all photos before every batch norm, by the path of its conv."""
    layers: list[str] = []  # as they run; jit sorts the names

    @jax.jit
    def run(variables, photo):
        found = {}

        def record(call, args, kwargs, context):
            module = context.module
            if isinstance(module, Conv) and context.method_name == "__call__" and module.norm:
                layer = "/".join(module.path)
                kernel = module.get_variable("params", "kernel")
                maps = conv(args[0].maps, kernel, module.window, groups=module.groups)
                found[layer] = maps.mean((0, 1, 2)), maps.var((0, 1, 2))
                layers.append(layer)
            return call(*args, **kwargs)

        with nn.intercept_methods(record):
            backbone.apply(variables, photo[None], train=False)
        return found

    variables = jax.device_put(dict(variables))
    by_photo = [jax.device_get(run(variables, photo)) for photo in photos]
    if not by_photo:
        raise UserError("there are no photos to check the batch norms on")
    stats = {}
    for layer in layers:
        means, variances = (
            np.stack([found[layer][index] for found in by_photo]).astype(np.float64)
            for index in range(2)
        )
        # The variance over all photos is that within them and that between them.
        stats[layer] = means.mean(0), variances.mean(0) + means.var(0)
    return stats


def read_photos(folder: str | Path, *, num_photos: int = 120) -> np.ndarray:
    """Reads photos of a folder, evenly spread over their names, as `[n, 224, 224, 3]`.

    Raises:
        UserError: There are no photos in the folder, or one of them cannot be read.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder; give one that holds photos")
    files = [path for path in list_visible(folder) if is_picture(path)]
    if not files:
        raise UserError(f"{folder} holds no photos ({', '.join(SUFFIXES)})")
    chosen = np.linspace(0, len(files) - 1, min(num_photos, len(files))).round().astype(int)
    return np.stack([_crop(read_image_file(files[index]).pixels) for index in chosen])


def _crop(image: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "H W 3"]:
    picture = Image.fromarray(image)
    scale = SHORT_SIDE_PX / min(picture.size)
    picture = picture.resize(
        tuple(round(scale * size) for size in picture.size), Image.Resampling.BILINEAR
    )
    left, top = ((size - CROP_PX) // 2 for size in picture.size)
    return np.asarray(picture.crop((left, top, left + CROP_PX, top + CROP_PX)))


def _correlation(ours: np.ndarray, theirs: np.ndarray) -> float:
    if len(ours) < 2 or not ours.std() or not theirs.std():
        return np.nan
    return float(np.corrcoef(ours, theirs)[0, 1])
