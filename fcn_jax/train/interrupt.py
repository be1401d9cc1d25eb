"""Stopping between two steps instead of in the middle of one."""

import signal
from types import FrameType, TracebackType


class Interruption:
    """While this context is open, Ctrl-C and SIGTERM only set `requested`; a second one kills."""

    def __init__(self) -> None:
        self.requested = False
        self._before = {}

    def __enter__(self) -> "Interruption":
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._note)
        return self

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
        signal.signal(number, self._before[number])

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
