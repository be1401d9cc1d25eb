"""ONNX: networks of each family compute in onnxruntime what they compute in jax."""

import importlib.util

import jax
import pytest

from fcn_jax.export import onnx_file, program
from tests.export.conftest import make_net

pytestmark = [
    pytest.mark.skipif(
        not all(map(importlib.util.find_spec, ("onnx", "onnxruntime"))),
        reason="ONNX needs onnx and onnxruntime",
    ),
]


@pytest.mark.parametrize(
    ("name", "options", "size"),
    [
        ("alexnet_fcn32s", {}, None),  # LRN, padded by 100, and a crop
        ("vgg16_deeplab_msc_largefov", {}, None),  # rates, average pools, many upsamplings
        ("resnet18_fcn32s", {"norm": "none"}, (40, 61)),  # learned upsampling, and no size to find
        # The mean of the whole image, a decoder, and several sizes of the image; any stretching.
        (
            "efficientnetlite0_deeplabv3plus",
            {"head_channels": 4, "norm": "none", "input_scales": (0.75,)},
            None,
        ),
        (
            "mobilenetv2_deeplabv3",
            {"head_channels": 4, "norm": "none", "upsampling": "half_pixel"},
            None,
        ),
    ],
)
def test_a_network_computes_the_same(draw_variables, tmp_path, monkeypatch, name, options, size):
    monkeypatch.setattr(program, "SIZES", ((2, 35, 50),))  # compiling takes nearly all of the time
    net, path = make_net(draw_variables, name, **options), tmp_path / "net.onnx"
    images = program.make_images("uint8", size)
    onnx_file.write(net, path, images)
    comparison = onnx_file.verify(net, path, images)
    assert 0 < comparison.difference < 1e-4
    assert len(jax.tree.leaves(net.variables)) > 10
