"""The recorded tables of the released networks, row by row."""

import jax
import numpy as np
import pytest

from fcn_jax.models.table import layer_table
from fcn_jax.models.zoo import get_model
from tests import oracles

GOLDEN = oracles.load_golden("networks")
NETS = {
    "voc_fcn32s": "vgg16_fcn32s",
    "voc_fcn16s": "vgg16_fcn16s",
    "voc_fcn8s": "vgg16_fcn8s",
    "deeplab_largefov_321": "vgg16_deeplab_largefov",
    "deeplab_largefov_513": "vgg16_deeplab_largefov",
}


def _table(net):
    size = GOLDEN[net]["size"]
    return layer_table(get_model(NETS[net], num_classes=21), height=size, width=size)


def _golden(net, row_type, *keys):
    layers = GOLDEN[net]["layers"]
    return {
        layer["name"]: tuple(layer[key] for key in keys)
        for layer in layers
        if layer["type"] in row_type
    }


@pytest.mark.parametrize("net", NETS)
def test_blobs_of_released_networks_are_unchanged(net):
    expected = {layer["name"]: tuple(layer["out"]) for layer in GOLDEN[net]["layers"]}
    if "deeplab" in net:  # the release trains on every eighth pixel instead of upsampling
        size = GOLDEN[net]["size"]
        expected |= {"fc8_interp": (21, size, size), "fc8_crop": (21, size, size)}
    actual = {row.name: (row.channels, row.height, row.width) for row in _table(net)}
    assert actual == expected


@pytest.mark.parametrize("net", NETS)
def test_geometry_of_released_networks_is_unchanged(net):
    expected = _golden(net, ("conv", "pool"), "field", "stride", "start")
    actual = {row.name: (row.field, row.stride, row.start) for row in _table(net)}
    assert {name: actual[name] for name in expected} == expected


@pytest.mark.parametrize("net", [net for net in NETS if "fcn" in net])
def test_crops_of_released_networks_are_unchanged(net):
    rows = {row.name: row for row in _table(net)}
    expected = _golden(net, ("crop",), "offset")
    actual = {name: (row.layer.offset,) for name, row in rows.items() if row.kind == "Crop"}
    assert actual == expected


@pytest.mark.parametrize("net", NETS)
def test_parameters_of_released_networks_are_unchanged(net):
    expected = _golden(net, ("conv",), "params")
    rows = _table(net)
    assert {row.name: (row.params,) for row in rows if row.kind == "Conv"} == expected
    assert sum(row.params for row in rows) == GOLDEN[net]["params"]


@pytest.mark.parametrize("net", NETS)
def test_multiply_adds_of_released_networks_are_unchanged(net):
    expected = _golden(net, ("conv",), "macs")
    convs = [row for row in _table(net) if row.kind == "Conv"]
    assert {row.name: (row.multiply_adds,) for row in convs} == expected
    assert sum(row.multiply_adds for row in convs) == GOLDEN[net]["macs"]


@pytest.mark.parametrize("name", ["vgg16_fcn8s", "vgg16_deeplab_atrous45"])
@pytest.mark.parametrize("norm", ["none", "batch"])
def test_parameters_of_the_rows_sum_to_those_of_the_model(name, norm):
    model = get_model(name, num_classes=5, width=0.25, fc_channels=32, norm=norm)
    images = jax.ShapeDtypeStruct((1, 64, 64, 3), "float32")
    shapes = jax.eval_shape(
        lambda images: model.init(jax.random.key(0), images, train=False), images
    )
    total = sum(np.prod(leaf.shape) for leaf in jax.tree.leaves(shapes["params"]))
    assert sum(row.params for row in layer_table(model, height=64, width=64)) == total


def test_the_last_row_lies_on_the_image():
    for name in ("vgg16_fcn16s", "vgg16_deeplab_largefov"):
        *_, last = layer_table(get_model(name, num_classes=4), height=40, width=57)
        assert (last.height, last.width, last.channels) == (40, 57, 4)
        assert (last.stride, last.start) == (1, 0)


@pytest.mark.parametrize("stride", [4, 8])
def test_output_stride_of_the_atrous_networks(stride):
    name = {8: "vgg16_deeplab_largefov", 4: "vgg16_deeplab_atrous45"}[stride]
    rows = {
        row.name: row for row in layer_table(get_model(name, num_classes=2), height=65, width=65)
    }
    assert rows["fc8"].stride == stride
    assert rows["fc8"].height == 64 // stride + 1
