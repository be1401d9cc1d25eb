"""The door: `python launch.py COMMAND [flags]`; `python launch.py --help` lists the commands."""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent


def use_huge_pages() -> None:
    """Starts this process over with an allocator that asks Linux for pages of 2 MB.

    XLA gives its buffers back after every step and gets new ones, which Linux clears page by page:
    on a CPU, with the usual pages of 4 KB, up to a third of a training step. The C library reads its
    settings once, when a process starts. Whoever sets GLIBC_TUNABLES keeps what they have set.
    """
    if sys.platform == "linux" and "GLIBC_TUNABLES" not in os.environ:
        os.environ["GLIBC_TUNABLES"] = "glibc.malloc.hugetlb=1"
        os.execv(sys.executable, sys.orig_argv)


if __name__ == "__main__":
    use_huge_pages()
    # Works from any folder, and for `python -P` too, which leaves the script's folder out.
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))
    try:
        from fcn_jax.commands.door import main
    except ModuleNotFoundError as error:
        print(
            f"error: {error.name} is not installed for {sys.executable}\n"
            "use .venv/bin/python after make demo or make test, or pip install -r requirements.txt",
            file=sys.stderr,
        )
        sys.exit(2)
    sys.exit(main(sys.argv[1:], experiments_dir=ROOT / "experiments"))
