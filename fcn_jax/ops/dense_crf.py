"""The fully connected CRF that DeepLab v1 puts behind its network, on arrays of the host.

Every pixel is joined to every other one by two Gaussian kernels: one over positions, which smooths,
and one over positions and colours (bilateral), which lets labels follow edges. Mean field inference
filters the class probabilities with both kernels in every iteration; a filter over all pairs of
pixels costs as much as there are pixels, not pairs, because it is done on a permutohedral lattice.

A filter is three sparse matrices here: pixels onto the corners of their simplices (splat), a blur
along each axis of the lattice, and back (slice). scipy multiplies them with all classes at once.

Source: Kraehenbuehl and Koltun 2011, Efficient Inference in Fully Connected CRFs with Gaussian Edge
Potentials; Adams et al. 2010, Fast High-Dimensional Filtering Using the Permutohedral Lattice;
parameters: Chen et al. 2015, Sec. 4.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.sparse
from jaxtyping import Float, Int, UInt8

from fcn_jax.errors import UserError

# Kernels are divided by the sum of their weights at a pixel: "deeplab" after filtering, as the code
# of the first release does; "symmetric" by its square root before and after, as pydensecrf does.
NORMALIZATIONS = ("deeplab", "symmetric")
MIN_PROBABILITY = 1e-5  # smaller ones would never be overruled
_TINY = 1e-20


def dense_crf(
    image: UInt8[np.ndarray, "h w 3"],
    probs: Float[np.ndarray, "h w k"],
    *,
    num_iterations: int = 10,
    pos_w: float = 3.0,
    pos_xy_std: float = 3.0,
    bi_w: float = 4.0,
    bi_xy_std: float = 49.0,
    bi_rgb_std: float = 5.0,
    normalization: str = "deeplab",
) -> Float[np.ndarray, "h w k"]:
    """Sharpens class probabilities by what colours and positions say of each pair of pixels.

    Args:
        image: RGB in 0..255, as read.
        probs: Class probabilities that sum to 1 over k; they are raised to at least 1e-5.
        num_iterations: Updates of the mean field; DeepLab takes 10.
        pos_w: Weight of the kernel over positions.
        pos_xy_std: Standard deviation of the kernel over positions, in pixels.
        bi_w: Weight of the bilateral kernel.
        bi_xy_std: Standard deviation of the bilateral kernel in positions, in pixels.
        bi_rgb_std: Standard deviation of the bilateral kernel in colours, in levels of 0..255.
        normalization: `deeplab` or `symmetric`, how a kernel is divided by the sum of its weights.

    Returns:
        The marginals of the mean field, float32, which sum to 1 over k.

    Raises:
        UserError: for parameters that are out of range.
    """
    check_parameters(
        num_iterations=num_iterations,
        pos_w=pos_w,
        pos_xy_std=pos_xy_std,
        bi_w=bi_w,
        bi_xy_std=bi_xy_std,
        bi_rgb_std=bi_rgb_std,
        normalization=normalization,
    )
    height, width, num_classes = probs.shape
    kernels = [
        (weight, _Filter.make(features, normalization=normalization))
        for weight, features in (
            (pos_w, _positions(height, width) / pos_xy_std),
            (
                bi_w,
                np.concatenate(
                    [
                        _positions(height, width) / bi_xy_std,
                        image.reshape(-1, 3).astype(np.float32) / bi_rgb_std,
                    ],
                    axis=1,
                ),
            ),
        )
        if weight
    ]
    flat = probs.reshape(-1, num_classes).astype(np.float32)
    unary = np.log(np.clip(flat, MIN_PROBABILITY, 1.0))
    marginals = _softmax(unary)
    for _ in range(num_iterations):
        message = unary.copy()
        for weight, filter_ in kernels:
            message += np.float32(weight) * filter_(marginals)
        marginals = _softmax(message)
    return marginals.reshape(height, width, num_classes)


def check_parameters(*, normalization: str, **values: float) -> None:
    """Raises UserError unless `dense_crf` takes these keywords."""
    for name in ("pos_xy_std", "bi_xy_std", "bi_rgb_std"):
        if not values[name] > 0:
            raise UserError(f"crf.{name}={values[name]} must be positive")
    for name in ("num_iterations", "pos_w", "bi_w"):
        if not values[name] >= 0:
            raise UserError(f"crf.{name}={values[name]} must not be negative")
    if normalization not in NORMALIZATIONS:
        known = ", ".join(NORMALIZATIONS)
        raise UserError(f"unknown crf.normalization {normalization!r}; known: {known}")


def _positions(height: int, width: int) -> Float[np.ndarray, "n 2"]:
    rows, columns = np.mgrid[:height, :width]
    return np.stack([columns.ravel(), rows.ravel()], axis=1).astype(np.float32)


def _softmax(scores: Float[np.ndarray, "n k"]) -> Float[np.ndarray, "n k"]:
    values = np.exp(scores - scores.max(axis=1, keepdims=True))
    return values / values.sum(axis=1, keepdims=True)


@dataclass(frozen=True)
class _Filter:
    """A Gaussian filter over points, divided by the sums of its weights.

    Attributes:
        lattice: The points' lattice.
        before: Factor of every value that goes in; None for 1.
        after: Factor of every value that comes out.
    """

    lattice: "Lattice"
    before: Float[np.ndarray, "n 1"] | None
    after: Float[np.ndarray, "n 1"]

    @classmethod
    def make(cls, features: Float[np.ndarray, "n d"], *, normalization: str) -> "_Filter":
        lattice = Lattice.make(features)
        sums = lattice.filter(np.ones((len(features), 1), np.float32)) + np.float32(_TINY)
        if normalization == "deeplab":
            return cls(lattice, None, 1 / sums)
        root = 1 / np.sqrt(sums)
        return cls(lattice, root, root)

    def __call__(self, values: Float[np.ndarray, "n k"]) -> Float[np.ndarray, "n k"]:
        return self.after * self.lattice.filter(
            values if self.before is None else self.before * values
        )


@dataclass(frozen=True)
class Lattice:
    """The part of a permutohedral lattice that points lie in.

    The lattice of d dimensions lies in the plane of d + 1 coordinates that sum to 0. A point is in
    a simplex of d + 1 corners, among which its value is dealt out by its barycentric coordinates.

    Attributes:
        corners: Of each point, the numbers of the corners of its simplex.
        weights: Of each point, its barycentric coordinates there.
        neighbors: Of each axis and lattice point, the numbers of the points before and after it, or
            the number of lattice points where there is none.
    """

    corners: Int[np.ndarray, "n d1"]
    weights: Float[np.ndarray, "n d1"]
    neighbors: Int[np.ndarray, "d1 2 m"]

    @classmethod
    def make(cls, features: Float[np.ndarray, "n d"]) -> "Lattice":
        """Finds the simplex of every point; features are in standard deviations of the kernel."""
        dims = features.shape[1]
        elevated = _elevate(features)
        remainder, rank = _nearest_zero(elevated)
        weights = _barycentric(elevated - remainder, rank)
        # A corner of remainder r has, from the nearest point of remainder 0, r steps along every
        # coordinate, less d + 1 along those of the last ranks.
        steps = np.arange(dims + 1)[:, None, None] - (dims + 1) * (
            rank > dims - np.arange(dims + 1)[:, None, None]
        )
        keys = (remainder.astype(np.int64) + steps)[..., :dims].swapaxes(0, 1)
        codes, place = _encode(keys.reshape(-1, dims))
        found, corners = np.unique(codes, return_inverse=True)
        return cls(
            corners.reshape(-1, dims + 1).astype(np.int32),
            weights.astype(np.float32),
            _find_neighbors(found, place, dims),
        )

    @cached_property
    def _splat(self) -> scipy.sparse.csr_matrix:
        return self._slice.T.tocsr()

    @cached_property
    def _slice(self) -> scipy.sparse.csr_matrix:
        num_points, num_corners = self.corners.shape
        return scipy.sparse.csr_matrix(
            (
                self.weights.ravel(),
                self.corners.ravel(),
                np.arange(0, num_points * num_corners + 1, num_corners),
            ),
            shape=(num_points, self.neighbors.shape[2]),
        )

    @cached_property
    def _blurs(self) -> list[scipy.sparse.csr_matrix]:
        """The blur along each axis: a point and half of its two neighbours."""
        size = self.neighbors.shape[2]
        numbers = np.arange(size)
        blurs = []
        for pair in self.neighbors:
            columns = np.concatenate([numbers, *pair])
            rows, there = np.tile(numbers, 3), columns < size
            values = np.repeat(np.float32([1, 0.5, 0.5]), size)
            blurs.append(
                scipy.sparse.csr_matrix(
                    (values[there], (rows[there], columns[there])), shape=(size, size)
                )
            )
        return blurs

    def filter(self, values: Float[np.ndarray, "n k"]) -> Float[np.ndarray, "n k"]:
        """Adds, for every point, the values of all points times exp(-distance ** 2 / 2)."""
        spread = self._splat @ values
        for blur in self._blurs:
            spread = blur @ spread
        # The blurs along d + 1 axes count what lies between them more than once.
        num_axes = self.corners.shape[1]
        return (self._slice @ spread) / np.float32(1 + 2.0 ** -(num_axes - 1))


def _elevate(features: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d1"]:
    """Takes points into the plane of the lattice, in which the blurs have the deviation 1."""
    dims = features.shape[1]
    # Splatting, d + 1 blurs and slicing have a variance of 2 (d + 1) ** 2 / 3 lattice units.
    scale = np.sqrt(2 / 3) * (dims + 1) / np.sqrt(np.arange(1, dims + 1) * np.arange(2, dims + 2))
    scaled = features.astype(np.float64) * scale
    sums = np.cumsum(scaled[:, ::-1], axis=1)[:, ::-1]  # of this and all further coordinates
    elevated = np.zeros((len(features), dims + 1))
    elevated[:, :-1] = sums
    elevated[:, 1:] -= np.arange(1, dims + 1) * scaled
    return elevated


def _nearest_zero(
    elevated: Float[np.ndarray, "n d1"],
) -> tuple[Float[np.ndarray, "n d1"], Int[np.ndarray, "n d1"]]:
    """Finds the nearest lattice point of remainder 0, and the order of the coordinates from it."""
    size = elevated.shape[1]
    rounded = np.round(elevated / size)
    excess = rounded.sum(1).astype(np.int64)
    # The coordinate with the largest difference has rank 0; of equal ones the first.
    order = np.argsort(-(elevated - rounded * size), axis=1, kind="stable")
    rank = np.empty_like(order)
    np.put_along_axis(rank, order, np.broadcast_to(np.arange(size), order.shape), axis=1)
    rank += excess[:, None]  # until the rounded coordinates sum to 0
    low, high = rank < 0, rank >= size
    return (rounded + low - high) * size, rank + size * low - size * high


def _barycentric(
    difference: Float[np.ndarray, "n d1"], rank: Int[np.ndarray, "n d1"]
) -> Float[np.ndarray, "n d1"]:
    size = difference.shape[1]
    in_order = np.empty_like(difference)  # the differences from the last rank to the first
    np.put_along_axis(in_order, size - 1 - rank, difference / size, axis=1)
    weights = in_order.copy()
    weights[:, 1:] -= in_order[:, :-1]
    weights[:, 0] += 1 - in_order[:, -1]
    return weights


def _encode(keys: Int[np.ndarray, "n d"]) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " d"]]:
    """Writes every key as one number; a step along a coordinate adds its place."""
    margin = keys.shape[1] + 1  # to the neighbours of the outermost points
    low = keys.min(0) - margin
    extents = keys.max(0) - low + margin + 1
    place = np.concatenate([[1], np.cumprod(extents[:-1])])
    if np.prod(extents.astype(float)) > 2.0**62:
        raise UserError("the CRF's deviations are too small for this image; choose larger ones")
    return (keys - low) @ place, place


def _find_neighbors(
    codes: Int[np.ndarray, " m"], place: Int[np.ndarray, " d"], dims: int
) -> Int[np.ndarray, "d1 2 m"]:
    neighbors = np.full((dims + 1, 2, len(codes)), len(codes), np.int32)
    for axis in range(dims + 1):
        # One step back along every coordinate but one, and d forward along that one, which is
        # not in the key if it is the last.
        step = -place.sum() + (place[axis] * (dims + 1) if axis < dims else 0)
        for side, sign in enumerate((1, -1)):
            wanted = codes + sign * step
            index = np.searchsorted(codes, wanted)
            there = index < len(codes)
            there[there] = codes[index[there]] == wanted[there]
            neighbors[axis, side, there] = index[there]
    return neighbors
