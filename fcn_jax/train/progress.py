"""How far a command is: live bars on a terminal, a line now and then elsewhere."""

import math
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn
from rich.progress import Progress as Bars

from fcn_jax.train.output import LossyStream

LINE_EVERY_S = 10  # where there is no terminal
_RECENT = 64  # reports that a rate is taken from


class Task:
    """Something that is counted: steps, or images.

    Attributes:
        name: Name of what is counted.
        done: How many there are so far.
        total: How many there will be.
        note: What else to say, such as the loss.
        later_s: Seconds of what will come in between, such as evaluations.
    """

    def __init__(
        self,
        name: str,
        tell: Callable[["Task"], None],
        *,
        done: int,
        total: int,
        images_each: int,
        clock: Callable[[], float],
    ):
        self.name, self.done, self.total = name, done, total
        self.note, self.later_s = "", 0.0
        self._tell, self._images_each, self._clock = tell, images_each, clock
        self._started = time.perf_counter()
        self._reports: deque[tuple[float, int]] = deque(maxlen=_RECENT)

    @property
    def seconds_each(self) -> float | None:
        """Seconds that one took of late; what came before the first of all is not in it."""
        if len(self._reports) < 2:
            return None
        (began, first), (ended, last) = self._reports[0], self._reports[-1]
        return (ended - began) / (last - first)

    @property
    def text(self) -> str:
        """All that there is to say beside name and numbers."""
        parts = [self.note] if self.note else []
        if self.seconds_each:
            parts.append(f"{self._images_each / self.seconds_each:.1f} images/s")
        parts.append(f"elapsed {format_time(time.perf_counter() - self._started)}")
        if self.seconds_each is not None:
            left_s = (self.total - self.done) * self.seconds_each + self.later_s
            parts.append(f"left {format_time(left_s)}")
        return "  ".join(parts)

    def reach(self, done: int) -> None:
        """Notes that so many are done now."""
        if done > self.done:
            self.done = done
            self._reports.append((self._clock(), done))
            self._tell(self)


class Progress:
    """What a command says on stderr while it works; a context manager.

    Nothing that happens to stderr is an error; see `output`.

    Args:
        quiet: Whether to say nothing, since another process says it.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self._console = Console(
            file=LossyStream(sys.stderr), highlight=False, markup=False, quiet=quiet
        )
        self._told_at = -math.inf
        self._bars = Bars(
            TextColumn("{task.description}", markup=False),
            BarColumn(None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[work].text}", markup=False),
            console=self._console,
            expand=True,
            disable=quiet or not self._console.is_terminal,
        )

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the bars, and gives the terminal back as it was."""
        self._bars.stop()

    def say(self, line: str) -> None:
        """Prints a line that stays."""
        self._console.print(line, soft_wrap=True)

    @contextmanager
    def count(
        self,
        name: str,
        *,
        total: int,
        done: int = 0,
        images_each: int = 1,
        clock: Callable[[], float] = time.perf_counter,
    ) -> Iterator[Task]:
        """Counts inside of the `with`; yields what is told of those that are done.

        Args:
            name: Name of what is counted.
            total: How many there will be.
            done: How many there are already.
            images_each: Images in each of them.
            clock: Seconds of the time that counts for the rate.
        """
        bar = self._bars.add_task(name, total=total, completed=done, visible=False)
        tell = partial(self._tell, bar)
        task = Task(name, tell, done=done, total=total, images_each=images_each, clock=clock)
        self._bars.update(bar, work=task, visible=True)
        self._bars.start()
        try:
            yield task
        finally:
            self._bars.remove_task(bar)

    def _tell(self, bar: TaskID, task: Task) -> None:
        self._bars.update(bar, completed=task.done)
        now = time.perf_counter()
        if self._bars.disable and now - self._told_at > LINE_EVERY_S:
            self._told_at = now
            self.say(f"{task.name} {task.done}/{task.total}  {task.text}")


def format_time(seconds: float) -> str:
    """Writes a duration as h:mm:ss, or m:ss if it is below an hour."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
