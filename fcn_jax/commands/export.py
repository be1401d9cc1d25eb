"""Writes a trained network into one file that others run without this project."""

import argparse
import datetime
import re

from fcn_jax.atomic_file import local_path, replacing
from fcn_jax.commands import looks
from fcn_jax.errors import UserError

HELP = "write a trained network as a program that needs jax alone (StableHLO), or as ONNX"
EXAMPLES = """\
python launch.py export --workdir=runs/camvid_fcn8s --output=fcn8s.stablehlo
python launch.py export --network=fcn8s.safetensors --format=onnx --output=fcn8s.onnx
python launch.py export --workdir=runs/voc_fcn8s --size=500x500 --output=fcn8s_500.stablehlo
"""

_FORMATS = ("stablehlo", "onnx")  # each is the suffix of its files, too
_DTYPES = ("uint8", "float32")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    looks.add_network_arguments(parser, default_step="best")
    parser.add_argument(
        "--format", default="stablehlo", help="stablehlo (default), for jax, or onnx"
    )
    parser.add_argument(
        "--output",
        required=True,
        metavar="FILE",
        help="the .stablehlo or .onnx to write; FILE.json beside it says what it is",
    )
    parser.add_argument(
        "--dtype", default="uint8", help="of the images: uint8 (default) or float32; 0..255 both"
    )
    parser.add_argument(
        "--size", metavar="HEIGHTxWIDTH", help="the one size of images that it takes (any)"
    )


def run(args: argparse.Namespace) -> None:
    suffix, size = f".{_choose('format', args.format, _FORMATS)}", _read_size(args.size)
    dtype, path = _choose("dtype", args.dtype, _DTYPES), local_path(args.output)
    if path.suffix != suffix:
        raise UserError(f"--output={args.output} must end in {suffix} for --format={args.format}")
    if path.is_dir():
        raise UserError(f"--output={args.output} is a folder: give the file to write")

    from fcn_jax.export import description, onnx_file, program, stablehlo

    form = {"stablehlo": stablehlo, "onnx": onnx_file}[args.format]
    form.check_packages()
    net = looks.load_network(args)
    path.parent.mkdir(parents=True, exist_ok=True)
    images, today = program.make_images(dtype, size), datetime.date.today()
    with replacing(path) as beside:
        form.write(net, beside, images)
        comparison = form.verify(net, beside, images)
    description.write(
        net, path, images, program=form.describe(today), comparison=comparison, today=today
    )
    print(f"wrote {net.section['name']} to {path}, and what it is to {description.find_path(path)}")
    print(f"read again and compared: {comparison}")


def _choose(flag: str, value: str, known: tuple[str, ...]) -> str:
    if value not in known:
        raise UserError(f"unknown --{flag}={value}; known: {', '.join(known)}")
    return value


def _read_size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    if not re.fullmatch(r"[1-9]\d*x[1-9]\d*", text):
        raise UserError(f"--size={text} must be HEIGHTxWIDTH in pixels, such as 500x500")
    height, width = map(int, text.split("x"))
    return height, width
