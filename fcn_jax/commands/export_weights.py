"""Writes a trained network into one file: for this project, or with the names of others."""

import argparse
import dataclasses
import json

from fcn_jax.errors import UserError

HELP = "write a trained network into one file, here or with the names of Caffe or torchvision"
EXAMPLES = """\
python launch.py export_weights --workdir=runs/camvid_fcn8s --output=fcn8s.safetensors
python launch.py export_weights --workdir=runs/voc_fcn8s --names=caffe --output=fcn8s.safetensors
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--workdir", required=True, metavar="FOLDER", help="the run folder")
    parser.add_argument(
        "--names",
        help="caffe, torchvision or (of mobilenetv2_deeplabv3) tf_slim: weights alone, for other "
        "projects; without it the file has everything that fcn_jax.load needs",
    )
    parser.add_argument("--output", required=True, metavar="FILE", help="the .safetensors to write")
    parser.add_argument(
        "--float16", action="store_true", help="round kernels to float16: half the size"
    )
    parser.add_argument("--step", default="last", help="last (default), best or a number")


def run(args: argparse.Namespace) -> None:
    from fcn_jax.models.zoo import get_weight_options
    from fcn_jax.train.trained import load
    from fcn_jax.weights.exporter import export_weights
    from fcn_jax.weights.files import write_safetensors
    from fcn_jax.weights.whole_networks import TF_SLIM, WHOLE_NETWORKS, export_network

    if not args.output.endswith(".safetensors"):
        raise UserError(f"--output={args.output} must end in .safetensors")
    if args.float16 and args.names:
        raise UserError("--float16 is of this project's own file: leave out --names")
    net = load(args.workdir, step=args.step)
    step = net.origin["step"]
    if not args.names:
        net.save(args.output, float16=args.float16)
        print(f"wrote {net.section['name']} of step {step} to {args.output}")
        print(f'use it: fcn_jax.load("{args.output}"), or --config.init.weights={args.output}')
        return
    backbone = net.model.backbone
    whole = WHOLE_NETWORKS.get(net.section["name"])
    if args.names == TF_SLIM and not (whole and whole.origin == TF_SLIM):
        raise UserError(
            f"--names={TF_SLIM} is for mobilenetv2_deeplabv3, and this is {net.section['name']}; "
            "give caffe or torchvision, or leave --names out"
        )
    if whole and whole.origin == args.names:
        arrays = export_network(net.arrays, net.section["name"])
    else:
        arrays = export_weights(net.arrays, backbone.weights_name, origin=args.names)
    metadata = {
        "network": net.section["name"],
        "step": str(step),
        "preprocess": json.dumps(dataclasses.asdict(backbone.preprocess)),
        "requires": json.dumps(get_weight_options(net.model)),
    }
    write_safetensors(args.output, arrays, metadata)
    print(f"wrote {len(arrays)} arrays of step {step} to {args.output}")
