"""Segmentation networks of others that are networks of the zoo: backbone, head and all.

Source: the modules of torchvision.models.segmentation (fcn.py, deeplabv3.py), whose state dicts
these are; tensorflow/models (deeplab/model.py on slim/nets/mobilenet), whose variables have the
names, with batch norm folded into the convolutions.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from fcn_jax.errors import UserError
from fcn_jax.weights.axes import Arrays, format_names, format_shape, hwio_to_oihw, oihw_to_hwio
from fcn_jax.weights.backbone_names import mobilenet_v2, resnet
from fcn_jax.weights.naming import COUNTER, TENSORFLOW, TORCHVISION, NamedLayer
from fcn_jax.weights.requirements import REQUIRED_OPTIONS
from fcn_jax.weights.transplant import COPIED, UNUSED, Row

TF_SLIM = "tf_slim"


class WholeNetwork(NamedTuple):
    """How somebody else stores a network of the zoo.

    Attributes:
        title: The network in words.
        origin: Whose names they are.
        backbone: Name of the backbone; one of `backbone_names.NAMINGS`.
        model: Section `model` that makes the network, but for what the arrays decide.
        layers: All its layers.
        optional: Layers of an auxiliary score, which a file may lack.
        preprocess: How it expects an image; one of `papers.PREPROCESS`.
        requires: Options of the backbone that the weights depend on.
        pooling_last: Whether the mean of the image comes last where `concat_projection` stacks it.
        note: What a user has to know; empty for nothing.
    """

    title: str
    origin: str
    backbone: str
    model: Mapping[str, Any]
    layers: tuple[NamedLayer, ...]
    optional: tuple[NamedLayer, ...] = ()
    preprocess: str = TORCHVISION
    requires: Mapping[str, Any] = {}
    pooling_last: bool = False
    note: str = ""


def _torchvision(depth: int, *, deeplab: bool) -> WholeNetwork:
    backbone = [
        layer._replace(name=f"backbone.{layer.name}", norm=f"backbone.{layer.norm}")
        for layer in resnet(depth).layers
    ]
    if deeplab:
        kind = "deeplabv3"
        places = {
            **{f"aspp{n}": ("classifier.0.convs", f"{n}.0", f"{n}.1") for n in range(4)},
            "image_pooling": ("classifier.0.convs", "4.1", "4.2"),
            "concat_projection": ("classifier.0.project", "0", "1"),
            "decoder_conv0": ("classifier", "1", "2"),
        }
        score = NamedLayer("logits", (), "classifier.4")
    else:
        kind, places = "fcn", {"fc6": ("classifier", "0", "1")}
        score = NamedLayer("fc8", (), "classifier.4")
    head = [
        NamedLayer(path, (), f"{stem}.{conv}", f"{stem}.{norm}", has_bias=False)
        for path, (stem, conv, norm) in places.items()
    ]
    return WholeNetwork(
        title=f"{kind}_resnet{depth} of torchvision",
        origin=TORCHVISION,
        backbone=f"resnet{depth}",
        model={"name": f"resnet{depth}_{kind}_torchvision", "norm": "frozen"},
        layers=(*backbone, *head, score),
        optional=(
            NamedLayer("aux_conv", (), "aux_classifier.0", "aux_classifier.1", has_bias=False),
            NamedLayer("aux_score", (), "aux_classifier.4"),
        ),
        pooling_last=True,
    )


def _tf_slim_mobilenet() -> WholeNetwork:
    """DeepLab v3 on MobileNetV2 with batch norm folded in, ASPP without atrous layers."""
    backbone = [
        layer._replace(name=_name_slim(layer.path), norm="", has_bias=True)
        for layer in mobilenet_v2(first_expand=False, conv_last=False).layers
    ]
    places = {
        "aspp0": "aspp0",
        "image_pooling": "image_pooling",
        "concat_projection": "concat_projection",
        "logits": "logits/semantic",
    }
    return WholeNetwork(
        title="DeepLab v3 on MobileNetV2 in TF-slim's names",
        origin=TF_SLIM,
        backbone="mobilenetv2",
        model={
            "name": "mobilenetv2_deeplabv3",
            "norm": "none",
            "output_stride": 8,
            "head_activation": "relu6",
        },
        layers=(*backbone, *(NamedLayer(path, (), name) for path, name in places.items())),
        preprocess=TENSORFLOW,
        requires=REQUIRED_OPTIONS["mobilenetv2"],
        note="its release sees pictures with a longer side of 513 pixels: predict and evaluate do "
        "so with --canvas=513",
    )


def _name_slim(path: str) -> str:
    """Names a layer of MobileNetV2 as TF-slim does, which counts bottlenecks from 0."""
    _, block, *part = path.split("/")
    if not part:
        return "MobilenetV2/Conv"
    number = int(block.removeprefix("bottleneck")) - 1
    return f"MobilenetV2/expanded_conv{f'_{number}' if number else ''}/{part[0]}"


WHOLE_NETWORKS: Mapping[str, WholeNetwork] = {
    each.model["name"]: each
    for each in (
        *(_torchvision(depth, deeplab=deeplab) for deeplab in (False, True) for depth in (50, 101)),
        _tf_slim_mobilenet(),
    )
}


class ImportedNetwork(NamedTuple):
    """A network made of somebody else's file.

    Attributes:
        whole: How it was stored.
        model: Section `model` of the network.
        arrays: Float32 arrays by path.
        rows: What became of each array of the file.
    """

    whole: WholeNetwork
    model: dict[str, Any]
    arrays: dict[str, np.ndarray]
    rows: tuple[Row, ...]

    @property
    def num_classes(self) -> int:
        """Number of classes that it scores."""
        return self.arrays[f"params/{self.whole.layers[-1].path}/bias"].size


def import_network(source: Arrays, name: str) -> ImportedNetwork:
    """Gives the arrays of a whole network their names here.

    Args:
        source: Arrays of a file by the names there.
        name: One of `WHOLE_NETWORKS`.
    Raises:
        UserError: The file holds another network.
    """
    whole = WHOLE_NETWORKS[name]
    there = _to_torch_axes(source)
    has_aside = any(layer.kernel[1] in there for layer in whole.optional)
    layers = whole.layers if not has_aside else (*whole.optional, *whole.layers)
    arrays, rows = {}, []
    for layer in layers:
        for leaf, array_name in (layer.kernel, *layer.vectors.items()):
            if array_name not in there:
                raise UserError(f"it is no {whole.title}: it has no {array_name}")
            array = np.asarray(there[array_name], np.float32)
            if not np.isfinite(array).all():
                raise UserError(f"{array_name} holds numbers that are not finite")
            if leaf.endswith("/kernel"):
                if array.ndim != 4 or (layer.shape and array.shape != layer.shape):
                    expected = (
                        format_shape(layer.shape) if layer.shape else "a convolution's kernel"
                    )
                    shape = format_shape(array.shape)
                    raise UserError(f"{array_name} is {shape} where {expected} is expected")
                array = oihw_to_hwio(array)
                if whole.pooling_last and layer.path == "concat_projection":
                    array = _roll_branches(array, 1)
            arrays[leaf] = np.ascontiguousarray(array)
            rows.append(Row(leaf, COPIED, array_name, there[array_name].shape, array.shape))
    used = {row.source for row in rows}
    left = [each for each in there if each not in used and not COUNTER.fullmatch(each)]
    if left:
        raise UserError(f"it is no {whole.title}: there is no place for its {format_names(left)}")
    aside = {} if has_aside or not whole.optional else {"aux": ""}
    counters = [Row("", UNUSED, name, there[name].shape, ()) for name in there if name not in used]
    names = dict(zip(there, source, strict=True))  # as the file has them
    rows = [row._replace(source=names[row.source]) for row in (*rows, *counters)]
    model = {**whole.model, **aside, "preprocess": whole.preprocess}
    return ImportedNetwork(whole, model, arrays, tuple(rows))


def export_network(arrays: Arrays, name: str) -> dict[str, np.ndarray]:
    """Gives the arrays of a network here the names and axes that its owner gives them.

    `import_network` makes the very arrays of them again.

    Args:
        arrays: Arrays of the network by path.
        name: One of `WHOLE_NETWORKS`.
    Raises:
        UserError: The network has other layers than its owner's.
    """
    whole = WHOLE_NETWORKS[name]
    has_aside = any(layer.kernel[0] in arrays for layer in whole.optional)
    layers = whole.layers if not has_aside else (*whole.layers, *whole.optional)
    exported, used = {}, set()
    for layer in layers:
        for leaf, array_name in (layer.kernel, *layer.vectors.items()):
            if leaf not in arrays:
                raise UserError(f"{whole.title} has no counterpart of this one: it has no {leaf}")
            used.add(leaf)
            array = arrays[leaf]
            if leaf.endswith("/kernel"):
                if whole.pooling_last and layer.path == "concat_projection":
                    array = _roll_branches(array, -1)
                array = hwio_to_oihw(array)
            exported[array_name] = np.ascontiguousarray(array)
    if left := [leaf for leaf in arrays if leaf not in used]:
        raise UserError(
            f"{whole.title} has no place for {format_names(left)}; leave --names out to export the "
            "network as it is"
        )
    return exported if whole.origin != TF_SLIM else _to_slim_axes(exported)


def find_whole(source: Arrays) -> str:
    """Returns the name of the network of the zoo whose layers a file has; empty for none."""
    names = set(_to_torch_axes(source))
    fitting = {
        name: len(whole.layers)
        for name, whole in WHOLE_NETWORKS.items()
        if names >= {layer.kernel[1] for layer in whole.layers}
    }
    # ResNet-101 has all layers of ResNet-50.
    return max(fitting, key=fitting.get, default="")


def _to_slim_axes(arrays: Arrays) -> dict[str, np.ndarray]:
    slim = {}
    for name, array in arrays.items():
        layer, _, kind = name.rpartition(".")
        if kind == "bias":
            slim[f"{layer}/biases"] = array
        elif layer.endswith("/depthwise"):
            slim[f"{layer}/depthwise_weights"] = np.ascontiguousarray(array.transpose(2, 3, 0, 1))
        else:
            slim[f"{layer}/weights"] = np.ascontiguousarray(array.transpose(2, 3, 1, 0))
    return slim


def _roll_branches(kernel: np.ndarray, places: int) -> np.ndarray:
    """Moves the last of the branches that a projection stacks to the front, or back by -1."""
    channels = kernel.shape[3]  # each branch has as many as the projection
    return np.roll(kernel, places * channels, axis=2)


def _to_torch_axes(source: Arrays) -> dict[str, np.ndarray]:
    """Gives TF-slim's arrays torch's names for their kinds and its order of axes."""
    arrays = {}
    for name, array in source.items():
        layer, _, kind = name.rpartition("/")
        if kind == "depthwise_weights" and array.ndim == 4:
            arrays[f"{layer}.weight"] = array.transpose(2, 3, 0, 1)
        elif kind == "weights" and array.ndim == 4:
            arrays[f"{layer}.weight"] = array.transpose(3, 2, 0, 1)
        elif kind == "biases":
            arrays[f"{layer}.bias"] = array
        else:
            arrays[name] = array
    return arrays
