"""How often XLA compiled a program, and how long that took."""

from types import TracebackType
from typing import Self

import jax

_EVENT = "/jax/core/compile/backend_compile_duration"


class Compilations:
    """Counts what is compiled inside of a `with`.

    Attributes:
        count: programs, those that a cache on the disk already had among them.
        compile_s: seconds; tracing is not in them.
    """

    def __init__(self):
        self.count, self.compile_s = 0, 0.0

    def __enter__(self) -> Self:
        jax.monitoring.register_event_duration_secs_listener(self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        jax.monitoring.unregister_event_duration_listener(self._note)

    def __str__(self) -> str:
        return f"compiled {self.count} programs in {self.compile_s:.1f} s"

    def _note(self, event: str, duration_s: float, **_: str) -> None:
        if event == _EVENT:
            self.count += 1
            self.compile_s += duration_s
