"""The only file that knows of more than one device, and the only one that says pmap.

A train step sees its own part of the batch. What has to be whole (loss, gradients, batch norm
statistics) is summed over `AXIS`. The state is one value that all devices share: it goes in and
comes out without a device axis.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Num

from fcn_jax.errors import UserError

AXIS = "batch"


class Devices:
    """The devices of this process, which share the work on every batch.

    Attributes:
        count: Number of devices.
        kind: Name of their make, such as `cpu`.
        names: Names of the devices, for the record.
    """

    def __init__(self, devices: Sequence[jax.Device]):
        self._devices = list(devices)
        self._mesh = Mesh(np.asarray(self._devices), (AXIS,))
        self.count = len(self._devices)
        self.kind = self._devices[0].device_kind
        self.names = [str(device) for device in self._devices]

    @property
    def is_writer(self) -> bool:
        """Whether this process, of all that train together, is the one that writes files."""
        return jax.process_index() == 0

    @property
    def memory_bytes(self) -> int | None:
        """Memory that a program may take of each device; None where a device does not say."""
        return (self._devices[0].memory_stats() or {}).get("bytes_limit")

    def check_batch_size(self, batch_size: int, *, iter_size: int = 1) -> None:
        """Raises UserError unless `batch_size` images can be dealt out evenly to all devices."""
        if iter_size < 1:
            raise UserError(f"train.iter_size={iter_size} must be positive")
        parts = self.count * iter_size
        if batch_size < 1 or batch_size % parts:
            raise UserError(
                f"train.batch_size={batch_size} must be a positive multiple of the {self.count} "
                f"device{'s' if self.count > 1 else ''}"
                f"{f' times iter_size={iter_size}' if iter_size > 1 else ''}; "
                f"try {parts * max(1, batch_size // parts)}"
            )

    def shard(self, batch: dict[str, Any]) -> dict[str, np.ndarray]:
        """Splits the leading axis into `[d, b]`; what is no array of numbers is left out."""
        return {
            name: array.reshape(self.count, -1, *array.shape[1:])
            for name, array in batch.items()
            if isinstance(array, np.ndarray) and array.dtype.kind != "U"
        }

    def put(self, batch: dict[str, np.ndarray]) -> dict[str, jax.Array]:
        """Copies the parts of a batch that `shard` split to their devices."""
        return jax.device_put(batch, NamedSharding(self._mesh, PartitionSpec(AXIS)))

    def replicate(self, state: Any) -> Any:
        """Copies a tree of arrays to all devices, in the form in which a train step returns it."""
        # From host arrays: putting a device array may alias it, and donation would delete both.
        sharding = NamedSharding(self._mesh, PartitionSpec())
        return jax.device_put(jax.device_get(state), sharding)

    def update(self, function: Callable) -> Callable:
        """Maps `function(state, batch) -> (state, sums)` over the devices; donates the state."""
        return jax.pmap(
            function,
            axis_name=AXIS,
            in_axes=(None, 0),
            out_axes=(None, None),
            donate_argnums=0,
            devices=self._devices,
        )

    def apply(self, function: Callable) -> Callable:
        """Maps `function(state, batch) -> outputs [d, ...]` over the devices; sums nothing."""
        return jax.pmap(function, axis_name=AXIS, in_axes=(None, 0), devices=self._devices)

    def host_sum(self, counts: Num[Array, "d ..."]) -> Num[np.ndarray, "..."]:
        """Adds the integers that `apply` returned, over all devices and in int64."""
        return np.asarray(counts, np.int64).sum(0)


def get_devices(*, count: int | None = None) -> Devices:
    """Returns this process's devices, or the first `count` of them."""
    devices = jax.local_devices()
    if count is not None and count > len(devices):
        raise UserError(f"{count} devices were asked for, but there are only {len(devices)}")
    return Devices(devices[:count])


def find_cpu() -> jax.Device:
    """Returns this machine's CPU, on which programs are compared wherever they will run.

    Raises:
        UserError: If jax was told to leave it out.
    """
    try:
        return jax.local_devices(backend="cpu")[0]
    except RuntimeError:
        raise UserError(
            "programs are compared on a CPU, which JAX_PLATFORMS forbids: leave it out, or give it "
            "a second one, such as JAX_PLATFORMS=cuda,cpu"
        ) from None


def all_sum(tree: Any) -> Any:
    """Sums over all devices, inside a mapped function."""
    return lax.psum(tree, AXIS)


def device_key(key: jax.Array, step: jax.Array) -> jax.Array:
    """Derives the key of this step on this device, inside a mapped function."""
    return jax.random.fold_in(jax.random.fold_in(key, step), lax.axis_index(AXIS))


def host_copy(state: Any) -> Any:
    """Copies a replicated tree to host arrays."""
    return jax.tree.map(np.asarray, jax.device_get(state))
