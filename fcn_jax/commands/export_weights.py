"""Writes the weights of a run under the names that Caffe or torchvision give them."""

import argparse
import contextlib
import dataclasses
import json

from fcn_jax.errors import UserError

HELP = "write the weights of a run with the names of Caffe or torchvision"
EXAMPLES = """\
python launch.py export_weights --workdir=runs/voc_fcn8s --names=caffe --output=fcn8s.safetensors
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--workdir", required=True, metavar="FOLDER", help="the run folder")
    parser.add_argument("--names", required=True, help="caffe or torchvision")
    parser.add_argument("--output", required=True, metavar="FILE", help="the .safetensors to write")
    parser.add_argument("--step", default="last", help="last (default), best or a number")


def run(args: argparse.Namespace) -> None:
    from flax.traverse_util import flatten_dict

    from fcn_jax.models.zoo import get_model
    from fcn_jax.train.checkpoint import Checkpoints
    from fcn_jax.train.run_folder import RunFolder
    from fcn_jax.weights.exporter import export_weights
    from fcn_jax.weights.files import write_safetensors

    if not args.output.endswith(".safetensors"):
        raise UserError(f"--output={args.output} must end in .safetensors")
    folder = RunFolder(args.workdir)
    section = folder.read_config()["model"]
    model = get_model(**section, num_classes=1)  # however many: an image is prepared the same
    checkpoints = Checkpoints(folder.path / "checkpoints", read_only=True)
    with contextlib.closing(checkpoints):
        step = checkpoints.find_step(args.step)
        variables = flatten_dict(checkpoints.read_variables(step), sep="/")
    arrays = export_weights(variables, section["name"].split("_")[0], origin=args.names)
    metadata = {
        "network": section["name"],
        "step": str(step),
        "preprocess": json.dumps(dataclasses.asdict(model.backbone.preprocess)),
    }
    write_safetensors(args.output, arrays, metadata)
    print(f"wrote {len(arrays)} arrays of step {step} to {args.output}")
