"""Times a recipe on this machine: reading, copying, computing, memory."""

import argparse
import contextlib
import functools
import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from fcn_jax.commands import recipes

if TYPE_CHECKING:
    import jax

    from fcn_jax.train.setup import Setup
    from fcn_jax.train.state import TrainState

HELP = "time a recipe: reading, computing, memory, and the share of what the machine can do"
EXAMPLES = """\
python launch.py benchmark --config=shapes_fcn8s
python launch.py benchmark --config=camvid_fcn8s --config.data.source_dir=CamVid --data
python launch.py benchmark --config=camvid_fcn8s --config.data.source_dir=CamVid --find-batch
"""

# A step computes the maps once, and their gradients and those of the kernels at the same cost each.
_PASSES = 3
_MATRIX_SIZE, _MATRIX_REPEATS = 4096, 5
_READ_AHEAD = 8  # batches of which the loader may hold some before the clock starts
_SPARE_SHARE = 0.05  # of memory: for what is not in the compiler's books


def add_arguments(parser: argparse.ArgumentParser) -> None:
    recipes.add_config_argument(parser)
    parser.add_argument("--steps", type=int, default=10, metavar="N", help="timed steps (10)")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--data", action="store_true", help="time the reading of batches alone")
    what.add_argument(
        "--find-batch", action="store_true", help="find the largest batch that memory can hold"
    )


def run(args: argparse.Namespace) -> None:
    if args.steps < 1:
        raise ValueError(f"--steps={args.steps} must be positive")
    config = args.config.to_dict()
    if args.data:
        lines = _time_reading(config, num_batches=args.steps)
    elif args.find_batch:
        lines = _find_batch(config)
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

    from fcn_jax.models.table import layer_table
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
        step = _compile(setup, state, batch)
        yield f"compiled in {time.perf_counter() - started:.1f} s"
        yield f"memory of a step {_gib(_memory(step))} on each device"
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


def _find_batch(config: Mapping[str, Any]) -> Iterator[str]:
    import jax
    import numpy as np

    from fcn_jax.train import parallel
    from fcn_jax.train.setup import make_setup

    least = len(parallel.get_devices()) * config["train"]["iter_size"]
    config = {**config, "train": {**config["train"], "batch_size": least}}
    setup = make_setup(config)
    size, devices = config["augment"]["crop_size"], setup.devices
    state = parallel.replicate(setup.state, devices)
    room = (1 - _SPARE_SHARE) * _free_memory(devices[0])
    yield f"{_gib(room)} of memory for a step on each of {len(devices)} x {devices[0].device_kind}"

    @functools.cache
    def compile_for(batch_size: int) -> tuple[Callable, dict]:
        batch = {
            "images": np.zeros((batch_size, size, size, 3), np.uint8),
            "labels": np.zeros((batch_size, size, size), np.uint8),
        }
        batch = parallel.shard(batch, len(devices))
        return _compile(setup, state, batch), batch

    needs = {count: _memory(compile_for(count)[0]) for count in (least, 2 * least)}
    slope = max(1, needs[2 * least] - needs[least])
    # Almost a straight line: what is left of the way goes step by step.
    found = least * (1 + max(0, int((room - needs[least]) / slope)))
    step, batch = compile_for(found)
    while _memory(step) > room:
        if found == least:
            raise ValueError(
                f"the smallest batch, {least}, needs {_gib(_memory(step))}: try "
                "--config.model.remat=True or a smaller --config.augment.crop_size"
            )
        found -= least
        step, batch = compile_for(found)
    jax.block_until_ready(step(state, parallel.put(batch, devices)))
    yield (
        f"train.batch_size={found} fits, and one step of it ran: {_gib(_memory(step))}, crops of "
        f"{size}, {config['model']['dtype']}, remat={config['model'].get('remat', False)}"
    )


def _compile(setup: "Setup", state: "TrainState", batch: dict) -> Callable:
    train = setup.config["train"]
    step = setup.make_train_step(normalize=train["normalize"], iter_size=train["iter_size"])
    return step.lower(state, batch).compile()


def _matrix_rate(dtype: str) -> float:
    """Measures the multiply-adds per second of a large matrix product on one device."""
    import jax
    import jax.numpy as jnp

    matrix = jnp.ones((_MATRIX_SIZE, _MATRIX_SIZE), dtype)
    product = jax.jit(jnp.matmul)
    jax.block_until_ready(product(matrix, matrix))
    seconds = []
    for _ in range(_MATRIX_REPEATS):
        started = time.perf_counter()
        jax.block_until_ready(product(matrix, matrix))
        seconds.append(time.perf_counter() - started)
    return _MATRIX_SIZE**3 / min(seconds)


def _memory(compiled) -> int:
    """Returns the bytes that a compiled step takes on a device, its arguments included."""
    memory = compiled.memory_analysis()
    taken = memory.argument_size_in_bytes + memory.output_size_in_bytes + memory.temp_size_in_bytes
    return taken - memory.alias_size_in_bytes  # the state's buffers become those of the new one


def _free_memory(device: "jax.Device") -> int:
    """Returns the bytes that a device can give: of an accelerator all it has, of a host what is free."""
    stats = device.memory_stats() or {}
    if "bytes_limit" in stats:
        return stats["bytes_limit"]
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _gib(num_bytes: float) -> str:
    return f"{num_bytes / 2**30:.2f} GiB"
