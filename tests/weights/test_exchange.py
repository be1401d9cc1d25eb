"""Import and export: the numbers, the names, the shapes, the account, and what is refused."""

import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fcn_jax.models.preprocess import CAFFE, TORCHVISION
from fcn_jax.models.zoo import get_model
from fcn_jax.weights import backbone_names as names
from fcn_jax.weights.backbone_names import NAMINGS, TITLES
from fcn_jax.weights.exporter import export_weights
from fcn_jax.weights.files import read_weights, write_safetensors
from fcn_jax.weights.importer import import_weights
from fcn_jax.weights.naming import PREPROCESS
from fcn_jax.weights.network_file import load_weights
from fcn_jax.weights.recognition import find_network
from fcn_jax.weights.transplant import transplant
from tests.conftest import shapes_of
from tests.weights.conftest import blob, draw_caffe_resnet, draw_vgg16, write_caffemodel

ROOT = Path(__file__).parent.parent.parent
FC_CHANNELS = 64
FC8 = (4096, 1000)  # the layer that scores ImageNet's classes


@pytest.fixture(scope="module")
def vgg16_layers():
    """Caffe's blobs of a VGG16 with a narrow classifier."""
    return draw_vgg16(np.random.default_rng(0), fc_channels=FC_CHANNELS)


@pytest.fixture(scope="module")
def vgg16_file(tmp_path_factory, vgg16_layers):
    path = tmp_path_factory.mktemp("weights") / "vgg16.caffemodel"
    return write_caffemodel(path, vgg16_layers, form="v1")


def draw(naming, rng, *, fc_channels=FC_CHANNELS):
    """Draws a torch state dict of a naming, with a narrow classifier if it has fc6 and fc7."""
    shapes = {}
    for layer in naming.layers:
        outs = layer.shape[:1]
        shapes[layer.kernel[1]] = layer.shape
        shapes |= dict.fromkeys([*layer.vectors.values(), *layer.folded.values()], outs)
    channels = naming.layers[-1].shape[0] * naming.fc6_kernel**2
    for name in naming.classifier[:-1]:
        shapes |= {f"{name}.weight": (fc_channels, channels), f"{name}.bias": (fc_channels,)}
        channels = fc_channels
    shapes[f"{naming.classifier[-1]}.weight"] = (10, channels or 5)
    return {name: rng.random(shape, np.float32) for name, shape in shapes.items()}


def empty(naming):
    """The names and shapes of a naming, without memory."""
    names = {}
    for layer in naming.layers:
        names[layer.kernel[1]] = np.broadcast_to(0.0, layer.shape)
        vector = np.broadcast_to(0.0, layer.shape[:1])
        names |= dict.fromkeys([*layer.vectors.values(), *layer.folded.values()], vector)
    return names


ALL_NAMINGS = [
    pytest.param(network, naming, id=f"{network}-{naming.origin}-{len(empty(naming))}")
    for network, known in NAMINGS.items()
    for naming in known
]
FIRST_EXPAND = names.mobilenet_v2(first_expand=True)


# --- names ------------------------------------------------------------------------------------


def backbone_of(name, **options):
    shapes = shapes_of(get_model(name, num_classes=3, **options))
    return {
        f"{collection}/{'/'.join(path)}": leaf.shape
        for collection, tree in shapes.items()
        for path, leaf in _walk(tree["backbone"], ("backbone",))
    }


def _walk(tree, path=()):
    for key, value in tree.items():
        yield from (
            _walk(value, (*path, key)) if hasattr(value, "items") else [((*path, key), value)]
        )


@pytest.mark.parametrize(
    ("naming", "model", "options"),
    [
        (names.vgg16("caffe", norm=False), "vgg16_fcn32s", {}),
        (names.vgg16("torchvision", norm=False), "vgg16_deeplab_largefov", {}),
        (names.vgg16("torchvision", norm=True), "vgg16_fcn8s", {"norm": "batch"}),
        (names.caffenet(), "alexnet_fcn32s", {}),
        (names.torchvision_alexnet(), "alexnet_fcn32s", {"one_tower": True}),
        (names.resnet(18), "resnet18_fcn32s", {}),
        (names.resnet(50), "resnet50_deeplab_largefov", {}),
        (names.resnet(101), "resnet101_deeplab_largefov", {}),
        (names.caffe_resnet(101, conv1_bias=False), "resnet101_deeplab_aspp", {}),
        (names.mobilenet_v2(first_expand=False), "mobilenetv2_fcn32s", {}),
        (FIRST_EXPAND, "mobilenetv2_fcn32s", {"first_expand": True}),
        (
            names.mobilenet_v2(first_expand=False, conv_last=False),
            "mobilenetv2_deeplab_largefov",
            {},
        ),
        (names.efficientnet_lite(0), "efficientnetlite0_fcn32s", {}),
        (
            names.efficientnet_lite(2, conv_last=False),
            "efficientnetlite2_deeplab_largefov",
            {},
        ),
    ],
    ids=lambda case: case if isinstance(case, str) else "",
)
def test_naming_is_that_of_the_model_here(naming, model, options):
    leaves = {}
    for layer in naming.layers:
        outs, *others = layer.shape
        leaves[layer.kernel[0]] = (*others[1:], others[0], outs)
        leaves |= dict.fromkeys(layer.vectors, (outs,))
    assert leaves == backbone_of(model, **options)


@pytest.mark.parametrize(
    ("norm", "numbers"),
    [
        (False, [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28]),
        (True, [0, 3, 7, 10, 14, 17, 20, 24, 27, 30, 34, 37, 40]),
    ],
)
def test_vgg16_has_the_numbers_of_torchvision(norm, numbers):
    layers = names.vgg16("torchvision", norm=norm).layers
    assert [layer.name for layer in layers] == [f"features.{number}" for number in numbers]
    norms = [f"features.{number + 1}" if norm else "" for number in numbers]
    assert [layer.norm for layer in layers] == norms


@pytest.mark.parametrize(
    ("naming", "total", "classifier"),
    [
        # Learned numbers as torchvision's documentation states them, and those of the classifier.
        (names.vgg16("torchvision", norm=False), 138357544, [(25088, 4096), (4096, 4096), FC8]),
        (names.vgg16("torchvision", norm=True), 138365992, [(25088, 4096), (4096, 4096), FC8]),
        (names.torchvision_alexnet(), 61100840, [(9216, 4096), (4096, 4096), FC8]),
        (names.resnet(18), 11689512, [(512, 1000)]),
        (names.resnet(34), 21797672, [(512, 1000)]),
        (names.resnet(50), 25557032, [(2048, 1000)]),
        (names.resnet(101), 44549160, [(2048, 1000)]),
        (names.mobilenet_v2(first_expand=False), 3504872, [(1280, 1000)]),
        # As the state dicts of the packages hold them.
        (names.efficientnet_lite(0), 4652008, [(1280, 1000)]),
        (names.efficientnet_lite(1), 5416680, [(1280, 1000)]),
        (names.efficientnet_lite(2), 6092072, [(1280, 1000)]),
    ],
    ids=lambda case: case if isinstance(case, str) else "",
)
def test_naming_has_as_many_parameters_as_torchvision_says(naming, total, classifier):
    averages = ("running_mean", "running_var")
    learned = [array for name, array in empty(naming).items() if not name.endswith(averages)]
    rest = sum(ins * outs + outs for ins, outs in classifier)
    assert sum(array.size for array in learned) == total - rest


@pytest.mark.parametrize(("network", "naming"), ALL_NAMINGS)
def test_naming_is_found_by_names_and_no_other_network_fits(network, naming):
    # torchvision and timm call VGG16's features the same.
    source = empty(naming) | {f"{naming.classifier[-1]}.weight": np.zeros((10, 1))}
    assert find_network(network, source).naming == naming
    for other in set(NAMINGS) - {network}:
        message = f"this is .* and no {TITLES[other]}; give --network={network}$"
        with pytest.raises(ValueError, match=message):
            find_network(other, source)


def test_every_name_of_the_real_mobilenet_is_known(real_weights):
    source = read_weights(real_weights / "mobilenet_v2_imagenet.safetensors")
    assert set(source) == set(empty(FIRST_EXPAND))
    assert find_network("mobilenetv2", source).naming == FIRST_EXPAND


def test_preprocessing_is_that_of_the_models():
    for origin, model in (("caffe", CAFFE), ("torchvision", TORCHVISION)):
        image = PREPROCESS[origin]
        assert tuple(image["mean_rgb"]) == model.mean_rgb
        assert tuple(image["std_rgb"]) == model.std_rgb
        assert image["bgr"] == model.bgr


# --- import -----------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["v0", "v1", "v2"])
def test_vgg16_comes_out_of_a_caffemodel_exactly(tmp_path, vgg16_layers, form):
    path = write_caffemodel(tmp_path / "vgg16.caffemodel", vgg16_layers, form=form)
    arrays, metadata, report = import_weights(path, "vgg16", head="fcn")
    assert report.counts == {"copied": 28, "reshaped": 2, "unused": 2}
    for name, (weights, bias) in vgg16_layers.items():
        path = f"params/{name}" if name.startswith("fc") else f"params/backbone/{name}"
        if name == "fc8":
            assert not any("fc8" in leaf for leaf in arrays)
            continue
        if weights.ndim == 2:
            size = 7 if name == "fc6" else 1
            weights = weights.reshape(FC_CHANNELS, -1, size, size)
        assert arrays[f"{path}/kernel"].flags.c_contiguous
        np.testing.assert_array_equal(arrays[f"{path}/kernel"], weights.transpose(2, 3, 1, 0))
        np.testing.assert_array_equal(arrays[f"{path}/bias"], bias)
    assert len(arrays) == 30 and all(array.dtype == np.float32 for array in arrays.values())
    assert json.loads(metadata["preprocess"]) == PREPROCESS["caffe"]


def test_head_none_is_the_backbone_alone(vgg16_file):
    arrays, _, report = import_weights(vgg16_file, "vgg16")
    assert all("/backbone/" in leaf for leaf in arrays)
    assert report.counts == {"copied": 26, "unused": 6}


def test_largefov_keeps_a_quarter_of_the_filters_and_every_third_tap(vgg16_file, vgg16_layers):
    arrays, metadata, report = import_weights(vgg16_file, "vgg16", head="largefov", seed=3)
    assert report.counts == {"copied": 26, "decimated": 4, "unused": 2}
    origin = json.loads(metadata["origin"])
    assert origin["head"] == "largefov" and origin["seed"] == 3
    keep = FC_CHANNELS // 4
    assert arrays["params/fc6/kernel"].shape == (3, 3, 512, keep)
    assert arrays["params/fc7/kernel"].shape == (1, 1, keep, keep)

    # Random biases tell the filters apart.
    outs = []
    for name in ("fc6", "fc7"):
        bias = list(vgg16_layers[name][1])
        outs.append([bias.index(value) for value in arrays[f"params/{name}/bias"]])
    assert len(set(outs[0])) == len(set(outs[1])) == keep and outs[0] != outs[1]
    fc6 = vgg16_layers["fc6"][0].reshape(FC_CHANNELS, 512, 7, 7)
    expected = fc6[outs[0]][:, :, [0, 3, 6]][:, :, :, [0, 3, 6]]
    np.testing.assert_array_equal(arrays["params/fc6/kernel"], expected.transpose(2, 3, 1, 0))
    fc7 = vgg16_layers["fc7"][0][outs[1]][:, outs[0]]  # its inputs are the filters of fc6
    np.testing.assert_array_equal(arrays["params/fc7/kernel"][0, 0], fc7.T)


def test_choice_of_filters_follows_the_seed(vgg16_file):
    kernels = [
        import_weights(vgg16_file, "vgg16", head="largefov", seed=seed).arrays["params/fc6/kernel"]
        for seed in (0, 0, 1)
    ]
    np.testing.assert_array_equal(kernels[0], kernels[1])
    assert not np.array_equal(kernels[0], kernels[2])


def test_4x4_keeps_every_filter_and_every_second_tap(vgg16_file, vgg16_layers):
    arrays, _, report = import_weights(vgg16_file, "vgg16", head="4x4")
    assert report.counts == {"copied": 28, "reshaped": 1, "decimated": 1, "unused": 2}
    fc6 = vgg16_layers["fc6"][0].reshape(FC_CHANNELS, 512, 7, 7)[:, :, ::2, ::2]
    np.testing.assert_array_equal(arrays["params/fc6/kernel"], fc6.transpose(2, 3, 1, 0))


def write_released(path, rng, layers, *, fc6_taps, **scores):
    """Writes what a segmentation release has: convolutions all the way, and score layers."""
    layers = {name: blobs for name, blobs in layers.items() if not name.startswith("fc")}
    shapes = {"fc6": (16, 512, fc6_taps, fc6_taps), "fc7": (16, 16, 1, 1), **scores}
    for name, shape in shapes.items():
        layers[name] = [rng.random(shape, np.float32), rng.random(shape[:1], np.float32)]
        layers[name] = layers[name][:1] if name.startswith("upscore") else layers[name]
    return write_caffemodel(path, layers, form="v1"), layers


def test_head_of_a_released_deeplab_is_taken_as_it_is(tmp_path, rng, vgg16_layers):
    path, layers = write_released(
        tmp_path / "net", rng, vgg16_layers, fc6_taps=3, fc8_voc12=(21, 16, 1, 1)
    )
    arrays, _, report = import_weights(path, "vgg16", head="own")
    assert report.counts == {"copied": 32}
    fc6, fc8 = layers["fc6"][0], layers["fc8_voc12"][0]
    np.testing.assert_array_equal(arrays["params/fc6/kernel"], fc6.transpose(2, 3, 1, 0))
    np.testing.assert_array_equal(arrays["params/fc8/kernel"], fc8.transpose(2, 3, 1, 0))


def test_released_fcn_comes_with_its_scores_and_filters(tmp_path, rng, vgg16_layers):
    scores = {
        "score_fr": (21, 16, 1, 1),
        "score_pool4": (21, 512, 1, 1),
        "upscore2": (21, 21, 4, 4),
    }
    path, layers = write_released(tmp_path / "net", rng, vgg16_layers, fc6_taps=7, **scores)
    arrays, _, report = import_weights(path, "vgg16", head="own")
    assert report.counts == {"copied": 35}
    upscore2 = layers["upscore2"][0]  # (in, out, height, width)
    np.testing.assert_array_equal(arrays["params/upscore2/kernel"], upscore2.transpose(2, 3, 0, 1))


def test_scores_of_every_branch_are_taken(tmp_path, rng, vgg16_layers):
    """As DeepLab v2 (ASPP) calls them; they are told apart by the number behind."""
    branches = {f"fc8_voc12_{number}": (21, 16, 1, 1) for number in (1, 2)}
    path, layers = write_released(tmp_path / "net", rng, vgg16_layers, fc6_taps=3, **branches)
    arrays = import_weights(path, "vgg16", head="own").arrays
    for number in (1, 2):
        bias = layers[f"fc8_voc12_{number}"][1]
        np.testing.assert_array_equal(arrays[f"params/fc8_{number}/bias"], bias)


@pytest.mark.parametrize("conv1_bias", [False, True])
def test_caffe_resnet_comes_with_its_norms_its_strides_and_its_scores(tmp_path, rng, conv1_bias):
    """DeepLab v2's: a batch norm is two layers, which count; its scores are numbered from 0."""
    layers = draw_caffe_resnet(rng, 50, conv1_bias=conv1_bias)
    for number in range(2):
        bias = rng.random(21, np.float32)
        layers[f"fc1_voc12_c{number}"] = [rng.random((21, 2048, 3, 3), np.float32), bias]
    path = write_caffemodel(tmp_path / "net", layers)
    arrays, metadata, _ = import_weights(path, "resnet50", head="own")
    assert json.loads(metadata["requires"]) == {"stride_in_1x1": True}
    assert json.loads(metadata["preprocess"]) == PREPROCESS["caffe"]
    model = get_model("resnet50_deeplab_aspp", num_classes=21, fc6_rate=(6, 12), fc_channels=0)
    assert {"/".join(path) for path, _ in _walk(shapes_of(model))} == set(arrays)

    for path, at in (("conv1", "_conv1"), ("layer3_5/conv2", "4f_branch2b")):
        mean, var, count = layers[f"bn{at}"]
        folded = layers["conv1"][1] if conv1_bias and path == "conv1" else 0
        leaves = {
            name: arrays[f"batch_stats/backbone/{path}/norm/{name}"] for name in ("mean", "var")
        }
        np.testing.assert_allclose(leaves["mean"], mean / count - folded, atol=1e-6)
        np.testing.assert_allclose(leaves["var"], var / count, rtol=1e-6)
        for name, array in zip(("scale", "bias"), layers[f"scale{at}"], strict=True):
            np.testing.assert_array_equal(arrays[f"params/backbone/{path}/norm/{name}"], array)
    for number in range(2):
        bias = layers[f"fc1_voc12_c{number}"][1]
        np.testing.assert_array_equal(arrays[f"params/fc8_{number + 1}/bias"], bias)


@pytest.mark.parametrize(
    ("head", "fc6_taps", "scores", "message"),
    [
        # Filters that were trained on are not thrown away under a layer that looks at all of them.
        ("largefov", 7, {"score_fr": (21, 16, 1, 1)},
         "it is a segmentation network, with score_fr; take its head as it is, --head=own"),
        ("fcn", 7, {"fc8_voc12": (21, 16, 1, 1)}, "a segmentation network, with fc8_voc12; take"),
        ("largefov", 3, {}, "fc6 has 3x3 taps, ImageNet's has 7x7; take its head as it is"),
        ("own", 3, {"fc8": (21, 16, 1, 1), "fc8_voc12": (21, 16, 1, 1)},
         "fc8.weight and fc8_voc12.weight are both params/fc8/kernel here; leave one"),
    ],
)  # fmt: skip
def test_import_rejects_a_head_that_does_not_fit(
    tmp_path, rng, vgg16_layers, head, fc6_taps, scores, message
):
    path, _ = write_released(tmp_path / "net", rng, vgg16_layers, fc6_taps=fc6_taps, **scores)
    with pytest.raises(ValueError, match=f"net: .*{message}"):
        import_weights(path, "vgg16", head=head)


def test_scores_of_imagenet_are_unused_as_a_convolution_too(tmp_path, vgg16_layers):
    fc8 = [np.zeros((1000, FC_CHANNELS, 1, 1), np.float32), np.zeros(1000, np.float32)]
    path = write_caffemodel(tmp_path / "net", vgg16_layers | {"fc8": fc8})
    arrays, _, report = import_weights(path, "vgg16", head="fcn")
    assert report.counts["unused"] == 2 and not any("fc8" in leaf for leaf in arrays)


def test_head_without_norm_does_not_stand_on_a_backbone_with_one(tmp_path, rng):
    """Of torchvision's vgg16_bn: no network here could take both."""
    source = draw(names.vgg16("torchvision", norm=True), rng)
    write_safetensors(tmp_path / "vgg16_bn", source, {})
    message = "its classifier.0 has no batch norm, as fc6 has here .*; import .* alone, --head=none"
    for head in ("fcn", "largefov", "own"):
        with pytest.raises(ValueError, match=message):
            import_weights(tmp_path / "vgg16_bn", "vgg16", head=head)


def test_imported_file_fills_the_network(tmp_path, vgg16_file):
    """From a caffemodel to a file to the leaves of a model, of which only the score is left."""
    arrays, metadata, _ = import_weights(vgg16_file, "vgg16", head="largefov")
    write_safetensors(tmp_path / "vgg16.safetensors", arrays, metadata)
    weights = load_weights(tmp_path / "vgg16.safetensors")
    model = get_model("vgg16_deeplab_largefov", num_classes=3, fc_channels=FC_CHANNELS // 4)
    target = {"/".join(path): leaf for path, leaf in _walk(shapes_of(model))}
    leaves, report = transplant(target, weights.arrays)
    assert report.counts == {"copied": 30, "as initialised": 2}
    assert {row.leaf for row in report.rows if row.action == "as initialised"} == {
        "params/fc8/kernel",
        "params/fc8/bias",
    }
    assert all(np.array_equal(leaves[leaf], arrays[leaf]) for leaf in leaves)


def test_bias_before_a_norm_is_folded_into_its_mean(tmp_path, rng):
    """In float64 the two layers and the one norm compute the same."""
    source = draw(names.vgg16("torchvision", norm=True), rng)
    write_safetensors(tmp_path / "vgg16_bn.safetensors", source, {})
    arrays, metadata, report = import_weights(tmp_path / "vgg16_bn.safetensors", "vgg16")
    assert report.counts == {"copied": 65, "folded": 13, "unused": 5}
    assert json.loads(metadata["preprocess"]) == PREPROCESS["torchvision"]
    before = rng.normal(size=(9, 64))
    there = before + source["features.0.bias"] - source["features.1.running_mean"]
    here = before - arrays["batch_stats/backbone/conv1_1/norm/mean"]
    np.testing.assert_allclose(here, there, atol=1e-6)  # the mean is float32
    np.testing.assert_array_equal(
        arrays["params/backbone/conv1_1/norm/scale"], source["features.1.weight"]
    )


def test_double_weights_become_float32(tmp_path, rng):
    source = draw(names.torchvision_alexnet(), rng)
    doubles = {name: array.astype(np.float64) for name, array in source.items()}
    np.savez(tmp_path / "alexnet.npz", **doubles)
    arrays, _, _ = import_weights(tmp_path / "alexnet.npz", "alexnet", head="fcn")
    assert all(array.dtype == np.float32 for array in arrays.values())
    weights = source["features.0.weight"].transpose(2, 3, 1, 0)
    np.testing.assert_array_equal(arrays["params/backbone/conv1/kernel"], weights)


def test_preprocessing_may_be_given(tmp_path, vgg16_file):
    image = np.arange(3.0)[:, None, None] * 10 + np.ones((3, 4, 5))
    (tmp_path / "mean").write_bytes(blob(image, legacy=True))
    given = {"preprocess": "torchvision"}, {"mean": tmp_path / "mean"}
    named, averaged = (
        json.loads(import_weights(vgg16_file, "vgg16", **options).metadata["preprocess"])
        for options in given
    )
    assert named == PREPROCESS["torchvision"]
    averages = {"mean_rgb": [21.0, 11.0, 1.0]}  # the file is BGR
    assert averaged == PREPROCESS["caffe"] | averages


def test_preprocessing_is_what_the_metadata_say(tmp_path, rng):
    """Names do not tell everything: our own exports, of whatever they were trained on, say it."""
    image = {"mean_rgb": [30.0, 20.0, 10.0], "std_rgb": [1.0, 1.0, 2.0], "bgr": True}
    source = draw(names.torchvision_alexnet(), rng)
    write_safetensors(tmp_path / "exported", source, {"preprocess": json.dumps(image)})
    (tmp_path / "mean").write_bytes(blob(np.full((3, 4, 5), 7, np.float32), legacy=True))
    given = {"preprocess": "torchvision"}, {"mean": tmp_path / "mean"}
    found, named, averaged = (
        json.loads(
            import_weights(tmp_path / "exported", "alexnet", **options).metadata["preprocess"]
        )
        for options in ({}, *given)
    )
    assert found == image
    assert named == PREPROCESS["torchvision"]
    assert averaged == image | {"mean_rgb": [7.0, 7.0, 7.0]}


def test_broken_metadata_ask_for_the_preprocessing(tmp_path, rng):
    source = draw(names.torchvision_alexnet(), rng)
    write_safetensors(tmp_path / "exported", source, {"preprocess": "imagenet"})
    with pytest.raises(
        ValueError, match=r"its metadata are broken \(preprocess=imagenet: .* give -"
    ):
        import_weights(tmp_path / "exported", "alexnet")
    import_weights(tmp_path / "exported", "alexnet", preprocess="caffe")


@pytest.mark.parametrize("channels", [1, 4])
def test_import_rejects_a_mean_of_other_channels(tmp_path, vgg16_file, channels):
    (tmp_path / "mean").write_bytes(blob(np.ones((channels, 4, 5), np.float32), legacy=True))
    with pytest.raises(ValueError, match=f"mean is a mean of {channels} channels, and not of blue"):
        import_weights(vgg16_file, "vgg16", mean=tmp_path / "mean")


def test_mean_of_caffes_is_not_for_images_of_torchvisions(tmp_path, vgg16_file):
    mean = tmp_path / "mean.binaryproto"
    mean.write_bytes(blob(np.ones((3, 2, 2), np.float32), legacy=True))
    with pytest.raises(ValueError, match="is a mean of Caffe's, .* give --preprocess=caffe"):
        import_weights(vgg16_file, "vgg16", preprocess="torchvision", mean=mean)


def test_metadata_name_the_source(vgg16_file):
    metadata = import_weights(vgg16_file, "vgg16").metadata
    origin = json.loads(metadata["origin"])
    assert origin["sha256"] == hashlib.sha256(vgg16_file.read_bytes()).hexdigest()
    assert origin["source"] == "vgg16.caffemodel" and metadata["network"] == "vgg16"


CAFFE_PLAN = {"first_expand": True, "strides": (1, 2, 2, 1, 2, 2, 1), "activation": "relu"}
PAPER_PLAN = {"first_expand": False, "strides": (1, 2, 2, 2, 1, 2, 1), "activation": "relu6"}


@pytest.mark.parametrize(("first_expand", "plan"), [(True, CAFFE_PLAN), (False, PAPER_PLAN)])
def test_expansion_in_the_first_bottleneck_tells_which_network_mobilenetv2_is(
    tmp_path, rng, first_expand, plan
):
    write_safetensors(
        tmp_path / "net", draw(names.mobilenet_v2(first_expand=first_expand), rng), {}
    )
    arrays, metadata, _ = import_weights(tmp_path / "net", "mobilenetv2")
    write_safetensors(tmp_path / "ours", arrays, metadata)
    assert load_weights(tmp_path / "ours").requires == plan
    # The options make a network for which the arrays are right; see also test_photos.py.
    model = get_model("mobilenetv2_fcn32s", num_classes=3, **plan)
    target = {"/".join(path): leaf for path, leaf in _walk(shapes_of(model))}
    assert transplant(target, arrays)[1].counts == {"copied": len(arrays), "as initialised": 2}
    # A file that was imported before this was known has no such metadata.
    write_safetensors(tmp_path / "old", arrays, {k: metadata[k] for k in OLD_KEYS})
    assert load_weights(tmp_path / "old").requires == plan


OLD_KEYS = ("format", "network", "preprocess")


def test_weights_of_other_networks_require_nothing(vgg16_file, tmp_path):
    arrays, metadata, _ = import_weights(vgg16_file, "vgg16")
    write_safetensors(tmp_path / "ours", arrays, metadata)
    weights = load_weights(tmp_path / "ours")
    assert weights.requires == {} and weights.model == {} and weights.labels is None


@pytest.mark.parametrize(
    ("metadata", "plan"),
    [
        ({"requires": json.dumps(PAPER_PLAN | {"first_expand": True})}, PAPER_PLAN),
        # An older export: nobody could train another plan then.
        ({"network": "mobilenetv2_fcn8s", "step": "7"}, PAPER_PLAN),
    ],
)
def test_exported_network_requires_what_it_was_trained_with(tmp_path, rng, metadata, plan):
    """Whatever its arrays look like."""
    write_safetensors(tmp_path / "exported", draw(FIRST_EXPAND, rng), metadata)
    found = json.loads(import_weights(tmp_path / "exported", "mobilenetv2").metadata["requires"])
    assert found == {**plan, "first_expand": True, "strides": list(plan["strides"])}


def write_changed(tmp_path, layers, **changes):
    """Writes VGG16 with some layers' blobs replaced; None leaves a layer out."""
    layers = {name: blobs for name, blobs in (layers | changes).items() if blobs is not None}
    return write_caffemodel(tmp_path / "vgg16.caffemodel", layers)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"conv3_2": None}, "this is no VGG16: it has no conv3_2.weight"),
        ({"conv3_4": [(256, 256, 3, 3), (256,)]}, "there is no place for conv3_4.weight, conv3_4"),
        ({"conv1_1": [(64, 4, 3, 3), (64,)]}, "conv1_1.weight is 64x4x3x3 where 64x3x3x3 is exp"),
        ({"conv1_2": [(64, 64, 3, 3), (1,)]}, "conv1_2.bias is 1 where 64 is expected"),
        ({"conv1_2": [(64, 64, 3, 3)]}, "this is no VGG16: it has no conv1_2.bias"),
        ({"fc6": None}, "it has no fc6.weight; import the backbone alone, --head=none"),
        ({"fc6": [(64, 9 * 512), (64,)]}, "4608 inputs are no whole channels of 7x7"),
        ({"fc6": [(64, 512, 4, 4), (64,)]}, "fc6 has 4x4 taps, ImageNet's has 7x7; take its"),
        ({"fc7": [(64, 64, 3, 3), (64,)]}, "fc7 has 3x3 taps, ImageNet's has 1x1; take its"),
        ({"fc6": [(64, 256 * 49), (64,)]}, "fc6.weight is 64x12544, which does not follow 512"),
        ({"fc7": [(64, 60), (64,)]}, "fc7.weight is 64x60, which does not follow 64 channels"),
        ({"fc7": [(64, 64)]}, "it has no fc7.bias; import the backbone alone"),
    ],
)  # fmt: skip
def test_import_rejects(tmp_path, vgg16_layers, changes, message):
    changes = {
        name: shapes and [np.zeros(shape, np.float32) for shape in shapes]
        for name, shapes in changes.items()
    }
    path = write_changed(tmp_path, vgg16_layers, **changes)
    with pytest.raises(ValueError, match=f"vgg16.caffemodel: .*{re.escape(message)}"):
        import_weights(path, "vgg16", head="largefov")


def test_import_rejects_numbers_that_are_not_finite(tmp_path, vgg16_layers):
    weights, bias = vgg16_layers["conv5_3"]
    weights = weights.copy()
    weights[3, 2, 1, 0] = np.nan
    path = write_changed(tmp_path, vgg16_layers, conv5_3=[weights, bias])
    with pytest.raises(ValueError, match="conv5_3.weight holds numbers that are not finite"):
        import_weights(path, "vgg16")


def test_import_rejects_its_own_result(tmp_path, vgg16_file):
    arrays, metadata, _ = import_weights(vgg16_file, "vgg16")
    write_safetensors(tmp_path / "vgg16.safetensors", arrays, metadata)
    with pytest.raises(ValueError, match="it has been imported already: use it as it is"):
        import_weights(tmp_path / "vgg16.safetensors", "vgg16")


def test_import_rejects_unknown_words(vgg16_file):
    with pytest.raises(ValueError, match="unknown network 'vgg'; known: vgg16, alexnet, resnet18"):
        import_weights(vgg16_file, "vgg")
    with pytest.raises(ValueError, match="unknown head 'fc'; known: none, own, fcn, largefov, 4x4"):
        import_weights(vgg16_file, "vgg16", head="fc")
    with pytest.raises(ValueError, match="unknown preprocess 'bgr'; known: caffe, torchvision"):
        import_weights(vgg16_file, "vgg16", preprocess="bgr")


def test_resnet_has_no_head_to_import(tmp_path, rng):
    write_safetensors(tmp_path / "resnet18.safetensors", draw(names.resnet(18), rng), {})
    with pytest.raises(ValueError, match="no fc6 and fc7; import the backbone alone, --head=none"):
        import_weights(tmp_path / "resnet18.safetensors", "resnet18", head="fcn")
    with pytest.raises(ValueError, match="it has no head; import the backbone alone, --head=none"):
        import_weights(tmp_path / "resnet18.safetensors", "resnet18", head="own")


def test_real_lenet_is_no_vgg16(real_weights):
    with pytest.raises(ValueError, match="no VGG16: it has no conv1_1.weight; it holds conv1.wei"):
        import_weights(real_weights / "caffe" / "lenet_v1_format.caffemodel", "vgg16")


# --- export -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("network", "naming", "head"),
    [
        ("vgg16", names.vgg16("caffe", norm=False), "fcn"),
        ("vgg16", names.vgg16("torchvision", norm=False), "fcn"),
        ("alexnet", names.caffenet(), "fcn"),
        ("alexnet", names.torchvision_alexnet(), "fcn"),
        ("resnet18", names.resnet(18), "none"),
        ("mobilenetv2", names.mobilenet_v2(first_expand=False), "none"),
        ("mobilenetv2", FIRST_EXPAND, "none"),
    ],
    ids=lambda case: case if isinstance(case, str) else "",
)
def test_export_gives_back_what_was_imported(tmp_path, rng, network, naming, head):
    source = draw(naming, rng)
    write_safetensors(tmp_path / "source", source, {})
    arrays = import_weights(tmp_path / "source", network, head=head).arrays
    exported = export_weights(arrays, network, origin=naming.origin)
    scores = f"{naming.classifier[-1]}.weight"
    assert set(exported) == set(source) - {scores}
    for name, array in exported.items():
        assert array.dtype == np.float32
        np.testing.assert_array_equal(array, source[name])


@pytest.mark.parametrize(
    ("model", "origin", "options"),
    [
        ("vgg16_fcn8s", "caffe", {"fc_channels": 16, "upsampling": "learned"}),
        ("vgg16_fcn32s", "torchvision", {"fc_channels": 16, "norm": "batch"}),
        ("vgg16_deeplab_aspp", "caffe", {"fc_channels": 16, "sides": ("data", "pool4")}),
        ("alexnet_fcn32s", "caffe", {"fc_channels": 16}),
        ("mobilenetv2_fcn8s", "torchvision", {"first_expand": True}),
        ("mobilenetv2_deeplab_largefov", "torchvision", {}),
        ("resnet18_fcn8s", "torchvision", {}),
        ("resnet18_deeplab_largefov", "torchvision", {}),
    ],
    ids=lambda case: case if isinstance(case, str) else "",
)
def test_export_and_import_again_is_the_same(tmp_path, model, origin, options):
    shapes = shapes_of(get_model(model, num_classes=3, **options))
    # Numbers that tell the places within a leaf, and the leaves, apart.
    before = {
        "/".join(path): np.arange(index, index + leaf.size, dtype=np.float32).reshape(leaf.shape)
        for index, (path, leaf) in enumerate(_walk(shapes))
    }
    network = model.split("_")[0]
    write_safetensors(tmp_path / "exported", export_weights(before, network, origin=origin), {})
    after, _, report = import_weights(tmp_path / "exported", network, head="own")
    assert set(after) == set(before) and "unused" not in report.counts
    for leaf, array in before.items():
        np.testing.assert_array_equal(after[leaf], array, leaf)


def test_narrow_network_is_exported_too(rng):
    model = get_model("resnet18_fcn8s", num_classes=3, width=0.25)
    leaves = {"/".join(path): leaf for path, leaf in _walk(shapes_of(model))}
    arrays = {leaf: rng.random(shape.shape, np.float32) for leaf, shape in leaves.items()}
    exported = export_weights(arrays, "resnet18", origin="torchvision")
    assert len(exported) == len(arrays)
    assert exported["layer1.0.conv1.weight"].shape == (16, 16, 3, 3)
    kernel = arrays["params/score_layer3/kernel"]
    np.testing.assert_array_equal(exported["score_layer3.weight"], kernel.transpose(3, 2, 0, 1))


def test_real_mobilenet_comes_back_bit_for_bit(tmp_path, real_weights):
    path = real_weights / "mobilenet_v2_imagenet.safetensors"
    arrays, metadata, report = import_weights(path, "mobilenetv2")
    assert report.counts == {"copied": 265}
    write_safetensors(tmp_path / "mobilenetv2.safetensors", arrays, metadata)
    weights = load_weights(tmp_path / "mobilenetv2.safetensors")
    exported = export_weights(weights.arrays, "mobilenetv2", origin="torchvision")
    source = read_weights(path)
    assert set(exported) == set(source)
    for name, array in source.items():
        np.testing.assert_array_equal(exported[name], array)


def test_export_rejects_names_that_there_are_not(tmp_path, rng):
    source = draw(names.caffenet(), rng)
    write_safetensors(tmp_path / "source", source, {})
    arrays = import_weights(tmp_path / "source", "alexnet").arrays
    with pytest.raises(ValueError, match="no counterpart with names of torchvision"):
        export_weights(arrays, "alexnet", origin="torchvision")
    with pytest.raises(ValueError, match="unknown origin 'keras'; known: caffe, torchvision"):
        export_weights(arrays, "alexnet", origin="keras")
    with pytest.raises(ValueError, match="params/aspp0/kernel has no name elsewhere"):
        export_weights(
            arrays | {"params/aspp0/kernel": np.zeros((1, 1, 2, 2))}, "alexnet", origin="caffe"
        )


# --- memory -----------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_file_is_imported_in_less_than_one_and_a_half_times_its_size(tmp_path):
    if not os.path.exists("/proc/self/status"):
        pytest.skip("needs /proc to see the peak of a process's memory")
    path = tmp_path / "vgg16.caffemodel"
    write_caffemodel(path, draw_vgg16(np.random.default_rng(0), fc_channels=1024), form="v1")
    assert path.stat().st_size > 150e6
    code = (
        "from fcn_jax.weights.importer import import_weights\n"
        "from fcn_jax.weights.files import write_safetensors\n"
        "def peak():\n"
        "    lines = open('/proc/self/status').read().splitlines()\n"
        "    return int(next(line.split()[1] for line in lines if line.startswith('VmHWM')))\n"
        "before = peak()\n"
        f"arrays, metadata, _ = import_weights({str(path)!r}, 'vgg16', head='fcn')\n"
        f"write_safetensors({str(tmp_path / 'out')!r}, arrays, metadata)\n"
        "print(peak() - before)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    # The peak counts the pages of the file that were mapped.
    assert int(run.stdout) * 1024 < 1.5 * path.stat().st_size
    (tmp_path / "out").unlink()
    path.unlink()
