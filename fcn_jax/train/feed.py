"""Batches on their way to the devices, one step ahead of the training."""

import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from fcn_jax.train.parallel import Devices


class Fed(NamedTuple):
    """A batch on the devices.

    Attributes:
        ids: Names of the images that this process put in.
        shards: Arrays `[d, b, ...]`, a part on each device.
    """

    ids: list[str]
    shards: dict[str, jax.Array]


class Feed:
    """Reads the next batch, and copies it to the devices, while they compute.

    Attributes:
        read_s: Seconds that training has waited for the loader.
        copy_s: Seconds that it has waited for copies to the devices.
    """

    def __init__(self, batches: Iterator[dict[str, Any]], devices: Devices):
        self.read_s = self.copy_s = 0.0
        self._batches, self._devices = batches, devices
        self._ready: list[Fed] = []

    def fetch(self) -> None:
        """Gets the next batch ready; to be called when the devices have something to do."""
        started = time.perf_counter()
        batch = next(self._batches)
        read = time.perf_counter()
        shards = self._devices.put(self._devices.shard(batch))
        self._ready.append(Fed(np.asarray(batch["ids"]).tolist(), shards))
        self.read_s += read - started
        self.copy_s += time.perf_counter() - read

    def take(self) -> Fed:
        """Returns the batch that is ready, or gets one."""
        if not self._ready:
            self.fetch()
        return self._ready.pop()

    def lap(self) -> tuple[float, float]:
        """Returns the seconds of reading and of copying since the last lap."""
        seconds, self.read_s, self.copy_s = (self.read_s, self.copy_s), 0.0, 0.0
        return seconds
