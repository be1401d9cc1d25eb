"""What the recorded tables add up to; for their numbers see test_goldens.py."""

import jax
import numpy as np
import pytest

from fcn_jax.models.layer_table import finest_stride, layer_table, output_stride
from fcn_jax.models.zoo import get_model


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
def test_fc8_of_the_atrous_networks_has_their_stride(stride):
    name = {8: "vgg16_deeplab_largefov", 4: "vgg16_deeplab_atrous45"}[stride]
    rows = {
        row.name: row for row in layer_table(get_model(name, num_classes=2), height=65, width=65)
    }
    assert rows["fc8"].stride == stride
    assert rows["fc8"].height == 64 // stride + 1


@pytest.mark.parametrize(
    ("name", "options", "finest", "coarsest"),
    [
        ("vgg16_fcn32s", {}, 32, 32),
        ("vgg16_fcn8s", {}, 8, 32),
        ("vgg16_fcn8s", {"fusion": "concat"}, 8, 32),
        ("vgg16_fcn8s", {"upsampling": "learned"}, 8, 32),
        ("vgg16_fcn2s", {}, 2, 32),
        ("vgg16_fcn8s", {"skips": ("data",)}, 1, 32),
        ("alexnet_fcn32s", {}, 32, 32),
        ("resnet18_fcn16s", {}, 16, 32),
        ("mobilenetv2_fcn4s", {}, 4, 32),
        ("mobilenetv2_deeplab_largefov", {"output_stride": 16}, 16, 16),
        ("vgg16_deeplab", {}, 8, 8),
        ("vgg16_deeplab_atrous45", {}, 4, 4),
        ("vgg16_deeplab_aspp", {}, 8, 8),
        ("vgg16_deeplab_msc", {}, 1, 8),
        ("vgg16_deeplab_msc", {"sides": ("pool2", "pool3")}, 4, 8),
    ],
)
def test_strides_are_those_of_the_finest_map_that_is_scored_and_of_the_coarsest(
    name, options, finest, coarsest
):
    rows = layer_table(get_model(name, num_classes=2, width=1 / 32, **options), height=9, width=9)
    assert (finest_stride(rows), output_stride(rows)) == (finest, coarsest)
