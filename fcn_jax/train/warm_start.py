"""Where the first step begins: at random values, at the stage before, or at imported weights.

What is carried over is found by name. A finer FCN takes everything that the coarser one has; its
new score layers are not there, and stay at the zero that they are initialised with.

Source: voc-fcn16s/solve.py in shelhamer/fcn.berkeleyvision.org, which copies by layer name.
"""

import contextlib
import re
from pathlib import Path

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from fcn_jax.errors import MissingError, UserError
from fcn_jax.models.preprocess import Preprocess, name_preprocess
from fcn_jax.models.zoo import get_model
from fcn_jax.train.checkpoint import Checkpoints, has_checkpoint
from fcn_jax.train.run_folder import RunFolder
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
        preprocess: the network's, which has to be that of the source.
        workdir: the run folder of the stage before; empty for none.
        step: its checkpoint: `last`, `best` or a number.
        weights: a file that `import_weights` wrote; empty for none.
        leave: patterns of paths, such as `params/fc8/.*`, that are not to be carried over.

    Raises:
        FileNotFoundError: if the source is missing; the message says how to make it.
        ValueError: if it is of another network.
    """
    if workdir and weights:
        raise UserError(f"init.workdir={workdir} and init.weights={weights}: give one of them")
    if workdir:
        source, expected = _read_stage(Path(workdir).expanduser(), step)
    elif weights:
        source, expected = _read_weights(weights)
    else:
        return state
    if not expected.is_close(preprocess):
        raise UserError(
            f"{workdir or weights} expects images prepared with {expected}, the network prepares "
            f"them with {preprocess}\nset --config.model.preprocess={name_preprocess(expected)}"
        )
    target = flatten_dict(state.variables, sep="/")
    leaves, report = transplant(target, source, leave=leave)
    left = [row.leaf.removeprefix("params/") for row in report.rows if row.action == LEFT]
    print(f"init from {workdir or weights}: {report.summary}")
    print(f"left as initialised: {', '.join(left) or 'nothing'}")
    variables = unflatten_dict({**target, **leaves}, sep="/")
    return state.replace(params=variables["params"], batch_stats=variables.get("batch_stats", {}))


def _read_stage(workdir: Path, step: str) -> tuple[dict[str, np.ndarray], Preprocess]:
    folder = workdir / "checkpoints"
    if not has_checkpoint(folder):
        # Run folders are called after their experiments, and perhaps their seeds.
        experiment = re.sub(r"[-_.]?seed[-_]?\d+$", "", workdir.name)
        raise MissingError(
            f"init.workdir={workdir} has no checkpoint: train the stage before this one first\n"
            f"python launch.py train --config={experiment} --workdir={workdir}"
        )
    model = get_model(**RunFolder(workdir).read_config()["model"], num_classes=1)
    with contextlib.closing(Checkpoints(folder, read_only=True)) as checkpoints:
        variables = checkpoints.read_variables(checkpoints.find_step(step))
    return flatten_dict(variables, sep="/"), model.backbone.preprocess


def _read_weights(path: str) -> tuple[dict[str, np.ndarray], Preprocess]:
    if not Path(path).expanduser().exists():
        raise MissingError(
            f"init.weights={path} is not there: make it from a released file, or start at random "
            f"values with --config.init.weights=''\n"
            f"python launch.py import_weights RELEASED_FILE --output={path} --help"
        )
    weights = load_weights(path)
    mean, std, bgr = (weights.preprocess[key] for key in ("mean_rgb", "std_rgb", "bgr"))
    return weights.arrays, Preprocess(tuple(mean), tuple(std), bgr)
