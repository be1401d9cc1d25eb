"""The time of a run: seconds of training, and seconds of the pauses that are no training."""

import contextlib
import time
from collections import Counter
from collections.abc import Iterator


class Clock:
    """A clock of training that stops for pauses; it starts when it is made."""

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self._paused = Counter()
        self._lap_started = 0.0

    @contextlib.contextmanager
    def pause(self, name: str) -> Iterator[None]:
        """Stops the clock inside of the `with`; `name` says what the pause is for."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self._paused[name] += time.perf_counter() - started

    @property
    def train_s(self) -> float:
        """Seconds since the start, without the pauses."""
        return time.perf_counter() - self._started - self._paused.total()

    def paused_s(self, name: str) -> float:
        """Returns the seconds of all pauses of this name."""
        return self._paused[name]

    def lap(self) -> float:
        """Returns the seconds of training since the last lap, or since the start."""
        started, self._lap_started = self._lap_started, self.train_s
        return self._lap_started - started
