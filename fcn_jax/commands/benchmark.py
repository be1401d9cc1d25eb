"""Times a recipe on this machine: reading, copying, computing, memory."""

import argparse
import contextlib
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from fcn_jax.commands import experiments, step_memory
from fcn_jax.errors import UserError

if TYPE_CHECKING:
    from fcn_jax.train.setup import Setup

HELP = "time a recipe: reading, computing, memory, and the share of what the machine can do"
EXAMPLES = """\
python launch.py benchmark --config=shapes_fcn8s
python launch.py benchmark --config=camvid_fcn8s --config.data.source_dir=CamVid --data
python launch.py benchmark --config=camvid_fcn8s --config.data.source_dir=CamVid --find-batch
python launch.py benchmark --config=camvid_fcn8s --config.data.source_dir=CamVid --eval
"""

# A step computes the maps once, and their gradients and those of the kernels at the same cost each.
_PASSES = 3
_MATRIX_SIZE = 4096
_READ_AHEAD = 8  # batches of which the loader may hold some before the clock starts


def add_arguments(parser: argparse.ArgumentParser) -> None:
    experiments.add_config_argument(parser)
    parser.add_argument("--steps", type=int, default=10, metavar="N", help="timed steps (10)")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--data", action="store_true", help="time the reading of batches alone")
    what.add_argument("--eval", action="store_true", help="time the evaluation of the split")
    what.add_argument(
        "--find-batch", action="store_true", help="find the largest batch that memory can hold"
    )


def run(args: argparse.Namespace) -> None:
    if args.steps < 1:
        raise UserError(f"--steps={args.steps} must be positive")
    config = args.config.to_dict()
    if args.data:
        lines = _time_reading(config, num_batches=args.steps)
    elif args.eval:
        lines = _time_evaluation(config)
    elif args.find_batch:
        lines = step_memory.find_batch(config)
    else:
        lines = _time_training(config, num_steps=args.steps)
    for line in lines:
        print(line, flush=True)


def _time_reading(config: Mapping[str, Any], *, num_batches: int) -> Iterator[str]:
    from fcn_jax.data.datasets import get_dataset
    from fcn_jax.train.setup import make_batches

    batch_size, augment = config["train"]["batch_size"], config["augment"]
    with contextlib.closing(make_batches(config, get_dataset(**config["data"]))) as batches:
        for _ in range(_READ_AHEAD * (1 + augment["num_workers"])):
            next(batches)
        started = time.perf_counter()
        for _ in range(num_batches):
            next(batches)
        seconds = time.perf_counter() - started
    yield (
        f"reading {num_batches * batch_size / seconds:.1f} images/s: {num_batches} batches of "
        f"{batch_size} in {seconds:.2f} s, crops of {augment['crop_size']}, "
        f"{augment['num_threads']} threads, {augment['num_workers']} workers"
    )


def _time_training(config: Mapping[str, Any], *, num_steps: int) -> Iterator[str]:
    import jax

    from fcn_jax.models.layer_table import layer_table
    from fcn_jax.train import parallel
    from fcn_jax.train.setup import make_batches, make_setup

    setup = make_setup(config)
    devices, batch_size = setup.devices, config["train"]["batch_size"]
    rate = len(devices) * _matrix_rate(config["model"]["dtype"])
    yield f"{len(devices)} x {devices[0].device_kind}: {rate / 1e9:,.0f} G multiply-adds/s"

    with contextlib.closing(make_batches(config, setup.dataset)) as batches:
        state = parallel.replicate(setup.state, devices)
        batch = parallel.shard(next(batches), len(devices))
        started = time.perf_counter()
        step = setup.compile_train_step(state, batch)
        yield f"compiled in {time.perf_counter() - started:.1f} s"
        yield f"memory of a step {step_memory.gib(step_memory.step_bytes(step))} on each device"
        state, _ = jax.block_until_ready(step(state, parallel.put(batch, devices)))
        seconds = {"reading": [], "copying": [], "computing": []}
        for _ in range(num_steps):
            times = [time.perf_counter()]
            batch = parallel.shard(next(batches), len(devices))
            times.append(time.perf_counter())
            batch = jax.block_until_ready(parallel.put(batch, devices))
            times.append(time.perf_counter())
            state, _ = jax.block_until_ready(step(state, batch))
            times.append(time.perf_counter())
            for part, begin, end in zip(seconds.values(), times[:-1], times[1:], strict=True):
                part.append(end - begin)
    parts = {name: statistics.median(part) for name, part in seconds.items()}
    yield "a step: " + ", ".join(f"{name} {1e3 * s:.1f} ms" for name, s in parts.items())
    rate_of_images = batch_size / sum(parts.values())
    yield f"{rate_of_images:.2f} images/s (median of {num_steps} steps of {batch_size})"
    size = config["augment"]["crop_size"]
    rows = layer_table(setup.model, height=size, width=size, train=True)
    multiply_adds = sum(row.multiply_adds for row in rows)
    share = _PASSES * multiply_adds * batch_size / parts["computing"] / rate
    yield (
        f"multiply-adds of an image {multiply_adds / 1e9:.2f} G, in a step {_PASSES} times that: "
        f"{share:.0%} of the machine's rate"
    )


def _time_evaluation(config: Mapping[str, Any]) -> Iterator[str]:
    from fcn_jax.train import parallel
    from fcn_jax.train.compilations import count_compilations
    from fcn_jax.train.setup import make_setup

    setup = make_setup(config, to_train=False)
    evaluator, devices = setup.evaluator, setup.devices
    variables = parallel.replicate(setup.state.variables, devices)
    with count_compilations() as compilations:
        first = evaluator.score(variables)
    yield f"the first time {first.eval_s:.2f} s: {compilations}"
    again = min((evaluator.score(variables) for _ in range(2)), key=lambda result: result.eval_s)
    yield (
        f"again {again.eval_s:.2f} s (the better of two), {again.num_images / again.eval_s:.2f} images/s: "
        f"{again.num_images} images of {len(again.shapes)} padded shapes"
    )
    network_s = sum(
        count * _time_network(setup, size=size) for size, count in again.shapes.items()
    ) / len(devices)
    yield (
        f"the network alone, on as many images of these shapes in memory, {network_s:.2f} s: "
        f"evaluation takes {again.eval_s / network_s:.2f} times as long"
    )


def _time_network(setup: "Setup", *, size: tuple[int, int]) -> float:
    """Measures the seconds from one image of this size, in memory, to its logits."""
    import jax
    import numpy as np

    apply = jax.jit(lambda variables, image: setup.model.apply(variables, image, train=False))
    image = np.random.default_rng(0).integers(0, 256, (1, *size, 3), np.uint8)
    variables = jax.device_put(setup.state.variables, setup.devices[0])
    jax.block_until_ready(apply(variables, image))
    return _measure(lambda: apply(variables, image), repeats=20)


def _matrix_rate(dtype: str) -> float:
    """Measures the multiply-adds per second of a large matrix product on one device."""
    import jax
    import jax.numpy as jnp

    matrix = jnp.ones((_MATRIX_SIZE, _MATRIX_SIZE), dtype)
    product = jax.jit(jnp.matmul)
    jax.block_until_ready(product(matrix, matrix))
    return _MATRIX_SIZE**3 / _measure(lambda: product(matrix, matrix), repeats=5)


def _measure(call: Callable, *, repeats: int) -> float:
    """Measures the seconds of a call that was made before: the least of some."""
    import jax

    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        jax.block_until_ready(call())
        seconds.append(time.perf_counter() - started)
    return min(seconds)
