"""Converts released weights into a file that section `init` of an experiment takes."""

import argparse
from pathlib import Path

from fcn_jax.errors import UserError

HELP = "convert a .caffemodel or a torchvision state dict into weights to start from"
EXAMPLES = """\
python launch.py import_weights mobilenet_v2.safetensors --network=mobilenetv2 \\
    --output=weights/mobilenetv2_imagenet.safetensors
python launch.py import_weights VGG_ILSVRC_16_layers.caffemodel --network=vgg16 --head=largefov \\
    --output=weights/vgg16_largefov.safetensors
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", help=".caffemodel, .safetensors, .npz or (with torch) .pth")
    parser.add_argument(
        "--network", required=True, help="vgg16, alexnet, resnet18, mobilenetv2 ..."
    )
    parser.add_argument("--output", required=True, metavar="FILE", help="the .safetensors to write")
    parser.add_argument(
        "--head",
        default="none",
        help="none (the backbone alone, default); fcn, largefov or 4x4 (fc6 and fc7 made out of "
        "ImageNet's); own (that of a segmentation network, as it is)",
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="of the choice of filters that a small head keeps (0)"
    )
    parser.add_argument(
        "--preprocess",
        default="",
        help="caffe or torchvision, where neither the file's metadata nor its names tell",
    )
    parser.add_argument(
        "--mean", metavar="FILE", help="a .binaryproto whose mean colour the weights expect"
    )
    parser.add_argument("--report", action="store_true", help="say what became of every array")


def run(args: argparse.Namespace) -> None:
    from fcn_jax.weights.files import write_safetensors
    from fcn_jax.weights.importer import import_weights

    if not args.output.endswith(".safetensors"):
        raise UserError(f"--output={args.output} must end in .safetensors")
    for given in filter(None, (args.file, args.mean)):
        if _resolve(given) == _resolve(args.output):
            raise UserError(f"--output={args.output} is {given} itself; write to another file")
    imported = import_weights(
        args.file,
        args.network,
        head=args.head,
        seed=args.seed,
        preprocess=args.preprocess,
        mean=args.mean,
    )
    write_safetensors(args.output, imported.arrays, imported.metadata)
    print(imported.report if args.report else imported.report.summary)
    print(f"wrote {args.output}: start from it with --config.init.weights={args.output}")


def _resolve(path: str) -> Path:
    return Path(path).expanduser().resolve()
