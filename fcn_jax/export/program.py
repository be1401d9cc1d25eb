"""A trained network as a function of images alone, and whether another program computes the same.

The parameters are constants of the function and the preparation of the images is part of it. Every
convolution is XLA's one operation, so that the function is made of few primitives and lowers to
all platforms. Batch, height and width are symbolic dimensions of `jax.export`; height and width can
be numbers.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import export
from jaxtyping import Array, Float, Num

from fcn_jax.errors import UserError
from fcn_jax.ops.conv.conv import use_conv
from fcn_jax.ops.geometry import is_symbolic
from fcn_jax.train import parallel
from fcn_jax.train.trained import Trained

# Batch, height and width of the images of a comparison: odd and even, and no multiples of a stride.
SIZES = ((1, 64, 96), (2, 97, 65), (1, 161, 225))

Run = Callable[[Num[np.ndarray, "b h w 3"]], Float[np.ndarray, "b h w k"]]


class Comparison(NamedTuple):
    """How far two programs differ.

    Attributes:
        difference: Largest difference of two logits, as a fraction of the largest logit of the same
            images.
        sizes: Batch, height and width of the images.
    """

    difference: float
    sizes: tuple[tuple[int, int, int], ...]

    def __str__(self) -> str:
        sizes = ", ".join("x".join(map(str, size)) for size in self.sizes)
        return f"largest relative difference {self.difference:.1e} at {sizes}"


def make_function(net: Trained) -> Callable[[Num[Array, "b h w 3"]], Float[Array, "b h w k"]]:
    """Makes f(images): the logits of images in 0..255 RGB.

    Tracing f for symbolic sizes raises UserError if the network has to know height and width.
    """
    variables = jax.tree.map(jnp.asarray, dict(net.variables))

    def function(images):
        try:
            with use_conv("plain"):
                return net.model.apply(variables, images, train=False)
        except UserError as error:
            if not is_symbolic(*images.shape[1:3]):
                raise
            raise UserError(f"{error}\n--size=500x500 exports it for that size alone") from error

    return function


def make_images(dtype: str, size: tuple[int, int] | None) -> jax.ShapeDtypeStruct:
    """Makes the shape of any number of images: of any size, or of one height and width."""
    height, width = size or ("h", "w")
    return jax.ShapeDtypeStruct(export.symbolic_shape(f"b, {height}, {width}, 3"), dtype)


def compare(
    net: Trained, run: Run, images: jax.ShapeDtypeStruct, *, tolerance: float
) -> Comparison:
    """Compares a program with the network on images of noise, on a CPU.

    Accelerators compute in fewer digits, and each program in its own way.

    Args:
        run: The program.
        images: Shape that it takes.
        tolerance: Largest relative difference that is accepted.

    Raises:
        RuntimeError: if it differs more.
        UserError: if JAX has no CPU.
    """
    height, width = images.shape[1:3]
    sizes = SIZES if is_symbolic(height) else ((1, height, width), (2, height, width))
    rng, expect, differences = np.random.default_rng(0), jax.jit(make_function(net)), []
    with jax.default_device(parallel.find_cpu()):
        for size in sizes:
            noise = rng.integers(0, 256, (*size, 3)).astype(images.dtype)
            expected, actual = np.asarray(expect(noise)), run(noise)
            # A network that never learned has no logit but zero.
            differences.append(np.abs(actual - expected).max() / (np.abs(expected).max() or 1.0))
    found = Comparison(float(np.max(differences)), sizes)
    if not found.difference <= tolerance:  # as it is not for NaN
        raise RuntimeError(f"the exported program differs from the network: {found}")
    return found
