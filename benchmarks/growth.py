"""Times networks on ever larger images and batches: the cost should be proportional to both.

python -m benchmarks.growth --output build/benchmarks
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path

import jax
import numpy as np
from matplotlib.figure import Figure

from benchmarks import fcn_jax_networks
from fcn_jax.models.zoo import MODELS

NUM_CLASSES = 21
NETWORKS = ("mobilenetv2_fcn8s", "mobilenetv2_deeplab_largefov", "vgg16_deeplab_largefov")
SIZES = (128, 192, 256, 384, 512, 768, 1024)
LINES = {"inference": "-", "train": "--"}
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")
BATCHES, SIDE = (1, 2, 4, 8), 128  # images a batch, and their pixels along a side


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", action="append", choices=MODELS)
    parser.add_argument("--rounds", type=int, default=3, help="timed calls of each")
    parser.add_argument("--output", type=Path, default=Path("build/benchmarks"))
    args = parser.parse_args(argv)
    args.output.mkdir(parents=True, exist_ok=True)
    rows = []
    for network in args.network or NETWORKS:
        for row in time_network(network, rounds=args.rounds):
            rows.append(row)
            print(
                "{network:30s} {kind:9s} {batch:2d} of {size:4d}  {seconds:7.3f} s  "
                "{ns_per_pixel:6.0f} ns a pixel".format(**row),
                flush=True,
            )
            report = {"device": jax.devices()[0].device_kind, "jax": jax.__version__, "rows": rows}
            (args.output / "growth.json").write_text(json.dumps(report, indent=1))
    draw(rows, args.output / "growth.png")


def time_network(network: str, *, rounds: int) -> Iterator[dict]:
    model = fcn_jax_networks.make_model(network, num_classes=NUM_CLASSES, dtype="float32")
    variables = fcn_jax_networks.draw_variables(model, seed=0)
    rng = np.random.default_rng(0)
    cases = [(1, size) for size in SIZES] + [(batch, SIDE) for batch in BATCHES[1:]]
    infer, train = (
        fcn_jax_networks.make_inference(model, variables),
        fcn_jax_networks.make_training(model, variables),
    )
    for batch, size in cases:
        images = rng.integers(0, 256, (batch, size, size, 3), np.uint8)
        labels = rng.integers(0, NUM_CLASSES, (batch, size, size), np.uint8)
        calls = {"inference": (infer, (images,)), "train": (train, (images, labels))}
        for kind, (call, inputs) in calls.items():
            seconds = measure(lambda call=call, inputs=inputs: call(*inputs), rounds)
            yield {
                "network": network,
                "kind": kind,
                "batch": batch,
                "size": size,
                "seconds": seconds,
                "ns_per_pixel": 1e9 * seconds / (batch * size * size),
            }


def measure(call: Callable[[], object], rounds: int) -> float:
    """Measures the median seconds of calls, after one that compiles and one that takes memory."""
    call(), call()
    seconds = []
    for _ in range(rounds):
        started = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


def draw(rows: list[dict], path: Path) -> None:
    """Draws the cost of a pixel against the pixels of an image and the images of a batch."""
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    by_size, by_batch = figure.subplots(1, 2, sharey=True, width_ratios=(2, 1))
    colors = dict(zip(dict.fromkeys(row["network"] for row in rows), cycle(COLORS), strict=False))
    for (network, color), kind in ((pair, kind) for pair in colors.items() for kind in LINES):
        of_kind = [row for row in rows if (row["network"], row["kind"]) == (network, kind)]
        look = {"color": color, "linestyle": LINES[kind], "marker": "o", "markersize": 3}
        for axes, x, fixed in ((by_size, "size", "batch"), (by_batch, "batch", "size")):
            least = min(row[fixed] for row in of_kind)
            line = [row for row in of_kind if row[fixed] == least]
            axes.plot(
                [row[x] for row in line],
                [row["ns_per_pixel"] for row in line],
                label=f"{network}, {kind}",
                **look,
            )
    by_size.set(xscale="log", yscale="log", ylabel="nanoseconds a pixel")
    by_size.set(xlabel="pixels along a side of one image", title="one image, ever larger")
    by_batch.set(xscale="log", xlabel="images", title=f"images of {SIDE}, ever more")
    by_size.set_xticks(SIZES, SIZES, minor=False)
    by_batch.set_xticks(BATCHES, BATCHES)
    for axes in (by_size, by_batch):
        axes.tick_params(axis="x", which="minor", bottom=False, labelbottom=False)
        axes.grid(color="#e4e4e4")
        axes.set_axisbelow(True)
    figure.legend(*by_size.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main(sys.argv[1:])
