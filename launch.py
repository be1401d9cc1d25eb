"""The door: `python launch.py COMMAND [flags]`; `python launch.py --help` lists the commands."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent

if __name__ == "__main__":
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
