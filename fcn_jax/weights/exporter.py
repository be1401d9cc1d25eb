"""Export of this project's weights under the names, and in the axes, of Caffe or torchvision."""

from itertools import pairwise

import numpy as np

from fcn_jax.errors import UserError
from fcn_jax.weights import axes
from fcn_jax.weights.axes import Arrays
from fcn_jax.weights.backbone_names import NAMINGS
from fcn_jax.weights.naming import CAFFE, HEAD_LAYER, TORCHVISION, NamedLayer, Naming, check_known
from fcn_jax.weights.transplant import layer_path


def export_weights(arrays: Arrays, network: str, *, origin: str) -> dict[str, np.ndarray]:
    """Gives a network's arrays the names and axes that they have in `caffe` or `torchvision`.

    A backbone that was imported comes back as it was, bit for bit, except that a bias that was
    folded into a batch norm comes back as zeros. An fc6 of ImageNet's size comes back as a matrix,
    and fc7 with it, whether or not the file held matrices. Every other layer of the head comes back
    as a convolution under its name here: an fc6 of other taps, and fc8 whatever its name was.
    `import_weights` with head `own` reads such a file and gives these very arrays again, if the
    backbone has the width of the real network.

    Args:
        arrays: Arrays of a network by path.
        network: One of `backbone_names.NAMINGS`.
        origin: Whose names are wanted, `caffe` or `torchvision`.
    Raises:
        UserError: There is no such network there, or a leaf has no name there.
    """
    check_known("network", network, NAMINGS)
    check_known("origin", origin, (CAFFE, TORCHVISION))
    naming = _find_export_naming(arrays, network, origin)
    layers = [layer for layer in naming.layers if layer.kernel[0] in arrays]
    paths = [_head_path(leaf) for leaf in arrays if "/backbone/" not in leaf]
    names = {}
    fc6 = arrays.get("params/fc6/kernel")
    if fc6 is not None and naming.fc6_kernel == fc6.shape[0]:
        names = dict(zip(("fc6", "fc7"), naming.classifier, strict=False))
    for path in dict.fromkeys(paths):
        name = names.get(path, path)
        norm = f"{name}.norm" if f"params/{path}/norm/scale" in arrays else ""
        layers.append(NamedLayer(path, (), name, norm, has_bias=f"params/{path}/bias" in arrays))

    exported = {}
    for layer in layers:
        leaf, name = layer.kernel
        kernel = arrays[leaf]
        if layer.name.startswith("upscore"):
            exported[name] = axes.hwio_to_iohw(kernel)
        else:
            exported[name] = axes.hwio_to_oihw(kernel)
        if layer.path in names:
            exported[name] = exported[name].reshape(kernel.shape[3], -1)
        exported |= {name: arrays[leaf] for leaf, name in layer.vectors.items()}
        exported |= {name: np.zeros_like(arrays[leaf]) for leaf, name in layer.folded.items()}
    return exported


def _find_export_naming(arrays: Arrays, network: str, origin: str) -> Naming:
    """Returns the smallest naming that names every leaf of the backbone."""
    backbone = {leaf for leaf in arrays if "/backbone/" in leaf}
    fitting = {}
    for naming in NAMINGS[network]:
        leaves = {leaf for layer in naming.layers for leaf in (layer.kernel[0], *layer.vectors)}
        if naming.origin == origin and backbone <= leaves and _same_groups(arrays, naming):
            fitting[naming] = len(leaves)
    if not backbone or not fitting:
        raise UserError(
            f"this {network} has no counterpart with names of {origin} (of Caffe's nets ResNet-50 "
            "and 101 alone have batch norm, torchvision's AlexNet has no groups); leave --names "
            "out, or give other ones"
        )
    return min(fitting, key=fitting.get)


def _same_groups(arrays: Arrays, naming: Naming) -> bool:
    """Says whether the convolutions of a plain stack have as many groups here as in the naming."""
    if not naming.fc6_kernel:
        return True
    there = [layer.shape for layer in naming.layers]
    kernels = [arrays[leaf] for layer in naming.layers if (leaf := layer.kernel[0]) in arrays]
    here = [kernel.shape[::-1] for kernel in kernels]
    groups = [
        [before[0] // after[1] for before, after in pairwise(shapes)] for shapes in (there, here)
    ]
    return groups[0] == groups[1]


def _head_path(leaf: str) -> str:
    path = layer_path(leaf)
    if not HEAD_LAYER.fullmatch(path):
        raise UserError(
            f"{leaf} has no name elsewhere; leave --names out to export the network as it is"
        )
    return path
