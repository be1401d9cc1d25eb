"""A look at some steps with jax's profiler, for TensorBoard and Perfetto."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import jax

_SKIPPED = 10  # steps of a launch, of which the first compile


@dataclass(frozen=True)
class Profile:
    """Which steps of a launch are traced, and where the trace goes.

    Attributes:
        folder: Folder of the trace.
        num_steps: Number of steps, after the first ten of the launch.
    """

    folder: Path
    num_steps: int

    @contextlib.contextmanager
    def over(self, start_step: int) -> Iterator[Callable[[int], None]]:
        """Yields what is told of each step before it is made; ends the trace with the `with`."""
        first = start_step + _SKIPPED + 1
        tracing = False

        def watch(step: int) -> None:
            nonlocal tracing
            if step == first:
                jax.profiler.start_trace(self.folder)
                tracing = True
            elif tracing and step == first + self.num_steps:
                tracing = False
                jax.profiler.stop_trace()

        try:
            yield watch
        finally:
            if tracing:
                jax.profiler.stop_trace()


@contextlib.contextmanager
def no_profile(start_step: int) -> Iterator[Callable[[int], None]]:
    """Traces nothing."""
    yield lambda step: None
