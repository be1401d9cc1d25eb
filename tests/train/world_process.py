"""A process of `test_world`: trains the tiny experiment through the door, as launch.py does."""

import sys
from pathlib import Path

from fcn_jax.commands.door import main
from fcn_jax.data.datasets import DATASETS
from fcn_jax.data.sets.shapes import LABELS
from fcn_jax.models.zoo import MODELS
from fcn_jax.train.world import leave
from tests.tiny_network import TINY
from tests.train.conftest import TinyDataset

if __name__ == "__main__":
    tiny = TinyDataset("tiny", LABELS, ("train", "val"), builder=None)
    DATASETS["tiny"] = lambda source_dir, data_dir: tiny
    MODELS["tiny_fcn4s"] = TINY
    code = main(sys.argv[1:], experiments_dir=Path())
    if code:
        leave(code)
    sys.exit(code)
