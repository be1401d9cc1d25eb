"""Prints a network layer by layer: sizes, geometry, parameters, cost, memory."""

import argparse
import math
import time
from functools import partial

from fcn_jax.commands import experiments
from fcn_jax.errors import UserError

HELP = "print a network layer by layer, with its crops, its cost and its memory"
EXAMPLES = """\
python launch.py summary --config=camvid_fcn8s
python launch.py summary --config=camvid_fcn8s --config.model.width=1.0 --size=500x500 --run
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    experiments.add_config_argument(parser)
    parser.add_argument(
        "--size", default="500x500", metavar="HxW", help="of the image, in pixels (500x500)"
    )
    parser.add_argument("--classes", type=int, default=21, metavar="K", help="classes (21)")
    parser.add_argument(
        "--run", action="store_true", help="also run the network and print the time of one image"
    )


def run(args: argparse.Namespace) -> None:
    import jax

    from fcn_jax.models.layer_table import layer_table
    from fcn_jax.models.zoo import get_model
    from fcn_jax.reports.terminal import print_table
    from fcn_jax.train.state import init_variables

    height, width = _read_size(args.size)
    if args.classes < 1:
        raise UserError(f"--classes={args.classes} must be positive")
    model = get_model(**args.config.model.to_dict(), num_classes=args.classes)
    shapes = jax.eval_shape(partial(init_variables, model=model), jax.random.key(0))
    rows = layer_table(model, height=height, width=width)
    print_table(_make_table(f"{args.experiment} at {height}x{width}", rows))
    for row in rows:
        if row.kind == "Crop":
            print(_explain_crop(row))
    params = sum(row.params for row in rows)
    multiply_adds = sum(row.multiply_adds for row in rows)
    print(f"parameters {params:,}   multiply-adds of one image {multiply_adds / 1e9:.2f} G")
    for line in _measure(model, shapes, height, width, time_it=args.run):
        print(line)


def _read_size(text: str) -> tuple[int, int]:
    sides = text.lower().split("x")
    if len(sides) != 2 or not all(side.isdigit() and int(side) > 0 for side in sides):
        raise UserError(f"--size={text} must be height x width in pixels, such as 360x480")
    return int(sides[0]), int(sides[1])


def _make_table(title: str, rows: list):
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(title=title, box=SIMPLE_HEAD, title_justify="left", caption_justify="left")
    table.add_column("layer", no_wrap=True)
    for name in ("window", "c x h x w", "stride", "start", "field", "parameters", "G mult-adds"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(
            row.name,
            _window(row.layer),
            f"{row.channels} x {row.height} x {row.width}",
            str(row.stride),
            str(row.start),
            "all" if row.field == math.inf else f"{round(row.field, 1):g}",
            f"{row.params:,}" if row.params else "",
            f"{row.multiply_adds / 1e9:.3f}" if row.multiply_adds else "",
        )
    table.caption = (
        "stride: image pixels between units; start: image position of unit 0's centre; "
        "field: receptive field in image pixels, or all of the image"
    )
    return table


def _window(layer) -> str:
    from fcn_jax.ops.geometry import Upscore, Window

    match layer:
        case Window(kernel, stride, pad, rate):
            parts = [f"{kernel}x{kernel}"]
            parts += [f"/{stride}"] if stride > 1 else []
            parts += [f"pad {pad}"] if pad else []
            parts += [f"rate {rate}"] if rate > 1 else []
            return " ".join(parts)
        case Upscore(kernel, stride, pad):
            return f"{kernel}x{kernel} x{stride}" + (f" pad {pad}" if pad else "")
    return ""


def _explain_crop(row) -> str:
    before = row.start - row.layer.offset * row.stride
    return (
        f"{row.name}: cut at {row.layer.offset}: unit 0 of what is cut lies on image pixel "
        f"{before} and has to lie on {row.start}, at a stride of {row.stride}"
    )


def _measure(model, shapes, height: int, width: int, *, time_it: bool) -> list[str]:
    """Compiles the forward pass of one image and asks the compiler for its memory."""
    import jax
    import jax.numpy as jnp

    from fcn_jax.train import parallel
    from fcn_jax.train.state import init_variables

    images = jax.ShapeDtypeStruct((1, height, width, 3), jnp.uint8)

    def apply(variables, images):
        return model.apply(variables, images, train=False)

    start = time.perf_counter()
    compiled = jax.jit(apply).lower(shapes, images).compile()
    lines = [
        f"compiled in {time.perf_counter() - start:.1f} s on {parallel.get_devices(count=1).kind}"
    ]
    memory = compiled.memory_analysis()
    if memory is not None:
        live = memory.temp_size_in_bytes + memory.output_size_in_bytes
        total = live + memory.argument_size_in_bytes
        lines.append(
            f"largest live memory {total / 2**20:.0f} MiB: parameters and image "
            f"{memory.argument_size_in_bytes / 2**20:.0f}, activations and logits "
            f"{live / 2**20:.0f}"
        )
    if time_it:
        variables = init_variables(jax.random.key(0), model)
        pixels = jnp.zeros(images.shape, images.dtype)
        times = []
        for _ in range(4):
            start = time.perf_counter()
            jax.block_until_ready(compiled(variables, pixels))
            times.append(time.perf_counter() - start)
        lines.append(f"one image takes {min(times[1:]):.2f} s (best of 3 after the first)")
    return lines
