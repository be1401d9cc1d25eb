"""The layers that every network here is made of; they take blobs and give one."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial, reduce

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fcn_jax.errors import UserError
from fcn_jax.models.blob import Blob, clear_padding, join
from fcn_jax.ops import geometry
from fcn_jax.ops.conv.conv import conv, plain_conv
from fcn_jax.ops.geometry import Upscore, Window
from fcn_jax.ops.lrn import local_response_norm
from fcn_jax.ops.pool import avg_pool, max_pool
from fcn_jax.ops.upsample import (
    bilinear_kernel,
    bilinear_upscore,
    conv_transpose,
    resize_half_pixel,
)


@dataclass(frozen=True)
class NormSpec:
    """How `Conv` normalises its maps over the batch.

    Attributes:
        frozen: Whether training normalises by the stored statistics too, and leaves them as they
            are, instead of by those of the batch.
        axis_name: Mapped axis whose devices together hold the batch; None on one device.
        momentum: Share of the stored statistics that a batch leaves in place, in [0, 1].
        epsilon: Term that is added to the variance.
    """

    frozen: bool = False
    axis_name: str | None = None
    momentum: float = 0.9
    epsilon: float = 1e-5


NORMS = ("none", "batch", "frozen")


def make_norm(norm: str, axis_name: str | None) -> NormSpec | None:
    """Makes the normalisation that a user calls none, batch or frozen."""
    if norm not in NORMS:
        raise UserError(f"unknown model.norm {norm!r}; known: {', '.join(NORMS)}")
    return None if norm == "none" else NormSpec(frozen=norm == "frozen", axis_name=axis_name)


class Conv(nn.Module):
    """Convolution, then normalisation if any, then the activation if any.

    Parameters: `kernel` (HWIO) and `bias`, or `kernel` and `norm/{scale,bias}`.
    """

    features: int
    window: Window
    groups: int = 1
    norm: NormSpec | None = None
    activation: Callable[[Array], Array] | None = nn.relu
    kernel_init: nn.initializers.Initializer = nn.initializers.he_normal()

    @nn.compact
    def __call__(self, blob: Blob, *, train: bool) -> Blob:
        if self.features < 1:
            raise UserError(
                f"layer {self.name} has {self.features} channels: give it more of them, or the "
                "network a larger model.width"
            )
        size, dtype = self.window.kernel, blob.maps.dtype
        shape = (size, size, blob.maps.shape[-1] // self.groups, self.features)
        kernel = self.param("kernel", self.kernel_init, shape)
        norm, bias = self.norm, None
        if norm is None:
            bias = self.param("bias", nn.initializers.zeros, (self.features,))
        elif norm.frozen or not train:
            # In the kernel the factor costs nothing, nor does its gradient; on the maps both would
            # be passes over memory, and the way back would need the maps from before.
            factor, bias = StoredNorm(self.features, norm.epsilon, name="norm")()
            kernel = kernel * factor
        # Nobody looks at the maps of an initialisation, and tracing the fast forms takes longer.
        form = plain_conv if self.is_initializing() else conv
        maps = form(blob.maps, kernel.astype(dtype), self.window, groups=self.groups)
        if bias is not None:
            # In float32, and so is the sum of its gradient over all pixels: in bfloat16 that would
            # stop to grow at 256 times what a pixel adds.
            maps = (maps.astype(jnp.float32) + bias).astype(dtype)
        else:
            maps = nn.BatchNorm(
                use_running_average=False,
                axis_name=norm.axis_name,
                momentum=norm.momentum,
                epsilon=norm.epsilon,
                dtype=dtype,
                name="norm",
            )(maps)
        return blob.then(self.window, self.activation(maps) if self.activation else maps)


class StoredNorm(nn.Module):
    """Batch norm by its stored statistics, as the factor and the term that it comes to.

    It has the variables of `nn.BatchNorm`.
    """

    features: int
    epsilon: float

    @nn.compact
    def __call__(self) -> tuple[Float[Array, " c"], Float[Array, " c"]]:
        ones, zeros = (partial(fill, (self.features,)) for fill in (jnp.ones, jnp.zeros))
        scale = self.param("scale", lambda _: ones())
        bias = self.param("bias", lambda _: zeros())
        mean = self.variable("batch_stats", "mean", zeros).value
        var = self.variable("batch_stats", "var", ones).value
        factor = scale / jnp.sqrt(var + self.epsilon)
        return factor, bias - mean * factor


class MaxPool(nn.Module):
    """Maximum over windows; see `ops.pool`."""

    window: Window

    def __call__(self, blob: Blob) -> Blob:
        return blob.then(self.window, max_pool(blob.maps, self.window))


class AvgPool(nn.Module):
    """Mean over windows, padding included; see `ops.pool`."""

    window: Window

    def __call__(self, blob: Blob) -> Blob:
        return blob.then(self.window, avg_pool(blob.maps, self.window))


class GlobalMean(nn.Module):
    """Mean of a map, padding left out, as a map of one unit that sees the whole image."""

    def __call__(self, blob: Blob) -> Blob:
        maps = blob.maps.astype(jnp.float32)
        if blob.sizes is None:
            mean = maps.mean(axis=(1, 2), keepdims=True)
        else:
            units = jnp.prod(blob.sizes, axis=1).astype(jnp.float32)
            mean = maps.sum(axis=(1, 2), keepdims=True) / units[:, None, None, None]
        seen = blob.replace(sizes=None)
        return seen.then(geometry.WholeImage(), mean.astype(blob.maps.dtype))


class Spread(nn.Module):
    """Gives every unit of a reference the values of a map that has one unit."""

    def __call__(self, blob: Blob, reference: Blob) -> Blob:
        maps = jnp.broadcast_to(blob.maps, (*reference.maps.shape[:3], blob.maps.shape[3]))
        return blob.replace(maps=clear_padding(maps, reference.sizes), sizes=reference.sizes)


class BilinearUpscore(nn.Module):
    """Fixed bilinear upsampling, every channel by itself; see `ops.upsample`."""

    layer: Upscore

    def __call__(self, blob: Blob) -> Blob:
        return blob.then(self.layer, bilinear_upscore(blob.maps, self.layer))


class Stretch(nn.Module):
    """Resizes maps to a reference's size, edges onto edges; see `ops.upsample.resize_half_pixel`.

    Where the reference is not a whole number of times larger, the position of a unit is that of
    such a number, the nearest.
    """

    def __call__(self, blob: Blob, reference: Blob) -> Blob:
        factor = int(blob.stride / reference.stride)
        maps = resize_half_pixel(
            blob.maps, reference.maps.shape[1:3], units=blob.sizes, pixels=reference.sizes
        )
        layer = Upscore(2 * factor, factor, factor // 2)
        stretched = blob.replace(sizes=None).then(layer, maps)
        return stretched.replace(maps=clear_padding(maps, reference.sizes), sizes=reference.sizes)


class LearnedUpscore(nn.Module):
    """Transposed convolution that starts as bilinear upsampling of every channel by itself.

    Parameters: `kernel` (height, width, in, out), dense, as the release stores its filters.
    """

    layer: Upscore

    @nn.compact
    def __call__(self, blob: Blob) -> Blob:
        channels = blob.maps.shape[-1]
        size = self.layer.kernel
        kernel = self.param("kernel", _bilinear_init, (size, size, channels, channels))
        maps = conv_transpose(blob.maps, kernel.astype(blob.maps.dtype), self.layer)
        return blob.then(self.layer, maps)


def _bilinear_init(key, shape, dtype=jnp.float32):
    del key
    taps = jnp.asarray(bilinear_kernel(shape[0]), dtype)
    return jnp.einsum("y,x,io->yxio", taps, taps, jnp.eye(shape[2], dtype=dtype))


class LocalResponseNorm(nn.Module):
    """Normalises across channels; see `ops.lrn`."""

    def __call__(self, blob: Blob) -> Blob:
        return blob.replace(maps=local_response_norm(blob.maps))


class Scale(nn.Module):
    """Multiplies by a constant."""

    factor: float

    def __call__(self, blob: Blob) -> Blob:
        return blob.replace(maps=blob.maps * self.factor)


class Fill(nn.Module):
    """Adds zeros behind a map, up to a multiple of so many units; from then on they are image."""

    multiple: int

    def __call__(self, blob: Blob) -> Blob:
        size = blob.maps.shape[1:3]
        if geometry.is_symbolic(*size):
            raise UserError(
                f"{self.name}: the image is filled up to a multiple of {self.multiple} pixels, so "
                "its size cannot be symbolic; give height and width as numbers"
            )
        height, width = (-length % self.multiple for length in size)
        maps = jnp.pad(blob.maps, ((0, 0), (0, height), (0, width), (0, 0)))
        if blob.sizes is None:
            return blob.replace(maps=maps)
        return blob.replace(maps=maps, sizes=-(-blob.sizes // self.multiple) * self.multiple)


class Extend(nn.Module):
    """Repeats the first units of a map once more before them."""

    def __call__(self, blob: Blob) -> Blob:
        maps = jnp.pad(blob.maps, ((0, 0), (1, 0), (1, 0), (0, 0)), mode="edge")
        return blob.then(geometry.Crop(-1), maps)


class Crop(nn.Module):
    """Cuts a blob to the size of a reference of the same stride.

    Attributes:
        offset: First unit that is kept, whatever the geometry says; None for the unit that lies on
            the reference's first one.
        whole: Whether the blob has to cover the reference; otherwise a blob that ends before the
            reference is cut where it ends itself.
    """

    offset: int | None = None
    whole: bool = True

    def __call__(self, blob: Blob, reference: Blob) -> Blob:
        offset = self.offset
        if offset is None:
            offset = geometry.crop_offset(blob.paths[0], reference.paths[0])
        height, width = reference.maps.shape[1:3]
        have, want = blob.maps.shape[1:3], (offset + height, offset + width)
        try:
            short = want[0] > have[0] or want[1] > have[1]
        except jax.errors.InconclusiveDimensionOperation:
            # Above a smaller fc6 than the release's; JAX proves it for every network of the zoo.
            raise UserError(
                f"{self.name}: which of two maps ends first depends on the size of the image, so "
                "it cannot be symbolic; give height and width as numbers"
            ) from None
        if offset < 0 or (self.whole and short):
            raise UserError(
                f"{self.name}: cannot cut {height}x{width} at {offset} out of {have[0]}x{have[1]}; "
                "larger images are needed"
            )
        maps = blob.maps[:, offset : want[0], offset : want[1]]
        cut = blob.then(geometry.Crop(offset), maps)
        if cut.sizes is None or reference.sizes is None:
            return cut
        sizes = jnp.minimum(cut.sizes, reference.sizes)
        return cut.replace(maps=clear_padding(cut.maps, sizes), sizes=sizes)


class Fuse(nn.Module):
    """Adds blobs of the same grid."""

    def __call__(self, *blobs: Blob) -> Blob:
        if any(geometry.crop_offset(blob.paths[0], blobs[0].paths[0]) for blob in blobs):
            raise UserError(
                f"{self.name}: the units of these maps lie on different pixels; Crop one first"
            )
        return join(reduce(jnp.add, (blob.maps for blob in blobs)), blobs)


class Concat(nn.Module):
    """Stacks the channels of blobs of the same grid."""

    def __call__(self, *blobs: Blob) -> Blob:
        if any(geometry.crop_offset(blob.paths[0], blobs[0].paths[0]) for blob in blobs):
            raise UserError(
                f"{self.name}: the units of these maps lie on different pixels; Crop one first"
            )
        return join(jnp.concatenate([blob.maps for blob in blobs], axis=-1), blobs)


def run_stage(
    stage: Callable[..., Blob], module: nn.Module, blob: Blob, *, train: bool, remat: bool
) -> Blob:
    """Runs `stage(module, blob, train=train)`: layers whose inner maps nothing else looks at.

    Args:
        stage: A method of `module`, as a function of the module.
        remat: Whether the gradient computes the inner maps again instead of keeping them, in about
            half of the memory and a third more time. (On a CPU this works from jax 0.12 on: the XLA
            before it undoes it.)
    """
    stage = partial(stage, train=train)
    return (nn.remat(stage) if remat else stage)(module, blob)


def fc_layers(
    blob: Blob,
    layers: Sequence[tuple[Window, int]],
    *,
    norm: NormSpec | None,
    dropout: float,
    train: bool,
    suffix: str = "",
) -> Blob:
    """Applies the convolutionalised classifier fc6, fc7, ...; each is followed by dropout.

    Called inside a compact method, whose module gets the layers.

    Args:
        layers: Window and channels of each layer.
        dropout: Fraction of the values that training drops after each layer.
        suffix: Ending of the layers' names, where a network has several such classifiers.
    """
    for number, (window, channels) in enumerate(layers, start=6):
        blob = Conv(channels, window, norm=norm, name=f"fc{number}{suffix}")(blob, train=train)
        blob = blob.replace(maps=nn.Dropout(dropout, deterministic=not train)(blob.maps))
    return blob
