"""What a train step takes of a device's memory, and how many images fit."""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import psutil

from fcn_jax.errors import UserError

if TYPE_CHECKING:
    import jax

_SPARE_SHARE = 0.05  # for what is not in the compiler's books


def find_batch(config: Mapping[str, Any]) -> Iterator[str]:
    """Finds the largest batch of a train step that memory can hold, and makes one step of it."""
    import jax
    import numpy as np

    from fcn_jax.train import parallel
    from fcn_jax.train.setup import make_setup

    least = len(parallel.get_devices()) * config["train"]["iter_size"]
    config = {**config, "train": {**config["train"], "batch_size": least}}
    setup = make_setup(config)
    size, devices = config["augment"]["crop_size"], setup.devices
    state = parallel.replicate(setup.state, devices)
    room = (1 - _SPARE_SHARE) * _free_bytes(devices)
    yield f"{gib(room)} of memory for a step on each of {len(devices)} x {devices[0].device_kind}"

    @functools.cache
    def compile_for(batch_size: int) -> tuple[Callable, dict]:
        batch = {
            "images": np.zeros((batch_size, size, size, 3), np.uint8),
            "labels": np.zeros((batch_size, size, size), np.uint8),
        }
        batch = parallel.shard(batch, len(devices))
        return setup.compile_train_step(state, batch), batch

    needs = {count: step_bytes(compile_for(count)[0]) for count in (least, 2 * least)}
    slope = max(1, needs[2 * least] - needs[least])

    def fits(batch_size: int) -> bool:
        return step_bytes(compile_for(batch_size)[0]) <= room

    if not fits(least):
        raise UserError(
            f"the smallest batch, {least}, needs {gib(needs[least])}: try "
            "--config.model.remat=True or a smaller --config.augment.crop_size"
        )
    # Almost a straight line: what is left of the way goes step by step.
    found = least * (1 + max(0, int((room - needs[least]) / slope)))
    while fits(found + least):
        found += least
    while not fits(found):
        found -= least
    step, batch = compile_for(found)
    jax.block_until_ready(step(state, parallel.put(batch, devices)))
    yield (
        f"train.batch_size={found} fits, and one step of it ran: {gib(step_bytes(step))}, crops of "
        f"{size}, {config['model']['dtype']}, remat={config['model'].get('remat', False)}"
    )


def step_bytes(compiled: Any) -> int:
    """Returns the bytes that a compiled step takes on a device, its arguments included."""
    memory = compiled.memory_analysis()
    taken = memory.argument_size_in_bytes + memory.output_size_in_bytes + memory.temp_size_in_bytes
    return taken - memory.alias_size_in_bytes  # the state's buffers become those of the new one


def _free_bytes(devices: "Sequence[jax.Device]") -> int:
    """Returns the bytes that each can give: of an accelerator all it has, of a host what is free."""
    stats = devices[0].memory_stats() or {}
    if "bytes_limit" in stats:
        return stats["bytes_limit"]
    return psutil.virtual_memory().available // len(devices)  # all in the one memory


def gib(num_bytes: float) -> str:
    """Writes a number of bytes as people read it."""
    return f"{num_bytes / 2**30:.2f} GiB"
