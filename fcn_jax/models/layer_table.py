"""A network as a table: what every layer makes, where it lies, what it costs.

The table is recorded while the network runs on abstract arrays, so it takes no time, no memory and
no second description of the network.
"""

from collections.abc import Sequence
from fractions import Fraction
from math import prod
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from fcn_jax.models import layers
from fcn_jax.models.blob import Blob
from fcn_jax.models.head import Head
from fcn_jax.ops import geometry


class Row(NamedTuple):
    """One layer, by the release's name of its output.

    Attributes:
        name: the path of its parameters, without `backbone`; at another scale of the image, with
            the scale behind it.
        layer: its geometry; None for what moves no unit, such as a sum.
        scores: whether it is a head's convolution that makes class scores of features.
        height, width, channels: of its output.
        stride, start: image pixels between units, and the image position of unit 0's centre.
        field: the largest receptive field of a unit, in image pixels.
        num_bytes: of its output, for one image.
        params: number of trained values; 0 at another scale, where they are the same ones.
        multiply_adds: for one image.
    """

    name: str
    kind: str
    layer: geometry.Layer | None
    scores: bool
    height: int
    width: int
    channels: int
    stride: Fraction
    start: Fraction
    field: int
    num_bytes: int
    params: int
    multiply_adds: int


def layer_table(model: nn.Module, *, height: int, width: int, train: bool = False) -> list[Row]:
    """Lists the layers of `model`, in the order in which they run, for one image of this size.

    A network that looks at the image at several scales has rows for each.
    """
    calls = []
    scale = Fraction(1)

    def record(call, args, kwargs, context):
        nonlocal scale
        if isinstance(context.module, Head) and context.method_name == "score_scaled":
            scale = args[1]
        output = call(*args, **kwargs)
        if isinstance(output, Blob) and context.method_name == "__call__":
            path = context.module.path
            # What is made of layers is no layer: those it is made of were recorded before it.
            if not any(inner[: len(path)] == path != inner for _, inner, *_ in calls):
                calls.append((context.module.clone(parent=None), path, args, output, scale))
        return output

    def run():
        images = jnp.zeros((1, height, width, 3))
        with nn.intercept_methods(record):
            keys = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
            return model.init(keys, images, train=train)

    params = jax.eval_shape(run)["params"]
    return [_row(*call, params) for call in calls]


def output_stride(rows: Sequence[Row]) -> int:
    """Returns the stride of the coarsest map: of the deepest features."""
    return int(max(row.stride for row in rows))


def finest_stride(rows: Sequence[Row]) -> int:
    """Returns the stride of the finest map that is scored."""
    return int(min(row.stride for row in rows if row.scores))


def _row(
    module: nn.Module, path: tuple[str, ...], args, output: Blob, scale: Fraction, params
) -> Row:
    leaves = params if scale == 1 else {}  # at other scales they are the same ones
    for key in path:
        leaves = leaves.get(key, {})
    _, height, width, channels = output.maps.shape
    units = height * width * channels
    incoming = args[0].maps.shape
    incoming_paths = [blob.paths[0] for blob in args if isinstance(blob, Blob)]
    layer = None if output.paths[0] in incoming_paths else output.paths[0][-1]
    scores = False
    match module:
        case layers.Conv(groups=groups, activation=activation):
            # Inside of a backbone, what has no activation goes into a sum.
            scores = activation is None and path[0] != "backbone"
            multiply_adds = units * layer.kernel**2 * incoming[3] // groups
        case layers.LearnedUpscore():
            multiply_adds = prod(incoming[1:]) * layer.kernel**2 * channels
        case layers.BilinearUpscore():
            # Two matrix products: along the width at the incoming height, then along the height.
            multiply_adds = channels * width * incoming[1] * (incoming[2] + height)
        case _:
            multiply_adds = 0
    name = "/".join(path[1:] if path[0] == "backbone" else path)
    return Row(
        name=name if scale == 1 else f"{name} x{float(scale):g}",
        kind=type(module).__name__,
        layer=layer,
        scores=scores,
        height=height,
        width=width,
        channels=channels,
        stride=output.stride / scale,
        start=output.start / scale,
        field=output.field if scale == 1 else output.field / float(scale),
        num_bytes=units * output.maps.dtype.itemsize,
        params=sum(prod(leaf.shape) for leaf in jax.tree.leaves(leaves)),
        multiply_adds=multiply_adds,
    )
