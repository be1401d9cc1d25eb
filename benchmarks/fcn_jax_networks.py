"""Our networks, ready to be timed: the functions that `launch.py` trains and evaluates with."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax

from fcn_jax.models.zoo import get_model
from fcn_jax.ops.losses import make_loss
from fcn_jax.train import parallel
from fcn_jax.train.state import TrainState
from fcn_jax.train.steps import find_label_grid, make_train_step

IGNORE_LABEL = 255
MOMENTUM, WEIGHT_DECAY, LEARNING_RATE = 0.9, 5e-4, 1e-6


def make_model(network: str, *, num_classes: int, dtype: str):
    """Makes a network as it is fine-tuned: the batch norm of a backbone that has it is frozen."""
    make = partial(get_model, name=network, num_classes=num_classes, dtype=dtype)
    model = make()
    return model if model.backbone.norm is None else make(norm="frozen")


def shapes_of(model) -> dict:
    """Returns the shapes of all variables."""
    images = jax.ShapeDtypeStruct((1, 64, 64, 3), "uint8")
    return jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), images)


def draw_variables(model, *, seed: int) -> dict:
    """Draws variables on the host; statistics and biases too, so that no layer is the identity."""
    rng = np.random.default_rng(seed)

    def leaf(path, shape):
        kind = path[-1].key
        if kind == "kernel":
            values = rng.standard_normal(shape.shape, np.float32)
            return values * np.float32((2 / np.prod(shape.shape[:-1])) ** 0.5)
        if kind in ("var", "scale"):
            return rng.uniform(0.5, 1.5, shape.shape).astype(np.float32)
        return rng.standard_normal(shape.shape, np.float32) / 10

    return jax.tree_util.tree_map_with_path(leaf, shapes_of(model))


def flatten(variables: dict) -> dict[str, np.ndarray]:
    """Returns all leaves by their path in the network."""
    return {
        "/".join(key.key for key in path[1:]): leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(variables)
    }


def make_inference(model, variables: dict) -> Callable[[np.ndarray], jax.Array]:
    """Makes `images -> logits`, compiled at the first call."""
    apply = jax.jit(lambda variables, images: model.apply(variables, images, train=False))
    variables = jax.device_put(variables)
    return lambda images: jax.block_until_ready(apply(variables, images))


OPTIMIZER = optax.chain(
    optax.add_decayed_weights(WEIGHT_DECAY), optax.sgd(LEARNING_RATE, momentum=MOMENTUM)
)


def make_state(variables: dict) -> TrainState:
    """Makes the state before the first step of `OPTIMIZER`."""
    return TrainState(
        step=np.zeros((), np.int32),
        params=variables["params"],
        batch_stats=variables.get("batch_stats", {}),
        opt_state=OPTIMIZER.init(variables["params"]),
    )


def make_step(model, *, crop_size: int) -> Callable:
    """Makes the update of a replicated state by a batch, on all devices."""
    loss = make_loss(
        num_classes=model.num_classes,
        ignore_label=IGNORE_LABEL,
        class_weights=(),
        ohem_fraction=1.0,
        cross_entropy_weight=1.0,
        dice_weight=0.0,
    )
    return make_train_step(
        model,
        OPTIMIZER,
        loss=loss,
        key=jax.random.key(0),
        ignore_label=IGNORE_LABEL,
        devices=parallel.get_devices(),
        label_grid=find_label_grid(model, crop_size=crop_size),
    )


def make_training(model, variables: dict) -> Callable[[np.ndarray, np.ndarray], None]:
    """Makes one step of SGD with momentum and weight decay on all devices."""
    devices = parallel.get_devices()
    state = devices.replicate(jax.tree.map(np.asarray, make_state(variables)))
    steps = {}

    def step(images: np.ndarray, labels: np.ndarray) -> None:
        nonlocal state
        if images.shape not in steps:
            steps[images.shape] = make_step(model, crop_size=images.shape[1])
        batch = devices.shard({"images": images, "labels": labels})
        state, sums = steps[images.shape](state, batch)
        jax.block_until_ready((state, sums))

    return step


def as_float32(logits: jax.Array) -> np.ndarray:
    return np.asarray(logits, jnp.float32)
