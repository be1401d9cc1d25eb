"""Times a recipe on this machine: reading, copying, computing, memory."""

import argparse
import contextlib
import functools
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from fcn_jax.commands import experiments
from fcn_jax.errors import UserError, counted

if TYPE_CHECKING:
    import flax.linen as nn

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
_SPARE_SHARE = 0.05  # of the memory, for what is not in the compiler's books


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

    from fcn_jax.train.setup import make_batches, make_setup

    setup = make_setup(config)
    devices, batch_size = setup.devices, setup.options.batch_size
    rate = devices.count * _matrix_rate(config["model"]["dtype"])
    yield f"{devices.count} x {devices.kind}: {rate / 1e9:,.0f} G multiply-adds/s"

    with contextlib.closing(make_batches(config, setup.dataset)) as batches:
        state = devices.replicate(setup.state)
        batch = devices.shard(next(batches))
        started = time.perf_counter()
        step = setup.make_train_step().lower(state, batch).compile()
        yield f"compiled in {time.perf_counter() - started:.1f} s"
        yield f"memory of a step {_gib(_step_bytes(step))} on each device"
        state, _ = jax.block_until_ready(step(state, devices.put(batch)))
        seconds = {"reading": [], "copying": [], "computing": []}
        for _ in range(num_steps):
            times = [time.perf_counter()]
            batch = devices.shard(next(batches))
            times.append(time.perf_counter())
            batch = jax.block_until_ready(devices.put(batch))
            times.append(time.perf_counter())
            state, _ = jax.block_until_ready(step(state, batch))
            times.append(time.perf_counter())
            for part, begin, end in zip(seconds.values(), times[:-1], times[1:], strict=True):
                part.append(end - begin)
    parts = {name: statistics.median(part) for name, part in seconds.items()}
    yield "a step: " + ", ".join(f"{name} {1e3 * s:.1f} ms" for name, s in parts.items())
    rate_of_images = batch_size / sum(parts.values())
    yield f"{rate_of_images:.2f} images/s (median of {num_steps} steps of {batch_size})"
    multiply_adds = sum(row.multiply_adds for row in setup.rows)
    share = _PASSES * multiply_adds * batch_size / parts["computing"] / rate
    yield (
        f"multiply-adds of an image {multiply_adds / 1e9:.2f} G, in a step {_PASSES} times that: "
        f"{share:.0%} of the machine's rate"
    )


def _time_evaluation(config: Mapping[str, Any]) -> Iterator[str]:
    from fcn_jax.data.datasets import get_dataset
    from fcn_jax.models.zoo import get_model
    from fcn_jax.train import parallel
    from fcn_jax.train.compilations import count_compilations
    from fcn_jax.train.evaluation import Evaluator
    from fcn_jax.train.state import init_variables, make_key

    devices, dataset = parallel.get_devices(), get_dataset(**config["data"])
    model = get_model(**config["model"], num_classes=dataset.labels.num_classes)
    evaluator = Evaluator(model, dataset, devices, **config["eval"])
    initial = init_variables(make_key(config["seed"]), model)
    variables = devices.replicate(initial)
    with count_compilations() as compilations:
        first = evaluator.score(variables)
    yield f"the first time {first.eval_s:.2f} s: {compilations}"
    again = min((evaluator.score(variables) for _ in range(2)), key=lambda result: result.eval_s)
    yield (
        f"again {again.eval_s:.3g} s (the better of two), "
        f"{again.num_images / again.eval_s:.2f} images/s: "
        f"{counted(again.num_images, 'image')} of {counted(len(again.shapes), 'padded shape')}"
    )
    network_s = (
        sum(n * _time_network(model, initial, size=size) for size, n in again.shapes.items())
        / devices.count
    )
    yield (
        f"the network alone, on as many images of these shapes in memory, {network_s:.3g} s: "
        f"evaluation takes {again.eval_s / network_s:.2f} times as long"
    )


def _time_network(model: "nn.Module", variables: Any, *, size: tuple[int, int]) -> float:
    """Measures the seconds from one image of this size, in memory, to its logits."""
    import jax
    import numpy as np

    apply = jax.jit(lambda variables, image: model.apply(variables, image, train=False))
    image = np.random.default_rng(0).integers(0, 256, (1, *size, 3), np.uint8)
    jax.block_until_ready(apply(variables, image))
    return _measure(lambda: apply(variables, image), repeats=20)


def _find_batch(config: Mapping[str, Any]) -> Iterator[str]:
    """Finds the largest batch of a train step that memory can hold, and makes one step of it."""
    import jax
    import numpy as np

    from fcn_jax.train import parallel
    from fcn_jax.train.memory import free_bytes
    from fcn_jax.train.setup import make_setup

    least = parallel.get_devices().count * config["train"]["iter_size"]
    setup = make_setup({**config, "train": {**config["train"], "batch_size": least}})
    size, devices = config["augment"]["crop_size"], setup.devices
    state = devices.replicate(setup.state)
    room = (1 - _SPARE_SHARE) * free_bytes(devices)
    yield f"{_gib(room)} of memory for a step on each of {devices.count} x {devices.kind}"

    @functools.cache
    def compile_for(batch_size: int) -> tuple[Callable, dict]:
        batch = devices.shard(
            {
                "images": np.zeros((batch_size, size, size, 3), np.uint8),
                "labels": np.zeros((batch_size, size, size), np.uint8),
            }
        )
        return setup.make_train_step().lower(state, batch).compile(), batch

    needs = {count: _step_bytes(compile_for(count)[0]) for count in (least, 2 * least)}
    slope = max(1, needs[2 * least] - needs[least])

    def fits(batch_size: int) -> bool:
        return _step_bytes(compile_for(batch_size)[0]) <= room

    if not fits(least):
        raise UserError(
            f"the smallest batch, {least}, needs {_gib(needs[least])}: try "
            "--config.model.remat=True or a smaller --config.augment.crop_size"
        )
    # Almost a straight line: what is left of the way goes step by step.
    found = least * (1 + max(0, int((room - needs[least]) / slope)))
    while fits(found + least):
        found += least
    while not fits(found):
        found -= least
    step, batch = compile_for(found)
    jax.block_until_ready(step(state, devices.put(batch)))
    yield (
        f"train.batch_size={found} fits, and one step of it ran: {_gib(_step_bytes(step))}, crops "
        f"of {size}, {config['model']['dtype']}, remat={config['model']['remat']}"
    )


def _step_bytes(compiled: Any) -> int:
    """Returns the bytes that a compiled step takes on a device, its arguments included."""
    memory = compiled.memory_analysis()
    taken = memory.argument_size_in_bytes + memory.output_size_in_bytes + memory.temp_size_in_bytes
    return taken - memory.alias_size_in_bytes  # the state's buffers become those of the new one


def _gib(num_bytes: float) -> str:
    """Writes a number of bytes as people read it."""
    return f"{num_bytes / 2**30:.2f} GiB"


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
