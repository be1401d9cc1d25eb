"""EfficientNet-Lite: its layers, its sizes, and the numbers that torch computes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fcn_jax.errors import MissingError, UserError
from fcn_jax.models.efficientnet import EfficientNetLite
from fcn_jax.models.layer_table import layer_table
from fcn_jax.models.layers import NormSpec
from fcn_jax.ops.papers import EFFICIENTNET_STRIDES, scale_efficientnet_lite
from fcn_jax.train.norm_check import backbone_variables
from fcn_jax.weights.files import read_weights
from fcn_jax.weights.importer import import_weights
from fcn_jax.weights.sources import find_package_file

# Kernel, stride and channels of the blocks of Lite0, as the keras model of the release prints them.
LITE0 = [
    (3, 1, 16),
    *[(3, 2, 24), (3, 1, 24)],
    *[(5, 2, 40), (5, 1, 40)],
    *[(3, 2, 80), (3, 1, 80), (3, 1, 80)],
    *[(5, 1, 112), (5, 1, 112), (5, 1, 112)],
    *[(5, 2, 192), (5, 1, 192), (5, 1, 192), (5, 1, 192)],
    (3, 1, 320),
]
CLASSIFIER = 1280 * 1000 + 1000


def test_rows_are_those_of_the_release():
    rows = {row.name: row for row in layer_table(EfficientNetLite(), height=64, width=64)}
    product, before = 2, 32
    for number, (kernel, stride, channels) in enumerate(LITE0, start=1):
        product *= stride
        name = f"bottleneck{number}"
        depthwise, project = rows[f"{name}/depthwise"], rows[f"{name}/project"]
        assert (depthwise.layer.kernel, depthwise.layer.stride) == (kernel, stride)
        assert (project.stride, project.channels) == (product, channels)
        assert (f"{name}/expand" in rows) == (number > 1)
        assert (f"{name}/fuse" in rows) == (stride == 1 and before == channels)
        before = channels
    assert f"bottleneck{number + 1}/project" not in rows and rows["conv_last"].channels == 1280


@pytest.mark.parametrize(
    ("variant", "total", "repeats", "channels"),
    [
        # Learned numbers that the released state dicts hold.
        (0, 4652008, [1, 2, 2, 3, 3, 4, 1], [16, 24, 40, 80, 112, 192, 320]),
        (1, 5416680, [1, 3, 3, 4, 4, 5, 1], [16, 24, 40, 80, 112, 192, 320]),
        (2, 6092072, [1, 3, 3, 4, 4, 5, 1], [16, 24, 48, 88, 120, 208, 352]),
    ],
)
def test_sizes_are_those_of_the_release(variant, total, repeats, channels):
    stages = scale_efficientnet_lite(variant)
    assert [stage.repeats for stage in stages] == repeats
    assert [stage.channels for stage in stages] == channels
    rows = layer_table(EfficientNetLite(variant=variant), height=32, width=32)
    assert sum(row.params for row in rows) == total - CLASSIFIER


def test_atrous_net_sampled_at_the_old_stride_equals_the_strided_net(rng, draw_variables):
    """Kernels of 5 at rates of 1, 2 and 4; `test_mobilenet` does it for kernels of 3."""
    options = {"width": 1 / 8, "conv_last": False}
    strided, atrous = EfficientNetLite(**options), EfficientNetLite(output_stride=8, **options)
    variables = draw_variables(strided)
    images = jnp.asarray(rng.integers(0, 256, (1, 45, 70, 3)), jnp.float32)
    coarse, fine = (
        jax.jit(lambda v, images, model=model: model.apply(v, images, train=False)["bottleneck16"])(
            variables, images
        ).maps
        for model in (strided, atrous)
    )
    # The same products, in another order.
    np.testing.assert_allclose(
        fine[:, ::4, ::4], coarse, rtol=1e-5, atol=1e-5 * np.max(np.abs(coarse))
    )


def test_unknown_variant_is_answered_with_those_that_there_are():
    with pytest.raises(UserError, match="no EfficientNet-Lite3; known: 0, 1, 2"):
        layer_table(EfficientNetLite(variant=3), height=32, width=32)


def _torch_features(state, images, variant):
    """Runs the state dict in torch, layer by layer, up to the convolution before the classifier."""
    torch = pytest.importorskip("torch")
    state = {name: torch.from_numpy(np.array(array)) for name, array in state.items()}

    def conv(maps, name, norm, *, stride=1, activation=True):
        kernel = state[f"{name}.weight"]
        groups = maps.shape[1] // kernel.shape[1]
        pad = kernel.shape[-1] // 2
        maps = torch.nn.functional.conv2d(maps, kernel, None, stride, pad, 1, groups)
        keys = ("running_mean", "running_var", "weight", "bias")
        stats = [state[f"{norm}.{key}"] for key in keys]
        maps = torch.nn.functional.batch_norm(maps, *stats, eps=1e-3)
        return torch.nn.functional.relu6(maps) if activation else maps

    maps = torch.from_numpy((images - 127) / 128).permute(0, 3, 1, 2).contiguous()
    maps = conv(maps, "_conv_stem", "_bn0", stride=2)
    number = 0
    for stage, first_stride in zip(
        scale_efficientnet_lite(variant), EFFICIENTNET_STRIDES, strict=True
    ):
        for stride in (first_stride, *[1] * (stage.repeats - 1)):
            block, branch = f"_blocks.{number}", maps
            if number:
                branch = conv(branch, f"{block}._expand_conv", f"{block}._bn0")
            branch = conv(branch, f"{block}._depthwise_conv", f"{block}._bn1", stride=stride)
            branch = conv(branch, f"{block}._project_conv", f"{block}._bn2", activation=False)
            maps = maps + branch if branch.shape == maps.shape else branch
            number += 1
    return conv(maps, "_conv_head", "_bn1").permute(0, 2, 3, 1).numpy()


@pytest.mark.parametrize(
    "variant", [0, pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.slow)]
)
def test_features_of_the_released_weights_match_torch(rng, variant):
    try:
        file = find_package_file(f"efficientnet_lite{variant}")
    except MissingError as error:
        pytest.skip(str(error))
    images = rng.integers(0, 256, (1, 333, 487, 3)).astype(np.float32)
    expected = _torch_features(read_weights(file), images, variant)
    arrays = import_weights(file, f"efficientnetlite{variant}").arrays
    model = EfficientNetLite(variant=variant, norm=NormSpec(frozen=True))
    run = jax.jit(lambda v, images: model.apply(v, images, train=False)["conv_last"].maps)
    actual = run(backbone_variables(arrays), jnp.asarray(images))
    assert actual.shape == expected.shape == (1, 11, 16, 1280)
    assert np.abs(actual - expected).max() < 1e-4 * np.abs(expected).max()
