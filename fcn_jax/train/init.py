"""Where the first step begins: at random values, at the stage before, or at imported weights.

What is carried over is found by name. A finer FCN takes everything that the coarser one has; its
new score layers are not there, and stay at the zero that they are initialised with.

Source: voc-fcn16s/solve.py in shelhamer/fcn.berkeleyvision.org, which copies by layer name.
"""

import contextlib
from pathlib import Path

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from fcn_jax.models.preprocess import Preprocess
from fcn_jax.train.checkpoint import Checkpoints, has_checkpoint
from fcn_jax.train.state import TrainState
from fcn_jax.weights.files import load_weights
from fcn_jax.weights.transplant import LEFT, transplant


def init_from(
    state: TrainState,
    preprocess: Preprocess,
    *,
    workdir: str = "",
    step: str = "last",
    weights: str = "",
    leave: tuple[str, ...] = (),
) -> TrainState:
    """Returns a state before the first step with the values that it is to start from.

    Args:
        state: as the network is initialised; what the source lacks is left like this.
        preprocess: the network's, which has to be that of imported weights.
        workdir: the run folder of the stage before; empty for none.
        step: its checkpoint: `last`, `best` or a number.
        weights: a file that `import_weights` wrote; empty for none.
        leave: patterns of paths, such as `params/fc8/.*`, that are not to be carried over.

    Raises:
        FileNotFoundError: if the source is missing; the message says how to make it.
        ValueError: if it is of another network.
    """
    if workdir and weights:
        raise ValueError(f"init.workdir={workdir} and init.weights={weights}: give one of them")
    if workdir:
        source = _read_stage(Path(workdir), step)
    elif weights:
        source = _read_weights(weights, preprocess)
    else:
        return state
    target = flatten_dict(state.variables, sep="/")
    leaves, report = transplant(target, source, leave=leave)
    left = [row.leaf.removeprefix("params/") for row in report.rows if row.action == LEFT]
    print(f"init from {workdir or weights}: {report.summary}")
    print(f"left as initialised: {', '.join(left) or 'nothing'}")
    variables = unflatten_dict({**target, **leaves}, sep="/")
    return state.replace(params=variables["params"], batch_stats=variables.get("batch_stats", {}))


def _read_stage(workdir: Path, step: str) -> dict[str, np.ndarray]:
    folder = workdir / "checkpoints"
    if not has_checkpoint(folder):
        raise FileNotFoundError(
            f"init.workdir={workdir} has no checkpoint: train the stage before this one first\n"
            f"python launch.py train --config={workdir.name} --workdir={workdir}"
        )
    with contextlib.closing(Checkpoints(folder, read_only=True)) as checkpoints:
        return flatten_dict(checkpoints.read_variables(checkpoints.find_step(step)), sep="/")


def _read_weights(path: str, preprocess: Preprocess) -> dict[str, np.ndarray]:
    if not Path(path).expanduser().exists():
        raise FileNotFoundError(
            f"init.weights={path} is not there: make it from a released file, or start at random "
            f"values with --config.init.weights=''\n"
            f"python launch.py import_weights RELEASED_FILE --output={path} --help"
        )
    weights = load_weights(path)
    theirs = {**weights.preprocess}
    ours = {key: getattr(preprocess, key) for key in theirs}
    if any(not np.allclose(theirs[key], ours[key]) for key in theirs):
        raise ValueError(
            f"{path} expects images prepared with {theirs}, the network prepares them with {ours}\n"
            "set model.preprocess to the side that the weights come from: caffe or torchvision"
        )
    return weights.arrays
