"""Several processes as one world of devices: how they find each other, and how they part.

The engine is jax's distributed runtime: process 0 runs a service that the others connect to, and
that hears from each of them every few seconds.
"""

import contextlib
import ctypes
import os
import re
import signal
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import jax

from fcn_jax.errors import UserError
from fcn_jax.train.native_log import sieved_stderr

LOST = (
    "another process of this training has ended, so this one ends too: the output of the other "
    "says why\nwhat was saved is whole, and the same command goes on from there"
)

# A process that is not heard from for so long is taken for dead, and all others end.
HEARTBEAT_TIMEOUT_S = 30
CONNECT_TIMEOUT_S = 300  # clusters start machines one after the other
_EXIT_CODE = 2  # the door's, of a mistake or a refusal

# Variables that say it, besides those of clusters that jax knows by itself: jax's own names, and
# those of torchrun, which many schedulers set.
_VARIABLES: Mapping[str, tuple[str, ...]] = {
    "coordinator": ("JAX_COORDINATOR_ADDRESS",),
    "num_processes": ("JAX_NUM_PROCESSES", "WORLD_SIZE"),
    "process_id": ("JAX_PROCESS_ID", "RANK"),
}

# What libraries say when a connection to another process breaks: Gloo, NCCL, and jax's service.
_SIGNS_OF_LOSS = (
    "gloo",
    "nccl",
    "coordination",
    "connection",
    "socket",
    "peer",
    "unavailable",
    "deadline_exceeded",
    "aborted",
)


@dataclass(frozen=True)
class Membership:
    """The place of a process among those that train together.

    Attributes:
        coordinator: HOST:PORT of process 0; None where jax finds it out.
        num_processes: Number of processes; None likewise.
        process_id: Number of this one, from 0 on; None likewise.
    """

    coordinator: str | None = None
    num_processes: int | None = None
    process_id: int | None = None

    @classmethod
    def find(
        cls,
        environ: Mapping[str, str],
        *,
        coordinator: str | None = None,
        num_processes: int | None = None,
        process_id: int | None = None,
    ) -> "Membership":
        """Finds what the arguments do not say in environment variables.

        Raises:
            UserError: If it makes no sense.
        """
        said = {
            "coordinator": coordinator,
            "num_processes": num_processes,
            "process_id": process_id,
        }
        for key, value in said.items():
            if value is None:
                said[key] = _find_variable(environ, key)
        if said["coordinator"] is None and "MASTER_ADDR" in environ:
            port = environ.get("MASTER_PORT", "29500")  # torchrun's
            said["coordinator"] = f"{environ['MASTER_ADDR']}:{port}"
        membership = cls(**said)
        membership._check()
        return membership

    def describe(self) -> str:
        """Says what is known, in the words of the flags."""
        said = [f"{key}={value}" for key, value in vars(self).items() if value is not None]
        return " ".join(said) or "nothing"

    def _check(self) -> None:
        if self.coordinator is not None:
            host, _, port = self.coordinator.rpartition(":")
            if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
                raise UserError(
                    f"--coordinator={self.coordinator} must be HOST:PORT of process 0, such as "
                    "node1:12345"
                )
        if self.num_processes is not None and self.num_processes < 1:
            raise UserError(f"--num_processes={self.num_processes} must be 1 or more")
        if self.process_id is None:
            return
        most = self.num_processes and self.num_processes - 1
        if self.process_id < 0 or (most is not None and self.process_id > most):
            range_ = "0 or more" if most is None else f"one of 0 to {most}"
            raise UserError(
                f"--process_id={self.process_id} must be {range_}: processes are numbered from 0"
            )


def _find_variable(environ: Mapping[str, str], key: str) -> str | int | None:
    for name in _VARIABLES[key]:
        if value := environ.get(name):
            if key == "coordinator":
                return value
            if not value.isdecimal():
                raise UserError(f"{name}={value} must be a number of processes, from 0 on")
            return int(value)
    return None


# What jax's service and its clients log of a lost process, with their stacks.
_NOISE = re.compile(r"[EF]\d{4} .*(coordination_service|client\.h|add_port)")


@contextlib.contextmanager
def join(membership: Membership | None) -> Iterator[None]:
    """Makes this process part of a world inside of the `with`; None leaves it alone.

    Has to come before jax is asked for devices. A process that ends otherwise than by the end of
    the block, of an error or a kill, takes the others with it: they raise `LOST` where they wait,
    or are ended with these words by the runtime.

    Raises:
        UserError: If the others cannot be reached, or one of them has ended.
    """
    if membership is None:
        yield
        return
    with sieved_stderr(_NOISE):
        _meet(membership)
        try:
            yield
        except UserError:
            raise
        except (jax.errors.JaxRuntimeError, ValueError) as error:  # both are used for it
            if is_loss(str(error)):
                raise UserError(LOST) from error
            raise
        jax.distributed.shutdown()


def _meet(membership: Membership) -> None:
    """Waits for all processes."""
    jax.config.update("jax_enable_preemption_service", False)  # it would take over SIGTERM
    failed = (
        f"the processes of this training did not find each other ({membership.describe()}): {{}}\n"
        "process 0 has to run at that address with the port free, and all processes have to be "
        "started"
    )
    _Abort.words = failed.format(f"some were not there within {CONNECT_TIMEOUT_S} s")
    _Abort.answer()
    # The runtime's code waits, and Python would hear of Ctrl-C only after it: here it ends at once.
    at_ctrl_c = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        jax.distributed.initialize(
            membership.coordinator,
            membership.num_processes,
            membership.process_id,
            initialization_timeout=CONNECT_TIMEOUT_S,
            heartbeat_timeout_seconds=HEARTBEAT_TIMEOUT_S,
        )
    except (TypeError, ValueError) as error:  # of what is not said, and jax cannot find out
        raise UserError(
            "--distributed does not know the other processes: this is no cluster that jax knows "
            f"(Slurm, Open MPI, Kubernetes, TPU), and what flags and variables say is "
            f"{membership.describe()}\n"
            "give each process --coordinator=HOST:PORT --num_processes=N --process_id=I"
        ) from error
    except RuntimeError as error:
        raise UserError(failed.format(_first_line(error))) from error
    finally:
        signal.signal(signal.SIGINT, at_ctrl_c)
    _Abort.words = LOST


def is_loss(message: str) -> bool:
    """Says whether an error of jax's is that another process cannot be reached any more."""
    return any(sign in message.lower() for sign in _SIGNS_OF_LOSS)


def leave(code: int) -> None:
    """Ends a process of a world that fails, at once: jax would wait for those that wait for it."""
    if jax.distributed.is_initialized():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


class _Abort:
    """What this process says where jax's runtime would only abort it.

    The runtime hears of a dead process in a thread of its own, which logs a stack and aborts. No
    handler of Python's runs then; a function that the C library calls does.

    Attributes:
        words: What it says.
    """

    words = ""
    _handler: object = None

    @classmethod
    def answer(cls) -> None:
        """Has the process say its words, and end in order."""

        def end(number: int) -> None:
            sys.stderr.write(f"error: {cls.words}\n")
            sys.stderr.flush()
            os._exit(_EXIT_CODE)

        # The C library knows where it is: it must not go.
        cls._handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(end)
        ctypes.CDLL(None).signal(signal.SIGABRT, cls._handler)


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)[:200]
