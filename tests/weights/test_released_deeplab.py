"""A whole segmentation network that others trained scores here what it scores elsewhere.

DeepLab v3 on MobileNetV2 as TF-slim names it, its batch norm folded into the convolutions. The
backbone is ours, at output stride 8; of the head only the branch over the whole image is not. At
513 = 32 * 16 + 1 pixels TensorFlow's padding is the symmetric one of this network.
"""

import re
from collections.abc import Iterator

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from fcn_jax.models.mobilenet import MobileNetV2
from fcn_jax.models.preprocess import Preprocess
from fcn_jax.ops.metrics import confusion_counts, scores
from fcn_jax.ops.upsample import align_corners, bilinear_upscore
from fcn_jax.weights.files import read_weights

pytestmark = pytest.mark.slow
SIZE, GREY, NUM_CLASSES, VOID = 513, 127.5, 21, 255


@pytest.fixture(scope="module")
def network(real_weights):
    """The backbone, its parameters, and (kernel, bias) of the layers after it by name."""
    source = read_weights(real_weights / "deeplabv3_mobilenetv2_voc.safetensors")
    params, head = {}, {}
    for name, kernel in source.items():
        layer, _, kind = name.rpartition("/")
        if not kind.endswith("weights"):
            continue
        bias = source[f"{layer}/biases"]
        if not layer.startswith("MobilenetV2/"):
            head[layer.rpartition("/")[2]] = kernel[0, 0], bias
            continue
        if kind == "depthwise_weights":
            kernel = kernel.transpose(0, 1, 3, 2)
        place = params
        for module in path_here(layer):
            place = place.setdefault(module, {})
        place |= {"kernel": jnp.asarray(kernel), "bias": jnp.asarray(bias)}
    model = MobileNetV2(
        norm=None,
        output_stride=8,
        conv_last=False,
        preprocess=Preprocess(mean_rgb=(GREY,) * 3, std_rgb=(GREY,) * 3),
    )
    return model, params, head


def path_here(layer: str) -> list[str]:
    """Our name of a layer: their bottlenecks count from 0, the first without its number."""
    _, block, *layers = layer.split("/")
    if block == "Conv":
        return ["conv0"]
    number = re.search(r"\d*$", block)[0]
    return [f"bottleneck{int(number or 0) + 1}", *layers]


@pytest.fixture(scope="module")
def scenes(real_voc, real_weights) -> Iterator[tuple[Image.Image, np.ndarray]]:
    """The photos that were scored elsewhere, and their labels."""
    names = (real_weights / "deeplabv3_check_ids.txt").read_text().split()
    return (
        (
            Image.open(real_voc / f"JPEGImages/{name}.jpg"),
            np.asarray(Image.open(real_voc / f"SegmentationClass/{name}.png")),
        )
        for name in names
    )


def test_score_on_voc_is_the_one_measured_elsewhere(network, scenes):
    model, params, head = network

    def layer(name, maps):
        kernel, bias = head[name]
        return jnp.einsum("bhwi,io->bhwo", maps, kernel) + bias

    @jax.jit
    def run(canvas):
        features = model.apply({"params": params}, canvas[None], train=False)
        maps = features["bottleneck17"].maps
        whole = nn.relu6(layer("image_pooling", maps.mean((1, 2), keepdims=True)))
        branches = jnp.broadcast_to(whole, (*maps.shape[:3], 256)), nn.relu6(layer("aspp0", maps))
        maps = nn.relu6(layer("concat_projection", jnp.concatenate(branches, -1)))
        return bilinear_upscore(layer("semantic", maps), align_corners(8))[0]

    counts = np.zeros((NUM_CLASSES, NUM_CLASSES), np.int64)
    for image, label in scenes:
        width, height = (round(size * SIZE / max(image.size)) for size in image.size)
        canvas = np.full((SIZE, SIZE, 3), GREY, np.float32)
        canvas[:height, :width] = image.resize((width, height), Image.Resampling.BILINEAR)
        logits = np.asarray(run(canvas))[:height, :width]
        rows, columns = map(resize_matrix, logits.shape[:2], label.shape)
        pred = np.einsum("yh,hwk,xw->yxk", rows, logits, columns, optimize=True).argmax(-1)
        maps = jnp.asarray(label), jnp.asarray(pred)
        counts += np.asarray(confusion_counts(*maps, num_classes=NUM_CLASSES, ignore_label=VOID))
    report = scores(counts)
    # Of an implementation in another framework, on the same 76 photos.
    assert report["mean_iou"] == pytest.approx(0.7915, abs=1e-4)
    assert report["pixel_acc"] == pytest.approx(0.9720, abs=1e-4)


def resize_matrix(size: int, target: int) -> np.ndarray:
    """Bilinear resizing of one axis, corners onto corners."""
    at = np.linspace(0, size - 1, target)[:, None]
    return np.maximum(0, 1 - abs(at - np.arange(size))).astype(np.float32)
