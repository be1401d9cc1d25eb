"""Export of this project's weights under the names and layouts of Caffe or torchvision."""

from collections.abc import Mapping
from itertools import pairwise

import numpy as np

from fcn_jax.errors import UserError
from fcn_jax.weights import axes as layouts
from fcn_jax.weights.naming import HEAD_LAYER, LAYOUTS, PREPROCESS, Layer, Layout, check_known
from fcn_jax.weights.transplant import layer_path

Arrays = Mapping[str, np.ndarray]


def export_weights(arrays: Arrays, network: str, *, origin: str) -> dict[str, np.ndarray]:
    """Gives a network's arrays the names and layouts that they have in `caffe` or `torchvision`.

    A backbone that was imported comes back as it was, bit for bit, except that a bias that went into
    a batch norm comes back as zeros. An fc6 of ImageNet's size comes back as a matrix, and fc7 with
    it, however they were stored. All else in the head is a convolution and has its name here: an
    fc6 of other taps, fc8 whatever it was called. `import_weights` takes such a head with `own`,
    and gives these very arrays again, if the backbone is of the real network's width.

    Raises:
        ValueError: if the network is not laid out like this there, or a leaf has no name there.
    """
    check_known("network", network, LAYOUTS)
    check_known("origin", origin, PREPROCESS)
    layout = _find_export_layout(arrays, network, origin)
    layers = [layer for layer in layout.layers if layer.kernel[0] in arrays]
    paths = [_head_path(leaf) for leaf in arrays if "/backbone/" not in leaf]
    names = {}
    fc6 = arrays.get("params/fc6/kernel")
    if fc6 is not None and layout.fc6_kernel == fc6.shape[0]:
        names = dict(zip(("fc6", "fc7"), layout.classifier, strict=False))
    for path in dict.fromkeys(paths):
        name = names.get(path, path)
        norm = f"{name}.norm" if f"params/{path}/norm/scale" in arrays else ""
        layers.append(Layer(path, (), name, norm, has_bias=f"params/{path}/bias" in arrays))

    exported = {}
    for layer in layers:
        leaf, name = layer.kernel
        kernel = arrays[leaf]
        if layer.name.startswith("upscore"):
            exported[name] = layouts.hwio_to_iohw(kernel)
        else:
            exported[name] = layouts.hwio_to_oihw(kernel)
        if layer.path in names:
            exported[name] = exported[name].reshape(kernel.shape[3], -1)
        exported |= {name: arrays[leaf] for leaf, name in layer.vectors.items()}
        exported |= {name: np.zeros_like(arrays[leaf]) for leaf, name in layer.folded.items()}
    return exported


def _find_export_layout(arrays: Arrays, network: str, origin: str) -> Layout:
    """Returns the smallest layout that has a name for everything in the backbone."""
    backbone = {leaf for leaf in arrays if "/backbone/" in leaf}
    fitting = {}
    for layout in LAYOUTS[network]:
        leaves = {leaf for layer in layout.layers for leaf in (layer.kernel[0], *layer.vectors)}
        if layout.origin == origin and backbone <= leaves and _same_groups(arrays, layout):
            fitting[layout] = len(leaves)
    if not backbone or not fitting:
        raise UserError(
            f"this {network} has no counterpart with names of {origin}: neither batch norm in "
            "Caffe's nets, nor groups in torchvision's AlexNet"
        )
    return min(fitting, key=fitting.get)


def _same_groups(arrays: Arrays, layout: Layout) -> bool:
    """Says whether the convolutions of a plain stack see all channels before them, or as many."""
    if not layout.fc6_kernel:
        return True
    there = [layer.shape for layer in layout.layers]
    kernels = [arrays[leaf] for layer in layout.layers if (leaf := layer.kernel[0]) in arrays]
    here = [kernel.shape[::-1] for kernel in kernels]
    groups = [
        [before[0] // after[1] for before, after in pairwise(shapes)] for shapes in (there, here)
    ]
    return groups[0] == groups[1]


def _head_path(leaf: str) -> str:
    path = layer_path(leaf)
    if not HEAD_LAYER.fullmatch(path):
        raise UserError(f"{leaf} has no name elsewhere")
    return path
