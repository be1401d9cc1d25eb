"""Times the compilation of the train step of every network.

    python -m benchmarks.compile_times --output build/benchmarks

Nothing is computed and no memory is taken: a step is compiled from shapes.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import jax

from benchmarks import fcn_jax_networks
from fcn_jax.models.zoo import MODELS
from fcn_jax.train import parallel

NUM_CLASSES = 21
SIZES = {"vgg16_fcn": 500, "alexnet_fcn": 500}  # as published, by the beginning of a name
SIZE = 321  # of all others


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", action="append", choices=MODELS)
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--output", type=Path, default=Path("build/benchmarks"))
    args = parser.parse_args(argv)
    args.output.mkdir(parents=True, exist_ok=True)
    rows = []
    for network in args.network or MODELS:
        rows.append(time_compilation(network, dtype=args.dtype))
        print(
            "{network:28s} {size:4d}  traced {trace_s:5.1f} s  compiled {compile_s:5.1f} s".format(
                **rows[-1]
            )
        )
        report = {"device": jax.devices()[0].device_kind, "jax": jax.__version__, "rows": rows}
        (args.output / "compile_times.json").write_text(json.dumps(report, indent=1))


def time_compilation(network: str, *, dtype: str) -> dict:
    size = next((size for name, size in SIZES.items() if network.startswith(name)), SIZE)
    model = fcn_jax_networks.make_model(network, num_classes=NUM_CLASSES, dtype=dtype)
    state = jax.eval_shape(
        lambda: fcn_jax_networks.make_state(zeros_like(fcn_jax_networks.shapes_of(model)))
    )
    num_devices = parallel.get_devices().count
    batch = {
        "images": jax.ShapeDtypeStruct((num_devices, 1, size, size, 3), "uint8"),
        "labels": jax.ShapeDtypeStruct((num_devices, 1, size, size), "uint8"),
    }
    step = fcn_jax_networks.make_step(model, crop_size=size)
    started = time.perf_counter()
    lowered = step.lower(state, batch)
    traced = time.perf_counter()
    lowered.compile()
    return {
        "network": network,
        "size": size,
        "dtype": dtype,
        "trace_s": traced - started,
        "compile_s": time.perf_counter() - traced,
    }


def zeros_like(shapes: dict) -> dict:
    return jax.tree.map(lambda leaf: jax.numpy.zeros(leaf.shape, leaf.dtype), shapes)


if __name__ == "__main__":
    main(sys.argv[1:])
