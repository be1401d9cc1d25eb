"""How a process of this program starts: `launch.py`, and the console script `fcn_jax`."""

import os
import sys
from pathlib import Path

# Options of the interpreter that take the next word.
_WITH_A_WORD = ("-X", "-W", "--check-hash-based-pycs")


def start() -> int:
    """Runs the command line of this process and returns its exit code.

    Experiments are those of the checkout that this file is in, or those that came with the package.
    """
    use_huge_pages()
    open_streams()
    package = Path(__file__).resolve().parents[1]
    installed = (package / "experiments").is_dir()
    experiments_dir = (package if installed else package.parent) / "experiments"
    typed = Path(sys.argv[0]).name
    program = "python launch.py" if typed.endswith(".py") else typed
    try:
        from fcn_jax.commands.door import main
    except ModuleNotFoundError as error:
        print(
            f"error: {error.name} is not installed for {sys.executable}\n"
            "use .venv/bin/python after make demo or make test, or pip install -r requirements.txt",
            file=sys.stderr,
        )
        return 2
    code = main(sys.argv[1:], experiments_dir=experiments_dir, program=program)
    if code and "fcn_jax.train.world" in sys.modules:
        from fcn_jax.train.world import leave

        leave(code)
    return code


def open_streams() -> None:
    """Opens what a process was started without (`>&-`); files would take the streams' numbers."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115 (for the whole process)


def use_huge_pages() -> None:
    """Starts this process over with an allocator that asks Linux for pages of 2 MB.

    XLA gives its buffers back after every step and gets new ones, which Linux clears page by page:
    on a CPU, with the usual pages of 4 KB, this takes up to a third of a training step. The C
    library reads its settings once, when a process starts. Whoever sets GLIBC_TUNABLES keeps what
    they have set.
    """
    if sys.platform == "linux" and "GLIBC_TUNABLES" not in os.environ and _is_the_program():
        os.environ["GLIBC_TUNABLES"] = "glibc.malloc.hugetlb=1"
        os.execv(sys.executable, sys.orig_argv)


def _is_the_program() -> bool:
    """Says whether Python was started to run this script, and not a debugger or notebook that does.

    Then the words of the process are the interpreter, its options, and the words of the script.
    """
    first = len(sys.orig_argv) - len(sys.argv)
    if first < 1 or sys.orig_argv[first:] != sys.argv or not Path(sys.argv[0]).is_file():
        return False
    options = iter(sys.orig_argv[1:first])
    for option in options:
        if option in _WITH_A_WORD:
            next(options, None)
        elif not option.startswith("-") or _runs_another(option):
            return False
    return True


def _runs_another(option: str) -> bool:
    """Says whether an option is -m or -c, perhaps behind others (-Im)."""
    return not option.startswith(("--", *_WITH_A_WORD)) and bool({*option} & {"m", "c"})
