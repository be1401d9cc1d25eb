"""What a train step takes of memory at least, and how much there is of it."""

from collections.abc import Sequence

import psutil

from fcn_jax.errors import UserError
from fcn_jax.models.layer_table import Row
from fcn_jax.train.parallel import Devices


def free_bytes(devices: Devices) -> int:
    """Returns the bytes a device can give: all of an accelerator, what is free of a host."""
    if devices.memory_bytes is not None:
        return devices.memory_bytes
    return psutil.virtual_memory().available // devices.count  # all in the one memory


def least_step_bytes(rows: Sequence[Row], *, num_images: int, bytes_each: int, remat: bool) -> int:
    """Returns bytes that a train step cannot do without.

    The gradient of a layer needs the maps that went into it, and all parameters have one; what
    compiled steps really take is 1.6 to 3.2 times that. With `remat` half of the maps are kept.

    Args:
        rows: Layers of the network in training.
        num_images: Images that are computed at once.
        bytes_each: Bytes of a number in a map.
        remat: Whether maps are computed again.
    """
    units = sum(row.height * row.width * row.channels for row in rows)
    maps = units * num_images * bytes_each // (2 if remat else 1)
    return maps + 8 * sum(row.params for row in rows)


def check_fits(needed_bytes: float, devices: Devices, *, batch_size: int, crop_size: int) -> None:
    """Raises UserError if a device cannot give what a step needs at least."""
    free = free_bytes(devices)
    if needed_bytes > free:
        needed_gib, free_gib = (
            f"{num_bytes / 2**30:,.1f} GiB" for num_bytes in (needed_bytes, free)
        )
        raise UserError(
            f"train.batch_size={batch_size} crops of augment.crop_size={crop_size} need more than "
            f"{needed_gib} on each of {devices.count} x {devices.kind}, where {free_gib} are free\n"
            "take smaller crops, a smaller batch, train.iter_size or model.remat=True; python "
            "launch.py benchmark --find-batch finds the largest batch that fits"
        )
