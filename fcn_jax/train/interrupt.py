"""Stopping between two steps instead of in the middle of one."""

import os
import signal
import threading
import time
from types import FrameType, TracebackType

from fcn_jax.train.progress import Progress

# Ctrl-C; kill, a scheduler or a shutdown; a closed terminal; a scheduler's warning.
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
_INSISTENT = (signal.SIGINT, signal.SIGTERM)
_ONE_KEY_S = 0.3  # wrappers such as sudo pass a Ctrl-C on to a process that the terminal told too
_PATIENCE_S = 2.0  # for a last line, where the terminal takes none
_EXIT_CODE = 130  # the door's, of whatever was interrupted


class Interruption:
    """While this context is open, SIGINT, SIGTERM, SIGHUP and SIGUSR1 ask for a stop.

    Until `defer` is called, the first of them raises KeyboardInterrupt. From then on it only sets
    `requested`, and whoever works looks at it between two steps. A line says at once that it
    arrived, even while the main thread computes or compiles; a second SIGINT or SIGTERM ends the
    process in that moment.

    In another thread than the main one, which alone gets signals, the context does nothing.

    Attributes:
        requested: Whether a stop was asked for.
        kept_step: Step of the newest checkpoint, for what is said when a run ends without saving.
    """

    def __init__(self, progress: Progress):
        self.requested = False
        self.kept_step = 0
        self._progress, self._before = progress, {}
        self._deferred = self._raised = self._acknowledged = False
        self._insisted_at: float | None = None

    def defer(self) -> None:
        """From now on there is something to lose: a request waits for the end of a step."""
        self._deferred = True

    def check(self) -> None:
        """Raises KeyboardInterrupt if a stop was asked for; for what may be left unfinished."""
        if self.requested:
            raise KeyboardInterrupt

    def __enter__(self) -> "Interruption":
        if threading.current_thread() is not threading.main_thread():
            return self
        # Python calls a handler between two of its own instructions, so not inside of a compiler;
        # the number of the signal, in this pipe, comes at once, and a thread waits for it.
        self._pipe = os.pipe()
        os.set_blocking(self._pipe[1], False)
        self._pipe_before = signal.set_wakeup_fd(self._pipe[1], warn_on_full_buffer=False)
        self._thread = threading.Thread(target=self._listen, name="signals", daemon=True)
        self._thread.start()
        for number in _SIGNALS:
            if number == signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN:
                continue  # nohup
            self._before[number] = signal.getsignal(number) or signal.SIG_DFL
            signal.signal(number, self._handle)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self._before:
            return
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._pipe_before)
        os.close(self._pipe[1])
        self._thread.join()
        os.close(self._pipe[0])

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
        if not self._deferred and not self._raised:
            self._raised = True
            raise KeyboardInterrupt

    def _listen(self) -> None:
        while data := os.read(self._pipe[0], 1):
            if data[0] in self._before:
                self._answer(signal.Signals(data[0]))

    def _answer(self, number: signal.Signals) -> None:
        now = time.monotonic()
        if number in _INSISTENT:
            if self._insisted_at is not None and now - self._insisted_at > _ONE_KEY_S:
                self._end(number)
            self._insisted_at = self._insisted_at or now
        if not self._acknowledged:
            self._acknowledged = self.requested = True
            when, loss = (" after this step: saving", ", unsaved") if self._deferred else ("", "")
            self._progress.say(
                f"{number.name}: stopping{when} ... (a second one ends it at once{loss})"
            )

    def _end(self, number: signal.Signals) -> None:
        threading.Timer(_PATIENCE_S, os._exit, (_EXIT_CODE,)).start()
        said = "ended at once"
        if self._deferred:
            lost = f"what was trained after step {self.kept_step}"
            said = f"ended without saving; {lost} is lost"
        self._progress.say(f"{number.name} once more: {said}")
        self._progress.close()
        os._exit(_EXIT_CODE)
