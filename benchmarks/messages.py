"""Counts what processes send each other in a training step, on the loopback of this machine.

python -m benchmarks.messages --output build/benchmarks

1, 2, 4 and 8 processes with a device each make the same steps. The compiled program says which sums
over devices it asks for, in what order and of how many bytes; the counters of the loopback say how
many bytes went over it. Nothing else should use the loopback meanwhile. How long it takes here says
nothing of real networks between machines.
"""

import argparse
import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

WORLDS = (1, 2, 4, 8)
NUM_CLASSES, SIZE, NUM_STEPS = 21, 64, 10
OPTIONS = {"width": 0.5, "fc_channels": 256, "dropout": 0.0}
NETWORK = "alexnet_fcn32s"
DTYPE_BYTES = {"f32": 4, "bf16": 2, "s32": 4, "u32": 4}
_ALL_REDUCE = re.compile(r"= (\(.*?\)|\S+) all-reduce(?:-start)?\(")
_SHAPE = re.compile(r"(f32|bf16|s32|u32)\[([0-9,]*)\]")


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("build/benchmarks"))
    parser.add_argument("--worker", nargs=4, metavar=("N", "I", "PORT", "DTYPE"))
    args = parser.parse_args(argv)
    if args.worker:
        count, index, port, dtype = args.worker
        _work(int(count), int(index), port, dtype)
        return
    args.output.mkdir(parents=True, exist_ok=True)
    rows = [
        _measure(count, dtype)
        for count, dtype in [*((n, "float32") for n in WORLDS), (4, "bfloat16")]
    ]
    for row in rows:
        print(row)
    (args.output / "messages.json").write_text(json.dumps(rows, indent=1) + "\n")


def _measure(count: int, dtype: str) -> dict[str, Any]:
    """Runs a world of `count` processes; returns what process 0 found."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = str(listener.getsockname()[1])
    env = {**os.environ, "JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "1"}
    processes = [
        subprocess.Popen(
            [
                *(sys.executable, "-m", "benchmarks.messages"),
                *("--worker", str(count), str(index), port, dtype),
            ],
            env=env,
            stdout=subprocess.PIPE,
            text=True,
        )
        for index in range(count)
    ]
    outputs = [process.communicate()[0] for process in processes]
    return json.loads(outputs[0].splitlines()[-1])


def _work(count: int, index: int, port: str, dtype: str) -> None:
    import jax
    import optax
    import psutil

    from fcn_jax.models.zoo import get_model
    from fcn_jax.ops.losses import make_loss
    from fcn_jax.train import parallel
    from fcn_jax.train.state import init_state, init_variables, make_key
    from fcn_jax.train.steps import make_train_step
    from fcn_jax.train.world import Membership, join

    def sent() -> int:
        return psutil.net_io_counters(pernic=True)["lo"].bytes_sent

    with join(Membership(f"127.0.0.1:{port}", count, index)):
        devices = parallel.get_devices()
        model = get_model(
            NETWORK, num_classes=NUM_CLASSES, axis_name=parallel.AXIS, norm="batch", **OPTIONS
        )
        optimizer = optax.sgd(1e-3, momentum=0.9)
        state = init_state(init_variables(make_key(0), model), optimizer)
        num_params = sum(leaf.size for leaf in jax.tree.leaves(state.params))
        step = make_train_step(
            model,
            optimizer,
            loss=make_loss(num_classes=NUM_CLASSES, ignore_label=255),
            key=make_key(0),
            ignore_label=255,
            devices=devices,
            reduce_dtype=dtype,
        )
        rng = np.random.default_rng(index)
        batch = {
            "images": rng.integers(0, 256, (1, SIZE, SIZE, 3), np.uint8),
            "labels": rng.integers(0, NUM_CLASSES, (1, SIZE, SIZE), np.uint8),
        }
        state = devices.replicate(state)
        shards = devices.put(devices.shard(batch))
        text = step.lower(state, shards).compile().as_text()
        state, sums = step(state, shards)
        jax.block_until_ready(sums)
        devices.gather(None)
        before = sent()
        for _ in range(NUM_STEPS):
            state, sums = step(state, shards)
            jax.block_until_ready(sums)
        devices.gather(None)
        per_step = (sent() - before) / NUM_STEPS
        messages = find_all_reduces(text)
    print(
        json.dumps(
            {
                "processes": count,
                "reduce_dtype": dtype,
                "num_params": num_params,
                "all_reduces": len(messages),
                "all_reduce_bytes": sum(messages),
                "order": messages,
                "loopback_bytes_per_step": round(per_step),
                "ring_bytes_per_step": 2 * (count - 1) * sum(messages),
            }
        )
    )


def find_all_reduces(text: str) -> list[int]:
    """Returns the bytes of each sum over devices in a compiled program, in its order."""
    found = []
    for shapes in _ALL_REDUCE.findall(text):
        sizes = (
            DTYPE_BYTES[dtype] * int(np.prod([int(n) for n in dims.split(",") if n], dtype=int))
            for dtype, dims in _SHAPE.findall(shapes)
        )
        found.append(sum(sizes))
    return found


if __name__ == "__main__":
    main(sys.argv[1:])
