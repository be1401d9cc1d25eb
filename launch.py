"""The door: `python launch.py COMMAND [flags]`; `python launch.py --help` lists the commands."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent

if __name__ == "__main__":
    # Works from any folder, and for `python -P` too, which leaves the script's folder out.
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))
    from fcn_jax.commands.start import start

    sys.exit(start())
