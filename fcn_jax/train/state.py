"""What a training step changes, and where it begins."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from flax import struct

from fcn_jax.errors import UserError
from fcn_jax.train import parallel
from fcn_jax.train.memory import check_fits


@struct.dataclass
class TrainState:
    """Everything that a checkpoint holds.

    Attributes:
        step: Number of updates made.
        params: Trained parameters.
        batch_stats: Running means and variances; empty without batch norm.
        opt_state: State of the optimizer.
    """

    step: Any
    params: Any
    batch_stats: Any
    opt_state: Any

    @property
    def variables(self) -> dict[str, Any]:
        """The variables that `model.apply` takes."""
        return {"params": self.params, "batch_stats": self.batch_stats}


def check_seed(seed: int) -> None:
    """Raises UserError unless a run can have this seed."""
    if not 0 <= seed < 2**32:
        raise UserError(f"seed={seed} must lie in 0..{2**32 - 1}")


def make_key(seed: int) -> jax.Array:
    """Makes the key of a run."""
    check_seed(seed)
    # rbg: initialising a network with the default generator takes ten seconds to compile.
    return jax.random.key(seed, impl="rbg")


def init_variables(key: jax.Array, model: nn.Module) -> dict[str, Any]:
    """Initialises a network; no parameter depends on the size of an image.

    Raises:
        UserError: If memory could not hold the parameters.
    """
    images = jnp.zeros((1, 64, 64, 3), jnp.float32)
    init = jax.jit(lambda key: model.init(key, images, train=False))
    _check_size(jax.eval_shape(init, key))
    return init(key)


def _check_size(variables: Any) -> None:
    """Raises UserError for variables, or shapes of them, that a device's memory could not hold."""
    check_fits(
        sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(variables)),
        parallel.get_devices(count=1),
        what="the parameters of this network",
        way_on="choose a smaller model.width, or fewer channels",
    )


def init_state(variables: dict[str, Any], optimizer: optax.GradientTransformation) -> TrainState:
    """Makes the state before the first step."""
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=variables["params"],
        batch_stats=variables.get("batch_stats", {}),
        opt_state=jax.jit(optimizer.init)(variables["params"]),
    )


def name_leaves(tree: Any) -> dict[str, Any]:
    """Lists the leaves of a tree by their paths, such as `backbone/conv1/kernel`, in order."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}
