"""The only file that knows of more than one device or process, and the only one that says pmap.

A train step sees its own part of the batch. What has to be whole (loss, gradients, batch norm
statistics) is summed over `AXIS`. The state is one value that all devices share: it goes in and
comes out without a device axis.

Several processes, which `world` joins, are one line of devices: those of process 0, then those of
process 1. Each process reads, and copies to its own devices, its part of every batch. A device gets
the same images and draws the same numbers however the devices are dealt out to processes.
"""

import pickle
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

import jax
import numpy as np
from jax import lax
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from fcn_jax.errors import UserError

AXIS = "batch"
STOP = "stop"  # the entry of a batch, and of a step's sums, with the votes for a stop
EACH, SHARED = PartitionSpec(AXIS), PartitionSpec()

_CHUNK = 1 << 26  # bytes that are sent at once


class Devices:
    """The devices that share the work on every batch: of this process, or of all that train.

    Args:
        devices: Devices of one process, or as many of every process.
        form: How updates are mapped over them: by `jax.pmap`, or by `jax.jit` of `jax.shard_map`,
            which will outlive it. Both make the same numbers.

    Attributes:
        count: Number of devices, in all processes.
        kind: Name of their make, such as `cpu`.
        names: Names of the devices, for the record.
        process_count: Number of processes that have them.
        process_index: Number of this process among these.
        local_count: Number of devices that this process has.
    """

    def __init__(
        self, devices: Sequence[jax.Device], *, form: Literal["pmap", "shard_map"] = "pmap"
    ):
        self._devices, self._form = list(devices), form
        indices = sorted({device.process_index for device in self._devices})
        self._local = [
            device for device in self._devices if device.process_index == jax.process_index()
        ]
        self._mesh = Mesh(np.asarray(self._devices), (AXIS,))
        self._local_mesh = Mesh(np.asarray(self._local), (AXIS,))
        self.count, self.local_count = len(self._devices), len(self._local)
        self.kind = self._devices[0].device_kind
        self.names = [str(device) for device in self._devices]
        self.process_count, self.process_index = len(indices), indices.index(jax.process_index())

    def describe(self) -> str:
        """Says how many there are, and of which kind."""
        processes = f" in {self.process_count} processes" * (self.process_count > 1)
        return f"{self.count} x {self.kind}{processes}"

    @property
    def memory_bytes(self) -> int | None:
        """Memory that a program may take of each device; None where a device does not say."""
        return (self._local[0].memory_stats() or {}).get("bytes_limit")

    @property
    def peak_bytes(self) -> int | None:
        """Most memory of a device that was in use so far; None where a device does not say."""
        return (self._local[0].memory_stats() or {}).get("peak_bytes_in_use")

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
        """Splits the leading axis into `[d, b]`, for the d devices of this process.

        What is no array of numbers is left out.
        """
        return {
            name: array.reshape(self.local_count, -1, *array.shape[1:])
            for name, array in batch.items()
            if isinstance(array, np.ndarray) and array.dtype.kind != "U"
        }

    def put(self, batch: dict[str, np.ndarray]) -> dict[str, jax.Array]:
        """Copies the parts of a batch that `shard` split to their devices."""
        return jax.device_put(batch, NamedSharding(self._local_mesh, EACH))

    def replicate(self, state: Any) -> Any:
        """Copies a tree of arrays to all devices, in the form in which a train step returns it."""
        # From host arrays: putting a device array may alias it, and donation would delete both.
        return jax.device_put(jax.device_get(state), NamedSharding(self._local_mesh, SHARED))

    def update(self, function: Callable) -> Callable:
        """Maps `function(state, batch) -> (state, sums)` over the devices; donates the state."""
        if self._form == "shard_map":
            return self._update_by_shard_map(function)
        return jax.pmap(
            function,
            axis_name=AXIS,
            in_axes=(None, 0),
            out_axes=(None, None),
            donate_argnums=0,
            devices=self._devices,
        )

    def _update_by_shard_map(self, function: Callable) -> Callable:
        """Does what `jax.pmap` does, and what it is made of since jax 0.8."""

        def of_device(state: Any, batch: Any) -> Any:
            return function(state, jax.tree.map(lambda array: array[0], batch))

        mapped = jax.jit(
            jax.shard_map(
                of_device,
                mesh=self._mesh,
                in_specs=(SHARED, EACH),
                out_specs=SHARED,
                check_vma=False,  # or gradients of what is shared would be summed by themselves
            ),
            donate_argnums=0,
        )

        def update(state: Any, batch: Any) -> Any:
            joined = mapped(self._join(state, SHARED), self._join(batch, EACH))
            return jax.tree.map(partial(_view, mesh=self._local_mesh, spec=SHARED), joined)

        return update

    def _join(self, tree: Any, spec: PartitionSpec) -> Any:
        """Makes arrays of all processes out of those that each has on its own devices."""
        local = jax.device_put(tree, NamedSharding(self._local_mesh, spec))
        return jax.tree.map(partial(_view, mesh=self._mesh, spec=spec), local)

    def apply(self, function: Callable) -> Callable:
        """Maps `function(state, batch) -> outputs [d, ...]` over this process's devices.

        Nothing is summed, and no other process waits for it.
        """
        return jax.pmap(function, axis_name=AXIS, in_axes=(None, 0), devices=self._local)

    def vote(self, stop: bool) -> dict[str, np.ndarray]:
        """Makes what this process adds to its part of a batch: whether it wants to stop.

        A step sums it up, so that all processes hear of a stop in the same step, at no cost.
        """
        return {STOP: np.full(self.local_count, stop, np.int32)}

    def gather(self, value: Any) -> list[Any]:
        """Returns what each process says, in their order; all of them have to ask."""
        return [value] if self.process_count == 1 else _gather(value)


def get_devices(
    *, count: int | None = None, form: Literal["pmap", "shard_map"] = "pmap"
) -> Devices:
    """Returns the devices of all processes that are joined, or the first `count` of this one.

    Raises:
        UserError: If there are fewer, or processes have unlike numbers of them.
    """
    local = jax.local_devices()
    if count is not None and count > len(local):
        raise UserError(f"{count} devices were asked for, but there are only {len(local)}")
    if count is not None:
        return Devices(local[:count], form=form)
    devices = sorted(jax.devices(), key=lambda device: (device.process_index, device.id))
    if len(devices) != jax.process_count() * len(local):
        raise UserError(
            f"this process has {len(local)} devices, and all {jax.process_count()} processes have "
            f"{len(devices)}: give each as many"
        )
    return Devices(devices, form=form)


def is_writer() -> bool:
    """Says whether this process, of all that train together, is the one that writes files."""
    return not jax.distributed.is_initialized() or jax.process_index() == 0


def only_this_process() -> set[int] | None:
    """Returns the number of this process among those that train together; None if it is alone."""
    return {jax.process_index()} if jax.distributed.is_initialized() else None


def share(value: Any) -> Any:
    """Returns what process 0 says; all processes have to ask, and what the others say is ignored.

    Alone, it is the value.
    """
    if not jax.distributed.is_initialized():
        return value
    data = np.frombuffer(pickle.dumps(value), np.uint8)
    counts = multihost_utils.broadcast_one_to_all(np.array(divmod(len(data), _CHUNK), np.int32))
    length = int(counts[0]) * _CHUNK + int(counts[1])
    chunks = []
    for start in range(0, length, _CHUNK):
        chunk = data[start : start + _CHUNK]
        chunks.append(
            multihost_utils.broadcast_one_to_all(_pad(chunk, min(_CHUNK, length - start)))
        )
    return pickle.loads(np.concatenate(chunks)[:length].tobytes())


def _gather(value: Any) -> list[Any]:
    data = np.frombuffer(pickle.dumps(value), np.uint8)
    lengths = multihost_utils.process_allgather(np.int32(len(data))).ravel().tolist()
    rows = multihost_utils.process_allgather(_pad(data, max(lengths)))
    return [pickle.loads(row[:length].tobytes()) for row, length in zip(rows, lengths, strict=True)]


def _pad(data: np.ndarray, length: int) -> np.ndarray:
    """Cuts or fills bytes to the power of two from `length` on, so that few sizes are compiled."""
    size = 1 << (length - 1).bit_length()
    return np.pad(data[:size], (0, max(0, size - len(data))))


def _view(array: jax.Array, *, mesh: Mesh, spec: PartitionSpec) -> jax.Array:
    """Returns what lies on this process's devices as an array over a mesh; copies nothing."""
    shards = [shard.data for shard in array.addressable_shards]
    num_parts = mesh.size if spec == EACH else 1
    first = shards[0].shape
    shape = (first[0] * num_parts, *first[1:]) if spec == EACH else first
    return jax.make_array_from_single_device_arrays(shape, NamedSharding(mesh, spec), shards)


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
    """Sums over all devices of all processes, inside a mapped function."""
    return lax.psum(tree, AXIS)


def all_sum_in(dtype: str, tree: Any) -> Any:
    """Sums arrays as `all_sum` does, but sends and adds them in `dtype`; sums have their own."""
    sums = all_sum(jax.tree.map(lambda array: array.astype(dtype), tree))
    return jax.tree.map(lambda total, array: total.astype(array.dtype), sums, tree)


def device_key(key: jax.Array, step: jax.Array) -> jax.Array:
    """Derives the key of this step on this device, inside a mapped function."""
    return jax.random.fold_in(jax.random.fold_in(key, step), lax.axis_index(AXIS))


def host_copy(state: Any) -> Any:
    """Copies a replicated tree to host arrays."""
    return jax.tree.map(np.asarray, jax.device_get(state))
