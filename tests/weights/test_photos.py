"""Real networks on real photos: do their weights mean what they meant in training?"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fcn_jax.errors import MissingError
from fcn_jax.models.efficientnet import EfficientNetLite
from fcn_jax.models.layers import NormSpec
from fcn_jax.models.mobilenet import MobileNetV2
from fcn_jax.models.preprocess import Preprocess
from fcn_jax.train.norm_check import backbone_variables, check_norms, read_photos
from fcn_jax.weights.files import read_weights, write_safetensors
from fcn_jax.weights.importer import import_weights
from fcn_jax.weights.network_file import load_weights
from fcn_jax.weights.sources import find_package_file

pytestmark = pytest.mark.slow
SIZE, NUM_PHOTOS = 193, 60  # 32 k + 1 pixels: what rounds up, and what rounds down, is the same


@pytest.fixture(scope="module")
def photos(real_voc):
    """Middles of photos, `[n, 224, 224, 3]`."""
    return read_photos(real_voc / "JPEGImages", num_photos=NUM_PHOTOS)


@pytest.fixture(scope="module")
def backbone(real_weights, tmp_path_factory):
    """The options that the file requires, and its variables."""
    path = tmp_path_factory.mktemp("weights") / "mobilenetv2.safetensors"
    arrays, metadata, _ = import_weights(
        real_weights / "mobilenet_v2_imagenet.safetensors", "mobilenetv2"
    )
    write_safetensors(path, arrays, metadata)
    weights = load_weights(path)
    return weights.requires, jax.tree.map(jnp.asarray, backbone_variables(weights.arrays))


@pytest.mark.parametrize(
    ("plan", "layer"),
    [
        ({}, None),
        # The paper's and torchvision's network; half of it; and two other places for a stride.
        ({"strides": (1, 2, 2, 2, 1, 2, 1), "activation": "relu6"}, "bottleneck12/project"),
        ({"activation": "relu6"}, "bottleneck15/project"),
        ({"strides": (1, 2, 2, 2, 1, 2, 1)}, "bottleneck12/project"),
        ({"strides": (1, 2, 1, 2, 2, 2, 1)}, "bottleneck5/project"),
    ],
)
def test_batch_norms_agree_with_photos_in_the_right_network_alone(backbone, photos, plan, layer):
    requires, variables = backbone
    model = MobileNetV2(norm=NormSpec(frozen=True), **requires | plan)
    first = check_norms(model, variables, photos).first_disagreement
    assert (first and first.layer) == layer


def test_batch_norms_agree_where_their_variances_are_all_alike(photos):
    """EfficientNet-Lite0, with correlations down to 0.73 in the very network of its release."""
    try:
        file = find_package_file("efficientnet_lite0")
    except MissingError as error:
        pytest.skip(str(error))
    variables = backbone_variables(import_weights(file, "efficientnetlite0").arrays)
    check = check_norms(EfficientNetLite(norm=NormSpec(frozen=True)), variables, photos)
    assert check.first_disagreement is None, str(check)
    assert not all(row.agrees_closely for row in check.layers if row.is_judged)
    other = Preprocess(mean_rgb=(0.0, 0.0, 0.0), std_rgb=(255.0, 255.0, 255.0))
    model = EfficientNetLite(norm=NormSpec(frozen=True), preprocess=other)
    assert check_norms(model, variables, photos).first_disagreement.layer == "conv0"


def _maps(model, variables, images):
    features = jax.jit(lambda images: model.apply(variables, images, train=False))(images)
    return {name: blob.maps for name, blob in features.items() if name != "data"}


@pytest.mark.parametrize("output_stride", [32, 16, 8])
def test_features_are_those_of_the_same_network_in_torch(
    backbone, photos, real_weights, output_stride
):
    """The file goes into torch by its order alone: nothing of our import has a part in it."""
    torch = pytest.importorskip("torch", reason="needs pip install -r benchmarks/requirements.txt")
    from benchmarks import torch_networks

    requires, variables = backbone
    options = requires | {"output_stride": output_stride}
    network = torch_networks.MobileNetV2(
        **options | {"activation": torch.nn.functional.relu}
    ).eval()
    source = read_weights(real_weights / "mobilenet_v2_imagenet.safetensors")
    leaves = {n: leaf for n, leaf in network.state_dict().items() if not n.endswith("tracked")}
    layers = sorted({name.rpartition(".")[0] for name in source}, key=_numbers)
    layers = layers[: len({name.rpartition(".")[0] for name in leaves})]
    for ours, theirs in zip(
        dict.fromkeys(n.rpartition(".")[0] for n in leaves), layers, strict=True
    ):
        for name in (n for n in leaves if n.rpartition(".")[0] == ours):
            leaves[name].copy_(torch.tensor(source[f"{theirs}.{name.rpartition('.')[2]}"]))

    images = photos[:2, :SIZE, :SIZE]
    features = _maps(MobileNetV2(norm=NormSpec(frozen=True), **options), variables, images)
    with torch.inference_mode():
        expected = network(torch.from_numpy(images).permute(0, 3, 1, 2))
    assert set(features) == set(TAPS)
    for name, maps in features.items():
        reference = expected[name].permute(0, 2, 3, 1).numpy()
        error = np.abs(maps - reference).max()
        assert error < 1e-4 * np.abs(reference).max(), name


# The last maps of each stride in this network, whose fourth stride is later than the paper's.
TAPS = ["bottleneck1", "bottleneck3", "bottleneck10", "bottleneck13", "conv_last"]


@pytest.mark.parametrize("output_stride", [16, 8])
def test_atrous_network_sampled_at_the_old_stride_is_the_strided_one(
    backbone, photos, output_stride
):
    requires, variables = backbone
    images = photos[:2, :SIZE, :SIZE]
    coarse, fine = (
        _maps(
            MobileNetV2(norm=NormSpec(frozen=True), output_stride=stride, **requires),
            variables,
            images,
        )
        for stride in (32, output_stride)
    )
    for name, stride in zip(TAPS, (2, 4, 8, 16, 32), strict=True):
        step = max(1, stride // output_stride)
        error = np.abs(fine[name][:, ::step, ::step] - coarse[name]).max()
        assert error < 1e-5 * np.abs(coarse[name]).max(), name


def _numbers(name: str) -> list[int]:
    return [int(part) for part in name.split(".") if part.isdecimal()]
