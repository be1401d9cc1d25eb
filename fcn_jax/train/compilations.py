"""How often XLA compiled a program, and how long that took."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import jax

from fcn_jax.errors import counted

_EVENT = "/jax/core/compile/backend_compile_duration"


@dataclass
class Compilations:
    """Number and time of compilations.

    Attributes:
        count: Number of compiled programs, including those that a cache on the disk already had.
        compile_s: Seconds of compilation; tracing is not in them.
    """

    count: int = 0
    compile_s: float = 0.0

    def __str__(self) -> str:
        return f"compiled {counted(self.count, 'program')} in {self.compile_s:.1f} s"


@contextmanager
def count_compilations() -> Iterator[Compilations]:
    """Counts what is compiled inside of the `with`."""
    compilations = Compilations()

    def note(event: str, duration_s: float, **_: str) -> None:
        if event == _EVENT:
            compilations.count += 1
            compilations.compile_s += duration_s

    jax.monitoring.register_event_duration_secs_listener(note)
    try:
        yield compilations
    finally:
        jax.monitoring.unregister_event_duration_listener(note)
