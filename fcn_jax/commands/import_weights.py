"""Converts released weights into a file that section `init` of an experiment takes."""

import argparse
from functools import partial
from pathlib import Path
from typing import Any

from fcn_jax.atomic_file import local_path
from fcn_jax.errors import UserError

HELP = "convert a .caffemodel or a state dict of torch into weights to start from"
EXAMPLES = """\
python launch.py import_weights mobilenet_v2.safetensors --network=mobilenetv2 \\
    --output=weights/mobilenetv2_imagenet.safetensors --check=VOCdevkit/VOC2012/JPEGImages
python launch.py import_weights VGG_ILSVRC_16_layers.caffemodel --network=vgg16 --head=largefov \\
    --output=weights/vgg16_largefov.safetensors
python launch.py import_weights deeplabv3_resnet50_coco-cd0a2569.pth \
    --network=resnet50_deeplabv3_torchvision --output=weights/deeplabv3_resnet50.safetensors
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", help=".caffemodel, .safetensors, .npz or .pth")
    parser.add_argument(
        "--network",
        required=True,
        help="which one it is: vgg16, alexnet, resnet18, mobilenetv2, efficientnetlite0 ...; or a "
        "whole segmentation network: resnet50_fcn_torchvision, resnet50_deeplabv3_torchvision, the "
        "same with resnet101, mobilenetv2_deeplabv3 (TF-slim's)",
    )
    parser.add_argument(
        "--classes",
        metavar="FILE",
        help="names of a whole network's classes, one a line (21 are VOC's unless this is given)",
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
    from fcn_jax.weights.importer import import_weights, import_whole
    from fcn_jax.weights.whole_networks import WHOLE_NETWORKS

    if not args.output.endswith(".safetensors"):
        raise UserError(f"--output={args.output} must end in .safetensors")
    for given in filter(None, (args.file, args.mean)):
        if _resolve(given) == _resolve(args.output):
            raise UserError(f"--output={args.output} is {given} itself; write to another file")
    photos = None
    if args.check:  # before anything slow: a folder without photos is a mistake of the user's
        from fcn_jax.train.norm_check import read_photos

        photos = read_photos(args.check)
    whole = args.network in WHOLE_NETWORKS
    if args.classes and not whole:
        raise UserError(
            f"--classes goes with a whole network: --network={', '.join(WHOLE_NETWORKS)}"
        )
    if whole:
        if args.preprocess or args.mean or args.check:
            raise UserError(
                f"{args.network} is imported whole and as it is: leave out --preprocess, --mean "
                "and --check"
            )
        imported = import_whole(
            args.file, args.network, find_labels=partial(_find_labels, args.classes)
        )
    else:
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
    if whole:
        print(f"segment pictures with it: python launch.py predict --network={args.output} ...")
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


def _find_labels(file: str | None, num_classes: int) -> dict[str, Any]:
    """Returns the label set of a network that others trained."""
    from fcn_jax.data.files.classes_txt import read_classes
    from fcn_jax.data.sets import voc

    if file:
        if not local_path(file).is_file():
            raise UserError(f"--classes={file} is no file; give one with a class a line")
        labels = read_classes(local_path(file)).labels
    else:
        labels = voc.LABELS
    if labels.num_classes != num_classes:
        whose = file or "VOC2012"
        raise UserError(
            f"the network tells {num_classes} classes, and {whose} has {labels.num_classes}; "
            "--classes=FILE names them, one a line in their order"
        )
    return labels.to_dict()


def _resolve(path: str) -> Path:
    return Path(path).expanduser().resolve()
