"""Which network a file is: names of many families, what wrappers put before them, and strangers."""

import hashlib
import json

import numpy as np
import pytest

from fcn_jax.models.layers import NormSpec
from fcn_jax.weights import backbone_names as names
from fcn_jax.weights.axes import format_shape
from fcn_jax.weights.files import write_safetensors
from fcn_jax.weights.importer import import_weights
from fcn_jax.weights.naming import HUGGING_FACE, NORM_EPSILON, PREPROCESS, TIMM, Naming
from fcn_jax.weights.network_file import load_weights
from fcn_jax.weights.recognition import find_network
from tests.weights.test_exchange import draw, empty

HF_MOBILENET = names.mobilenet_v2(first_expand=False, origin=HUGGING_FACE)


@pytest.mark.parametrize(
    ("naming", "count", "digest"),
    [
        # Of the state dicts that torchvision 0.29, timm 1.0.31 and transformers 5.24 make, without
        # classifiers, counters and the prefixes of whole models.
        (names.vgg16("torchvision", norm=False), 26, "5c6f209a64a61017"),
        (names.vgg16("torchvision", norm=True), 78, "17f91fa48cbfbc0d"),
        (names.torchvision_alexnet(), 10, "e68f380d754f72ab"),
        (names.resnet(18), 100, "853f4d0812ff9d47"),
        (names.resnet(101), 520, "d044d5dfec91c239"),
        (names.mobilenet_v2(first_expand=False), 260, "3ca14a84693bdce0"),
        (names.vgg16(TIMM, norm=True), 78, "17f91fa48cbfbc0d"),
        (names.resnet(50), 265, "f376833009091ead"),
        (names.mobilenet_v2(first_expand=False, origin=TIMM), 260, "054afbc242fe5805"),
        (names.resnet(18, origin=HUGGING_FACE), 100, "289a8d9c29490a90"),
        (names.resnet(34, origin=HUGGING_FACE), 180, "3c43a9bf7d5b1075"),
        (names.resnet(50, origin=HUGGING_FACE), 265, "f557b11d06935def"),
        (names.resnet(101, origin=HUGGING_FACE), 520, "dbd8ab865fab9911"),
        (HF_MOBILENET, 260, "e4718eefc3bac45a"),
    ],
    ids=lambda case: case.origin if isinstance(case, Naming) else "",
)
def test_names_and_shapes_are_those_that_the_libraries_make(naming, count, digest):
    lines = sorted(f"{name} {format_shape(array.shape)}" for name, array in empty(naming).items())
    assert len(lines) == count
    assert hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16] == digest


RESNET18 = names.resnet(18)


def under(prefix, naming=RESNET18):
    return {f"{prefix}{name}": array for name, array in empty(naming).items()}


@pytest.mark.parametrize(
    "prefix",
    ["", "module.", "model.", "backbone.", "_orig_mod.", "module._orig_mod.model.encoder."],
)
def test_network_is_found_behind_what_wrappers_put_before_it(prefix):
    others = {"aux_classifier.0.weight": np.zeros((4, 4, 3, 3)), "n_averaged": np.array(3)}
    found = find_network("resnet18", under(prefix) | (others if prefix else {}))
    assert found.prefix == prefix and found.arrays.keys() == empty(RESNET18).keys()
    # A counter before which nothing stands is no part of the network and does no harm.
    assert set(found.others) == (set(others) if prefix else set())


def test_of_weights_and_their_moving_average_the_weights_are_taken():
    for average in ("ema_model.module.", "state_dict_ema.", "model_ema.", "teacher."):
        for plain in ("", "model."):
            found = find_network("resnet18", under(plain) | under(average))
            assert found.prefix == plain and len(found.others) == 100
        assert find_network("resnet18", under(average)).prefix == average


def test_two_networks_in_a_file_are_not_chosen_from():
    source = under("encoder_q.") | under("encoder_k.")
    with pytest.raises(
        ValueError, match="several times, under 'encoder_k.' and 'encoder_q.'; save"
    ):
        find_network("resnet18", source)


def changed(naming, **shapes):
    return empty(naming) | {
        name.replace("__", "."): np.broadcast_to(0.0, shape) for name, shape in shapes.items()
    }


def only(*entries):
    return {name: np.broadcast_to(0.0, shape) for name, shape in entries}


VGG16 = names.vgg16("caffe", norm=False)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (empty(names.resnet(50)), "this is ResNet-50 in torchvision's names, and no VGG16; give -"),
        (under("model.", HF_MOBILENET), "this is MobileNetV2 in Hugging Face's names, and no "),
        (empty(names.caffenet()), r"this is CaffeNet \(AlexNet\) in Caffe's names, and no VGG16"),
        # ResNet-152 and the wide ones are no network here.
        (changed(names.resnet(101), layer3__35__conv1__weight=(256, 1024, 1, 1)),
         "no VGG16; it comes near to ResNet-101 .*, but there is no place for layer3.35.conv1"),
        (changed(names.resnet(50), layer1__0__conv2__weight=(128, 128, 3, 3)),
         "comes near to ResNet-50 .*, but layer1.0.conv2.weight is 128x128x3x3 where 64x64x3x3"),
        (changed(VGG16, conv3_4__weight=(256, 256, 3, 3)), "no VGG16: there is no place for conv3"),
        (only(("conv1_1_bgrd.weight", (64, 4, 3, 3))), "NYUDv2's FCN of colour and depth, and "),
        (only(("conv1_1color.weight", (64, 3, 3, 3)), ("conv1_1hha.weight", (64, 3, 3, 3))),
         "NYUDv2's FCN of colour and HHA images, and it is two networks"),
        (only(("MobilenetV2/Conv/weights", (3, 3, 3, 32))), "a MobileNetV2 in TF-slim's na"),
        (only(("blocks.2.0.conv_dw.weight", (144, 1, 5, 5))), "an EfficientNet-lite in timm"),
        (only(("vit.cls_token", (1, 1, 768))), "a transformer, and there is no such network here"),
        (only(("a.weight", (3,))), "no VGG16: it has no conv1_1.weight; it holds a.weight"),
    ],
)  # fmt: skip
def test_refusal_says_what_a_file_is(source, message):
    with pytest.raises(ValueError, match=message):
        find_network("vgg16", source)


def test_file_that_was_not_imported_is_answered_with_the_command_that_does_it(tmp_path, rng):
    write_safetensors(tmp_path / "net.safetensors", draw(HF_MOBILENET, rng), {})
    with pytest.raises(ValueError) as error:
        load_weights(tmp_path / "net.safetensors")
    first, second = str(error.value).splitlines()
    assert "is MobileNetV2 in Hugging Face's names, and is to be imported first" in first
    command = f"python launch.py import_weights {tmp_path}/net.safetensors --network=mobilenetv2 "
    assert second == f"{command}--output=weights/net.safetensors"


# --- what a family means by its numbers ---------------------------------------------------------


def test_epsilon_is_that_of_the_networks_here():
    assert NormSpec().epsilon == NORM_EPSILON


@pytest.mark.parametrize("first_expand", [False, True])
def test_hugging_faces_mobilenet_keeps_its_epsilon_its_images_and_its_plan(
    tmp_path, rng, first_expand
):
    naming = names.mobilenet_v2(first_expand=first_expand, origin=HUGGING_FACE)
    source = {f"mobilenet_v2.{name}": array for name, array in draw(naming, rng).items()}
    # What is outside of the network in the library's own files.
    source["classifier.weight"] = source.pop("mobilenet_v2.classifier.weight")
    write_safetensors(tmp_path / "net", source, {})
    arrays, metadata, report = import_weights(tmp_path / "net", "mobilenetv2")
    for layer in naming.layers:
        var = source[f"mobilenet_v2.{layer.norm}.running_var"].astype(np.float64)
        ours = arrays[f"batch_stats/{layer.path}/norm/var"]
        np.testing.assert_allclose(ours + 1e-5, var + 1e-3, rtol=1e-6)
    assert json.loads(metadata["preprocess"]) == PREPROCESS["tensorflow"]
    plan = {"first_expand": first_expand, "strides": [1, 2, 2, 2, 1, 2, 1], "activation": "relu6"}
    assert json.loads(metadata["requires"]) == plan
    assert any("TensorFlow's padding" in note for note in report.notes)
    assert report.notes[-1] == "left out of the file: classifier"
    assert report.counts["folded"] == len(naming.layers) and report.counts["unused"] == 1


def test_head_of_torchvisions_segmentation_networks_is_refused_and_the_backbone_taken(
    tmp_path, rng
):
    source = {f"backbone.{name}": array for name, array in draw(RESNET18, rng).items()}
    del source["backbone.fc.weight"]
    source["classifier.0.weight"] = rng.random((8, 512, 3, 3), np.float32)
    source["classifier.1.running_mean"] = rng.random(8, np.float32)
    write_safetensors(tmp_path / "net", source, {})
    arrays, _, report = import_weights(tmp_path / "net", "resnet18")
    assert len(arrays) == 100 and report.counts == {"copied": 100, "unused": 2}
    assert report.notes[-1] == "left out of the file: classifier.0, classifier.1"
    with pytest.raises(ValueError, match=r"like its own \(classifier.0.weight\); import the backb"):
        import_weights(tmp_path / "net", "resnet18", head="own")


def test_preparation_of_images_that_is_part_of_a_file_is_asked_for(tmp_path, rng):
    source = {f"net.{name}": array for name, array in draw(RESNET18, rng).items()}
    source["normalize.mean"] = np.full((1, 3, 1, 1), 0.5, np.float32)
    write_safetensors(tmp_path / "net", source, {})
    with pytest.raises(ValueError, match=r"normalize.mean \(0.5, 0.5, 0.5\) is how it prepares im"):
        import_weights(tmp_path / "net", "resnet18")
    import_weights(tmp_path / "net", "resnet18", preprocess="tensorflow")
