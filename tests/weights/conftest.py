"""Files of weights, written field by field as Caffe writes them."""

import os
from pathlib import Path

import numpy as np
import pytest

from fcn_jax.weights.backbone_names import caffe_resnet

CONVOLUTION, INNER_PRODUCT, SCALE, BATCH_NORM = "conv", "fc", "scale", "norm"
TYPES = {
    "v2": {
        CONVOLUTION: b"Convolution",
        INNER_PRODUCT: b"InnerProduct",
        SCALE: b"Scale",
        BATCH_NORM: b"BatchNorm",
    },
    "v1": {CONVOLUTION: 4, INNER_PRODUCT: 14},
    "v0": {CONVOLUTION: b"conv", INNER_PRODUCT: b"innerproduct"},
}
# Fields of name, type and blobs; see caffe.proto.
FIELDS = {"v2": (1, 2, 7), "v1": (4, 5, 6), "v0": (1, 2, 50)}


def varint(value: int) -> bytes:
    """Writes 7 bits a byte, lowest first."""
    head = []
    while value > 0x7F:
        head.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*head, value])


def field(number: int, value: int | bytes) -> bytes:
    """Writes an integer, or bytes with their length."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def blob(array: np.ndarray, *, legacy: bool, packed: bool = True) -> bytes:
    """Writes a BlobProto; float64 goes to double_data."""
    sizes = array.shape
    if legacy:
        sizes = (1,) * (4 - len(sizes)) + sizes
        shape = b"".join(field(number, size) for number, size in enumerate(sizes, start=1))
    else:
        shape = field(7, field(1, b"".join(map(varint, sizes))))
    number, wire = (8, 1) if array.dtype == np.float64 else (5, 5)
    if packed:
        return shape + field(number, array.tobytes())
    tag = varint(number << 3 | wire)
    return shape + b"".join(tag + value.tobytes() for value in array.ravel())


def net(layers: dict, *, form: str = "v2", packed: bool = True, legacy: bool | None = None):
    """Yields the bytes of a NetParameter layer by layer; a layer is a list of blobs.

    What type it has shows in the number of blobs, and of the first one's axes.
    """
    legacy = form != "v2" if legacy is None else legacy
    yield field(1, b"net") + field(100 if form == "v2" else 2, field(2, b"data"))  # no weights
    for name, blobs in layers.items():
        kind = {4: CONVOLUTION, 2: INNER_PRODUCT, 1: SCALE}[blobs[0].ndim]
        kind = BATCH_NORM if len(blobs) == 3 else kind
        name_field, type_field, blobs_field = FIELDS[form]
        layer = field(name_field, name.encode()) + field(type_field, TYPES[form][kind])
        for array in blobs:
            layer += field(blobs_field, blob(array, legacy=legacy, packed=packed))
        yield (
            field(100, layer)
            if form == "v2"
            else field(2, field(1, layer) if form == "v0" else layer)
        )


def write_caffemodel(path: Path, layers: dict, **options) -> Path:
    """Writes a network; see `net`."""
    with open(path, "wb") as file:
        file.writelines(net(layers, **options))
    return path


def draw_vgg16(rng: np.random.Generator, *, fc_channels: int) -> dict:
    """Draws the blobs of VGG16's layers as Caffe has them, with a narrower classifier."""
    layers, channels = {}, 3
    for stage, (convs, outs) in enumerate([(2, 64), (2, 128), (3, 256), (3, 512), (3, 512)], 1):
        for index in range(1, convs + 1):
            layers[f"conv{stage}_{index}"] = (outs, channels, 3, 3)
            channels = outs
    layers["fc6"] = (fc_channels, 512 * 7 * 7)
    layers["fc7"] = (fc_channels, fc_channels)
    layers["fc8"] = (1000, fc_channels)
    return {
        name: [rng.random(shape, np.float32), rng.random(shape[:1], np.float32)]
        for name, shape in layers.items()
    }


def draw_caffe_resnet(rng: np.random.Generator, depth: int, *, conv1_bias: bool) -> dict:
    """Draws the blobs of a ResNet's layers as Caffe has them."""
    count, layers = np.float32(999.98), {}  # as in files that were trained for long
    for layer in caffe_resnet(depth, conv1_bias=conv1_bias).layers:
        bias, mean, var, scale, shift = rng.random((5, layer.shape[0]), np.float32)
        layers[layer.name] = [rng.random(layer.shape, np.float32), *[bias][: layer.has_bias]]
        layers[layer.norm] = [mean * count, var * count, np.array([count])]
        layers[layer.scale] = [scale, shift]
    return layers


@pytest.fixture(scope="session")
def real_weights() -> Path:
    """The folder of real files; a test that asks for it is skipped where there is none."""
    folder = Path(os.environ.get("FCN_JAX_WEIGHTS", ""))
    if not (folder / "caffe").is_dir():
        pytest.skip("set FCN_JAX_WEIGHTS to a folder of real weights to run this")
    return folder


@pytest.fixture(scope="session")
def real_voc() -> Path:
    """The folder VOC2012 of real photos; a test that asks for it is skipped where there is none."""
    folder = Path(os.environ.get("FCN_JAX_VOC2012", "")) / "VOC2012"
    if not (folder / "JPEGImages").is_dir():
        pytest.skip("set FCN_JAX_VOC2012 to a folder VOCdevkit to run this")
    return folder
