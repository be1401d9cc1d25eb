"""Heads of Caffe's releases: scales, branches, groups, means, and what no network here has."""

import json

import numpy as np
import pytest

from fcn_jax.ops.papers import make_preprocess
from fcn_jax.weights.axes import ungroup
from fcn_jax.weights.heads import find_skip_scales
from fcn_jax.weights.importer import import_weights
from fcn_jax.weights.naming import PREPROCESS
from fcn_jax.weights.releases import find_release
from tests.weights.conftest import draw_vgg16, write_caffemodel


@pytest.fixture(scope="module")
def backbone():
    """Caffe's blobs of VGG16's convolutions."""
    layers = draw_vgg16(np.random.default_rng(0), fc_channels=4)
    return {name: blobs for name, blobs in layers.items() if name.startswith("conv")}


@pytest.fixture
def write(tmp_path, rng, backbone):
    """Writes a network with such layers after fc7: shapes of kernels, or the blobs themselves."""

    def make(**head):
        layers = dict(backbone)
        for name, shape in {"fc6": (4, 512, 7, 7), "fc7": (4, 4, 1, 1), **head}.items():
            if isinstance(shape, list):
                layers[name] = shape
                continue
            layers[name] = [rng.random(shape, np.float32), rng.random(shape[:1], np.float32)]
            if name.startswith("upscore"):
                del layers[name][1]
        return write_caffemodel(tmp_path / "net.caffemodel", layers), layers

    return make


FCN16S = {"score_fr": (3, 4, 1, 1), "score_pool4": (3, 512, 1, 1), "upscore2": (3, 3, 4, 4)}


def scale(value, channels):
    return [np.full(channels, value, np.float32)]


def test_scales_of_all_at_once_training_become_the_option(write):
    path, _ = write(
        **FCN16S, score_pool3=(3, 256, 1, 1), scale_pool4=scale(0.01, 512),
        scale_pool3=scale(1e-4, 256),
    )  # fmt: skip
    arrays, metadata, report = import_weights(path, "vgg16", head="own")
    assert json.loads(metadata["requires"]) == {"skip_scales": [0.01, 0.0001]}
    assert report.counts["as option"] == 2 and not any("scale_" in leaf for leaf in arrays)
    _, metadata, report = import_weights(path, "vgg16")
    assert json.loads(metadata["requires"]) == {}
    assert "scale_pool4" in str(report) and "fc6, fc7, score_fr and 5 more" in report.notes[-1]


def kernels(*skips, **scales):
    names = {f"score_{skip}.weight": np.zeros((2, 3, 1, 1)) for skip in ("fr", *skips)}
    return names | {f"{name}.weight": array for name, array in scales.items()}


def test_scales_go_from_coarse_to_fine_and_are_one_where_there_is_none():
    source = kernels("pool3", "pool4", scale_pool3=np.full(3, 0.5, np.float32))
    found = [("scale_pool4.weight", 1.0), ("scale_pool3.weight", 0.5)]
    assert list(find_skip_scales(source).items()) == found
    assert find_skip_scales(kernels("pool3", "pool4")) == {}


def test_scale_that_is_no_factor_is_refused():
    source = kernels("pool4", scale_pool4=np.array([0.5, 0.6], np.float32))
    with pytest.raises(
        ValueError, match="scale_pool4.weight is more than one factor .* score_pool4"
    ):
        find_skip_scales(source)
    source = kernels("pool4", scale_pool4=np.full(2, 0.5, np.float32))
    with pytest.raises(ValueError, match="more than one factor"):
        find_skip_scales(source | {"scale_pool4.bias": np.ones(2, np.float32)})


def test_bias_of_an_upsampling_is_dropped_only_if_it_adds_nothing(write, rng):
    kernel = rng.random((3, 3, 4, 4), np.float32)
    path, _ = write(**FCN16S | {"upscore2": [kernel, np.zeros(3, np.float32)]})
    arrays, _, report = import_weights(path, "vgg16", head="own")
    assert "params/upscore2/bias" not in arrays and report.counts["unused"] == 1
    path, _ = write(**FCN16S | {"upscore2": [kernel, np.ones(3, np.float32)]})
    with pytest.raises(ValueError, match="no head here has a place for its upscore2.bias"):
        import_weights(path, "vgg16", head="own")


def test_upsampling_with_a_group_for_each_class_is_the_dense_one(rng):
    grouped = rng.random((3, 1, 4, 4), np.float32)
    dense = ungroup(grouped)
    assert dense.shape == (3, 3, 4, 4)
    for channel in range(3):
        np.testing.assert_array_equal(dense[channel, channel], grouped[channel, 0])
    assert np.count_nonzero(dense) == grouped.size
    assert ungroup(dense) is dense


SIFT_FLOW = {
    f"{layer}_{branch}": (classes, ins or classes, taps, taps)
    for branch, classes in (("sem", 33), ("geo", 3))
    for layer, ins, taps in (("score_fr", 4, 1), ("upscore2", None, 4), ("score_pool4", 512, 1))
}


def test_semantic_branch_of_sift_flow_is_taken_and_the_other_named(write):
    path, layers = write(**SIFT_FLOW)
    given = "caffe:108.353,115.294,114.578"
    arrays, metadata, report = import_weights(path, "vgg16", head="own", preprocess=given)
    kernel = layers["score_pool4_sem"][0]
    np.testing.assert_array_equal(arrays["params/score_pool4/kernel"], kernel.transpose(2, 3, 1, 0))
    heads = {leaf.split("/")[1] for leaf in arrays} - {"backbone"}
    assert heads == {"fc6", "fc7", "score_fr", "score_pool4", "upscore2"}
    assert "geometric one (3) is left out" in report.notes[-2]
    assert report.notes[-1].endswith("score_fr_geo, upscore2_geo, score_pool4_geo")
    assert "score_pool4_sem.weight" in str(report)
    expected = PREPROCESS["caffe"] | {"mean_rgb": [108.353, 115.294, 114.578]}
    assert json.loads(metadata["preprocess"]) == expected


def test_mean_of_another_data_set_is_asked_for_and_never_imagenets(write):
    path, _ = write(**FCN16S | {"score_fr": (40, 4, 1, 1)})
    message = "it has 40 classes as NYUDv2's, .* --preprocess=caffe:92.318,97.203,116.190 for nyud"
    for head in ("own", "none"):
        with pytest.raises(ValueError, match=message):
            import_weights(path, "vgg16", head=head)
    metadata = import_weights(path, "vgg16", preprocess="caffe").metadata
    assert json.loads(metadata["preprocess"]) == PREPROCESS["caffe"]


def test_releases_are_told_by_their_scores():
    scores = {"score_fr_sem.weight": np.zeros((33, 4, 1, 1))}
    assert "SIFT Flow's, whose mean is not" in find_release(scores).mean_question
    for num_classes in (21, 60):  # VOC and Pascal Context, whose mean is ImageNet's
        assert find_release({"score_fr.weight": np.zeros((num_classes, 4, 1, 1))}) is None


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            "caffe:1,2",
            "unknown preprocess 'caffe:1,2'; known: caffe, torchvision, .*, caffe:R,G,B",
        ),
        ("caffe:0.4,0.4,0.4", "is no mean colour: red, green, blue in 0..255, not in 0..1"),
        ("caffe:300,0,0", "is no mean colour"),
        ("caffe:nan,0,0", "is no mean colour"),
    ],
)
def test_mean_in_numbers_is_looked_at(given, message):
    with pytest.raises(ValueError, match=message):
        make_preprocess(given, option="preprocess")


def test_two_means_contradict_each_other(write):
    path, _ = write()
    with pytest.raises(ValueError, match="--mean=mean are two means; give one"):
        import_weights(path, "vgg16", preprocess="caffe:1,2,3", mean="mean")
