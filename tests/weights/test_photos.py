"""The real MobileNetV2 on real photos: do the weights mean what they meant to those who made them?"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from fcn_jax.models.layers import BatchNorm, Conv
from fcn_jax.models.mobilenet import MobileNetV2
from fcn_jax.ops.conv.conv import conv
from fcn_jax.weights.files import read_weights
from fcn_jax.weights.importer import import_weights

pytestmark = pytest.mark.slow
SIZE, NUM_PHOTOS = 320, 48


@pytest.fixture(scope="module")
def photos(real_voc):
    """Middles of photos, `[n, SIZE, SIZE, 3]`."""
    names = (real_voc / "ImageSets/Segmentation/train.txt").read_text().split()
    images = (Image.open(real_voc / f"JPEGImages/{name}.jpg") for name in names)
    large = (np.asarray(image) for image in images if min(image.size) >= SIZE)
    corners = ((image, [(n - SIZE) // 2 for n in image.shape[:2]]) for image in large)
    crops = (image[y : y + SIZE, x : x + SIZE] for image, (y, x) in corners)
    return np.stack([crop for crop, _ in zip(crops, range(NUM_PHOTOS), strict=False)])


@pytest.fixture(scope="module")
def backbone(real_weights):
    """The network, and its variables out of the file."""
    path = real_weights / "mobilenet_v2_imagenet.safetensors"
    variables = {"params": {}, "batch_stats": {}}
    for name, array in import_weights(path, "mobilenetv2").arrays.items():
        kind, *modules, leaf = name.split("/")
        place = variables[kind]
        for module in modules[modules[0] == "backbone" :]:
            place = place.setdefault(module, {})
        place[leaf] = jnp.asarray(array)
    return MobileNetV2(first_expand=True, norm=BatchNorm(frozen=True)), variables


def test_maps_before_batch_norm_have_the_means_that_it_has_stored(backbone, photos):
    model, variables = backbone

    @jax.jit
    def run(variables, images):
        means = {}

        def record(call, args, kwargs, context):
            module = context.module
            if isinstance(module, Conv) and context.method_name == "__call__":
                kernel = module.get_variable("params", "kernel")
                before = conv(args[0].maps, kernel, module.window, groups=module.groups)
                means[(*module.path, "norm")] = before.mean((0, 1, 2))
            return call(*args, **kwargs)

        with nn.intercept_methods(record):
            model.apply(variables, images, train=False)
        return {"/".join(path): mean for path, mean in means.items()}

    batches = [run(variables, batch) for batch in np.split(photos, NUM_PHOTOS // 8)]
    means = {path: np.mean([batch[path] for batch in batches], 0) for path in batches[0]}
    correlations = {}
    for path, mean in means.items():
        stored = variables["batch_stats"]
        for module in path.split("/"):
            stored = stored[module]
        correlations[path] = np.corrcoef(mean, stored["mean"])[0, 1]
    # Those of the other layers are near zero, or nearly all alike, and tell little.
    telling = {
        path: c for path, c in correlations.items() if "depthwise" in path or "project" in path
    }
    assert len(telling) == 2 * 17
    assert min(telling.values()) > 0.9, sorted(telling.items(), key=lambda item: item[1])[:5]


def test_features_are_those_of_the_same_network_in_torch(backbone, photos, real_weights):
    """The file goes into torch by its order alone: nothing of our import has a part in it."""
    torch = pytest.importorskip("torch", reason="needs pip install -r benchmarks/requirements.txt")
    from benchmarks import torch_networks

    network = torch_networks.MobileNetV2(first_expand=True).eval()
    source = read_weights(real_weights / "mobilenet_v2_imagenet.safetensors")
    leaves = {n: leaf for n, leaf in network.state_dict().items() if not n.endswith("tracked")}
    layers = sorted({name.rpartition(".")[0] for name in source}, key=_numbers)
    layers = layers[: len({name.rpartition(".")[0] for name in leaves})]
    for ours, theirs in zip(
        dict.fromkeys(n.rpartition(".")[0] for n in leaves), layers, strict=True
    ):
        for name in (n for n in leaves if n.rpartition(".")[0] == ours):
            leaves[name].copy_(torch.tensor(source[f"{theirs}.{name.rpartition('.')[2]}"]))

    model, variables = backbone
    features = jax.jit(lambda images: model.apply(variables, images, train=False))(photos[:2])
    with torch.inference_mode():
        expected = network(torch.from_numpy(photos[:2]).permute(0, 3, 1, 2))
    compared = [name for name in features if name != "data"]
    assert len(compared) == 5
    for name in compared:
        reference = expected[name].permute(0, 2, 3, 1).numpy()
        error = np.abs(features[name].maps - reference).max()
        assert error < 1e-4 * np.abs(reference).max(), name


def _numbers(name: str) -> list[int]:
    return [int(part) for part in name.split(".") if part.isdecimal()]
