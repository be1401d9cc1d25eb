"""Converts released weights into a file that section `init` of an experiment takes."""

import argparse
from pathlib import Path

from fcn_jax.errors import UserError

HELP = "convert a .caffemodel or a state dict of torch into weights to start from"
EXAMPLES = """\
python launch.py import_weights mobilenet_v2.safetensors --network=mobilenetv2 \\
    --output=weights/mobilenetv2_imagenet.safetensors --check=VOCdevkit/VOC2012/JPEGImages
python launch.py import_weights VGG_ILSVRC_16_layers.caffemodel --network=vgg16 --head=largefov \\
    --output=weights/vgg16_largefov.safetensors
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", help=".caffemodel, .safetensors, .npz or .pth")
    parser.add_argument(
        "--network",
        required=True,
        help="which one it is: vgg16, alexnet, resnet18, mobilenetv2, efficientnetlite0 ...",
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
        help="caffe, torchvision, tensorflow, efficientnet_lite, or caffe:R,G,B (Caffe's with this "
        "mean colour in 0..255), where neither the file's metadata nor its names tell",
    )
    parser.add_argument(
        "--mean", metavar="FILE", help="a .binaryproto whose mean colour the weights expect"
    )
    parser.add_argument(
        "--check",
        metavar="FOLDER",
        help="compare what the batch norms have stored, layer by layer, with the photos of this "
        "folder; the exit code is 1 if they disagree",
    )
    parser.add_argument("--report", action="store_true", help="say what became of every array")


def run(args: argparse.Namespace) -> int:
    from fcn_jax.weights.files import write_safetensors
    from fcn_jax.weights.importer import import_weights

    if not args.output.endswith(".safetensors"):
        raise UserError(f"--output={args.output} must end in .safetensors")
    for given in filter(None, (args.file, args.mean)):
        if _resolve(given) == _resolve(args.output):
            raise UserError(f"--output={args.output} is {given} itself; write to another file")
    photos = None
    if args.check:  # before anything slow: a folder without photos is a mistake of the user's
        from fcn_jax.train.norm_check import read_photos

        photos = read_photos(args.check)
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
    print(*imported.report.notes, sep="\n")
    print(f"wrote {args.output}: start from it with --config.init.weights={args.output}")
    return 0 if photos is None else _check(args.output, photos)


def _check(path: str, photos) -> int:
    """Prints how the file's batch norms compare with photos; returns the exit code."""
    from fcn_jax.train.norm_check import check_weights
    from fcn_jax.weights.network_file import load_weights

    weights = load_weights(path)
    check = check_weights(weights, photos)
    if check is None:
        print("there is nothing to check: these weights have no batch norm")
        return 0
    options = ", ".join(f"{name}={value}" for name, value in weights.requires.items())
    print(f"{weights.network} {options} on {len(photos)} photos:\n{check}")
    return 0 if check.first_disagreement is None else 1


def _resolve(path: str) -> Path:
    return Path(path).expanduser().resolve()
