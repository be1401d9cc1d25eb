"""What every test runs under: checked annotations, and four devices on a CPU."""

import gc
import os
import signal
from math import prod

from tests import annotations

annotations.install()  # before anything of fcn_jax is imported

import flax.linen as nn
import jax
import numpy as np
import pytest

# Traces make millions of objects, few of which are rubbish: looking through them as often as Python
# does by itself takes about a tenth of the session.
gc.set_threshold(50_000)

# `nohup`, and a shell that starts something in the background, make it ignore what tests send.
for number, handler in (
    (signal.SIGINT, signal.default_int_handler),
    (signal.SIGHUP, signal.SIG_DFL),
):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, handler)

# Before the backend starts. A jax that knows only one CPU device still runs most tests.
jax.config.update("jax_num_cpu_devices", 4)

# Programs of tests run for milliseconds, so what matters is how soon they are compiled: not well,
# and not in pieces, which is for more cores than a worker has. Processes that tests start inherit
# both.
os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
jax.config.update("jax_disable_most_optimizations", True)
flags = [os.environ.get("XLA_FLAGS", ""), "--xla_cpu_parallel_codegen_split_count=1"]
# The XLA of jax 0.10 has two ways to emit a fused loop. The newer one, which later versions have
# alone, takes three times as long to compile a train step of a tiny network.
if jax.__version_info__ < (0, 11):
    flags.append("--xla_cpu_use_fusion_emitters=false")
os.environ["XLA_FLAGS"] = " ".join(flags).strip()


@pytest.fixture
def rng() -> np.random.Generator:
    """The only source of random numbers in a test."""
    return np.random.default_rng(0)


@pytest.fixture(scope="module")
def compile_well():
    """Compiles as well as a user does: for convolutions, and what runs longer than it compiles."""
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", True)


@pytest.fixture(scope="module")
def plain_conv():
    """The one operation that every form of a convolution stands for: it compiles the soonest.

    models/test_transforms.py compares every kind of network in the form that a user gets with this
    one, and ops/conv every form.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FCN_JAX_CONV", "plain")
        yield


@pytest.fixture(scope="module")
def tiny_network():
    """Makes the network `tiny_fcn4s` known, for what is not about a network."""
    from fcn_jax.models.zoo import MODELS
    from tests.tiny_network import TINY

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(MODELS, "tiny_fcn4s", TINY)
        yield


def shapes_of(model: nn.Module) -> dict:
    """The shapes of all variables; they do not depend on the size of an image."""
    images = jax.ShapeDtypeStruct((1, 32, 32, 3), "float32")
    return jax.eval_shape(lambda images: model.init(jax.random.key(0), images, train=False), images)


@pytest.fixture
def draw_variables(rng):
    """Makes `draw(model)`: variables as `model.init` gives them, but drawn, biases included."""

    def draw(model: nn.Module) -> dict:
        def leaf(path, shape):
            kind = path[-1].key
            if kind == "kernel":
                values = rng.normal(size=shape.shape) * np.sqrt(2 / prod(shape.shape[:-1]))
            elif kind in ("var", "scale"):
                values = rng.uniform(0.5, 1.5, shape.shape)
            else:
                values = rng.normal(size=shape.shape) / 10
            return jax.device_put(values.astype(shape.dtype))  # asarray compiles for each shape

        return jax.tree_util.tree_map_with_path(leaf, shapes_of(model))

    return draw


@pytest.fixture
def run_blobs():
    """Makes `run(model, variables, images, train=False)`: (maps, paths) of every layer by its name.

    Blocks of layers, such as those of a ResNet, are among them, after their layers.
    """

    def run(model: nn.Module, variables: dict, images, *, train: bool = False) -> tuple[dict, dict]:
        from fcn_jax.models.blob import Blob

        paths = {}

        @jax.jit
        def apply(variables, images):
            maps = {}

            def record(call, args, kwargs, context):
                output = call(*args, **kwargs)
                if isinstance(output, Blob) and context.method_name == "__call__":
                    name = "/".join(context.module.path).removeprefix("backbone/")
                    maps[name] = output.maps
                    paths[name] = output.paths
                return output

            with nn.intercept_methods(record):
                model.apply(variables, images, train=train)
            return maps

        maps = apply(variables, images)  # jit sorts the names; paths has them as they ran
        return {name: np.asarray(maps[name]) for name in paths}, paths

    return run


@pytest.fixture
def see_pixels(run_blobs):
    """Makes `see(model, height, width, pixels)`: which outputs depend on each of these pixels.

    Every weight is positive, every bias zero, and the image is the mean, so that every map is
    exactly zero. One brighter pixel then makes a unit positive if and only if some path leads
    there: nothing cancels, and a maximum over zeros and a positive number is positive.

    Gives (support [p, h, w], paths of the output).
    """

    def see(model: nn.Module, height: int, width: int, pixels) -> tuple[np.ndarray, tuple]:
        mean = np.asarray(model.backbone.preprocess.mean_rgb, np.float32)
        images = np.tile(mean, (len(pixels), height, width, 1))
        for image, (y, x) in zip(images, pixels, strict=True):
            image[y, x] += 1e6
        variables = jax.tree.map(
            lambda leaf: (
                np.full(leaf.shape, 1 / prod(leaf.shape[:-1]), np.float32)
                if len(leaf.shape) > 1
                else np.zeros(leaf.shape, np.float32)
            ),
            shapes_of(model),
        )
        maps, paths = run_blobs(model, variables, images)
        last = list(maps)[-1]
        return (maps[last] > 0).all(-1), paths[last]

    return see


@pytest.fixture
def init():
    """Makes `init(model, images)`: (logits, variables) of an untrained network.

    The generator is not the one that runs use: its code compiles in a third of the time.
    """

    def init(model: nn.Module, images) -> tuple[jax.Array, dict]:
        run = jax.jit(lambda key: model.init_with_output(key, images, train=False))
        return run(jax.random.key(0, impl="unsafe_rbg"))

    return init


@pytest.fixture(scope="session", autouse=True)
def compile_once(tmp_path_factory):
    """Many tests compile the same program; the cache is empty when the session begins.

    Processes that tests start have it too.
    """
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent  # which the workers share
    for key, value in (
        ("jax_compilation_cache_dir", str(folder / "compiled")),
        ("jax_persistent_cache_min_compile_time_secs", 0.1),
    ):
        jax.config.update(key, value)
        os.environ[key.upper()] = str(value)
