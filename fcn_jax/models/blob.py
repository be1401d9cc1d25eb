"""Feature maps that know where they lie: they flow between the layers of every network here.

A `Blob` knows which layers led to it, so that strides, receptive fields and crop offsets are
computed by the very call that computes the map and cannot be wrong about it.
"""

from collections.abc import Sequence
from fractions import Fraction
from functools import reduce

import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Int

from fcn_jax.ops import geometry


@struct.dataclass
class Blob:
    """A feature map and where it lies on the image.

    Attributes:
        maps: Values of the features, `[b, h, w, c]`.
        paths: Layers from the image to these maps, one sequence for each way that is not covered by
            another; all of them lead to the same grid.
        sizes: Height and width, in units, of each map without the padding behind it, which is zero
            then: every layer makes of it what it makes of no padding. None where all is image.
    """

    maps: Float[Array, "b h w c"]
    paths: tuple[tuple[geometry.Layer, ...], ...] = struct.field(pytree_node=False, default=((),))
    sizes: Int[Array, "b 2"] | None = None

    @classmethod
    def of_images(
        cls, images: Float[Array, "b h w c"], *, sizes: Int[Array, "b 2"] | None = None
    ) -> "Blob":
        """Returns images as maps.

        Args:
            images: Images, padded at the bottom and at the right.
            sizes: Height and width of each without the padding; None for no padding, or to take the
                padding for image.
        """
        return cls(clear_padding(images, sizes), sizes=sizes)

    @property
    def stride(self) -> Fraction:
        """Image pixels from one unit to the next."""
        return geometry.stride_and_start(self.paths[0])[0]

    @property
    def start(self) -> Fraction:
        """The image position of unit 0's centre."""
        return geometry.stride_and_start(self.paths[0])[1]

    @property
    def field(self) -> int | float:
        """The largest receptive field of a unit, in image pixels; infinite for the whole image."""
        return max(geometry.field_size(path) for path in self.paths)

    def then(self, layer: geometry.Layer, maps: Float[Array, "b h w c"]) -> "Blob":
        """Returns what `layer` made of this blob."""
        sizes = self.sizes
        if sizes is not None:
            sizes = jnp.maximum(geometry.output_size(layer, sizes), 0)
            maps = clear_padding(maps, sizes)
        return Blob(maps, tuple((*path, layer) for path in self.paths), sizes)


def clear_padding(
    maps: Float[Array, "b h w c"], sizes: Int[Array, "b 2"] | None
) -> Float[Array, "b h w c"]:
    """Returns maps that are zero from `sizes` on; as they are where it is None."""
    if sizes is None:
        return maps
    rows, columns = (
        jnp.arange(count) < sizes[:, axis, None] for axis, count in enumerate(maps.shape[1:3])
    )
    return jnp.where((rows[:, :, None] & columns[:, None, :])[..., None], maps, 0)


def join(maps: Float[Array, "b h w c"], blobs: Sequence[Blob]) -> Blob:
    """Returns what was made of blobs of the same grid, unit by unit."""
    paths = geometry.covering(*(path for blob in blobs for path in blob.paths))
    sizes = [blob.sizes for blob in blobs if blob.sizes is not None]
    return Blob(maps, paths, reduce(jnp.minimum, sizes) if sizes else None)
