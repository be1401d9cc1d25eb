"""How far a run is: a live bar on a terminal, a line now and then elsewhere."""

import math
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

LINE_EVERY_S = 10  # where there is no terminal


class StepProgress:
    """A bar over the steps of a run; a context manager.

    Args:
        title: Name beside the bar.
        first: Number of steps that were made before.
        total: Number of steps of the whole run.
    """

    def __init__(self, title: str, *, first: int, total: int):
        self._console = Console(stderr=True, highlight=False, markup=False)
        self._total, self._step, self._first = total, first, first
        self._started, self._noted = time.perf_counter(), -math.inf
        self._bar = None
        if self._console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[note]}", markup=False),
                TimeRemainingColumn(),
                console=self._console,
            )
            self._task = self._bar.add_task(title, total=total, completed=first, note="")

    def __enter__(self) -> "StepProgress":
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar:
            self._bar.stop()

    def advance(self, steps: int) -> None:
        """Notes that more steps were made."""
        self._step += steps
        if self._bar:
            self._bar.update(self._task, completed=self._step)

    def note(self, **values: str) -> None:
        """Shows values, such as the loss, beside the bar, or now and then in a line."""
        text = "  ".join(f"{name} {value}" for name, value in values.items())
        if self._bar:
            self._bar.update(self._task, note=text)
        elif time.perf_counter() - self._noted > LINE_EVERY_S:
            self._noted = time.perf_counter()
            done = self._step - self._first
            left = (self._noted - self._started) / max(done, 1) * (self._total - self._step)
            self.say(f"step {self._step}/{self._total}  {text}  {_clock(left)} left")

    def say(self, line: str) -> None:
        """Prints a line that stays."""
        self._console.print(line, soft_wrap=True)


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes}:{seconds:02}"
