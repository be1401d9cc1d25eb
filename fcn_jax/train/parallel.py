"""Everything that knows of more than one device: the only file that says pmap.

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

from fcn_jax.errors import UserError

AXIS = "batch"


def get_devices(count: int | None = None) -> list[jax.Device]:
    """Returns this process's devices, or the first `count` of them."""
    devices = jax.local_devices()
    if count is not None and count > len(devices):
        raise UserError(f"{count} devices were asked for, but there are only {len(devices)}")
    return devices[:count]


def check_batch_size(batch_size: int, num_devices: int, *, iter_size: int = 1) -> None:
    """Raises ValueError unless `batch_size` images can be dealt out evenly to all devices."""
    if iter_size < 1:
        raise UserError(f"train.iter_size={iter_size} must be positive")
    parts = num_devices * iter_size
    if batch_size < 1 or batch_size % parts:
        raise UserError(
            f"train.batch_size={batch_size} must be a positive multiple of the {num_devices} "
            f"device{'s' if num_devices > 1 else ''}"
            f"{f' times iter_size={iter_size}' if iter_size > 1 else ''}; "
            f"try {parts * max(1, batch_size // parts)}"
        )


def replicate(state: Any, devices: Sequence[jax.Device]) -> Any:
    """Copies a tree of arrays to all devices, in the form in which a train step returns it."""
    sharding = NamedSharding(Mesh(np.asarray(devices), (AXIS,)), PartitionSpec())
    # From host arrays: putting a device array may alias it, and donation would then delete both.
    return jax.device_put(jax.device_get(state), sharding)


def shard(batch: dict[str, np.ndarray], num_devices: int) -> dict[str, np.ndarray]:
    """Splits the leading axis into `[d, b]`; values that are not arrays are left out."""
    return {
        name: array.reshape(num_devices, -1, *array.shape[1:])
        for name, array in batch.items()
        if isinstance(array, np.ndarray)
    }


def put(batch: dict[str, np.ndarray], devices: Sequence[jax.Device]) -> dict[str, jax.Array]:
    """Copies the parts of a batch that `shard` split to their devices."""
    return jax.device_put(
        batch, NamedSharding(Mesh(np.asarray(devices), (AXIS,)), PartitionSpec(AXIS))
    )


def parallel_update(update: Callable, devices: Sequence[jax.Device]) -> Callable:
    """Maps `update(state, batch) -> (state, sums)` over devices; donates the state."""
    return jax.pmap(
        update,
        axis_name=AXIS,
        in_axes=(None, 0),
        out_axes=(None, None),
        donate_argnums=0,
        devices=devices,
    )


def parallel_apply(function: Callable, devices: Sequence[jax.Device]) -> Callable:
    """Maps `function(state, batch) -> outputs [d, ...]` over devices; nothing is summed."""
    return jax.pmap(function, axis_name=AXIS, in_axes=(None, 0), devices=devices)


def all_sum(tree: Any) -> Any:
    """Sums over all devices, inside a mapped function."""
    return lax.psum(tree, AXIS)


def device_key(key: jax.Array, step: jax.Array) -> jax.Array:
    """Derives the key of this step on this device, inside a mapped function."""
    return jax.random.fold_in(jax.random.fold_in(key, step), lax.axis_index(AXIS))


def host_copy(state: Any) -> Any:
    """Copies a replicated tree to host arrays."""
    return jax.tree.map(np.asarray, jax.device_get(state))
