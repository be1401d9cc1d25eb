"""The geometry against the numbers of the papers, the releases, and gradients."""

from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fcn_jax.ops.conv.conv import conv
from fcn_jax.ops.geometry import (
    Crop,
    Upscore,
    Window,
    coord_map,
    crop_offset,
    field_size,
    one_sided,
    output_size,
    receptive_field,
    stride_and_start,
)
from fcn_jax.ops.pool import avg_pool
from fcn_jax.ops.upsample import align_corners, bilinear_upscore
from tests import oracles

# The released networks, layer by layer, written down here once more and by hand.


def _vgg(conv1_1, pools, rates=(1, 1, 1, 1, 1)):
    """Returns the paths to pool1 ... pool5."""
    paths, path = {}, []
    for stage, (convs, pool, rate) in enumerate(
        zip((2, 2, 3, 3, 3), pools, rates, strict=True), start=1
    ):
        path = path + [Window(3, pad=rate, rate=rate)] * convs + [pool]
        if stage == 1:
            path[0] = conv1_1
        paths[f"pool{stage}"] = path
    return paths


def _fcn_vgg(skips):
    paths = _vgg(Window(3, pad=100), [Window(2, 2, ceil=True)] * 5)
    paths["fc6"] = paths["pool5"] + [Window(7)]
    paths["fc7"] = paths["score_fr"] = paths["fc6"] + [Window(1)]
    score, name, stride = paths["score_fr"], "upscore2", 32
    for skip in skips:
        upscore = paths[name] = score + [Upscore(4, 2)]
        paths[f"score_{skip}"] = paths[skip] + [Window(1)]
        offset = crop_offset(paths[f"score_{skip}"], upscore)
        paths[f"score_{skip}c"] = paths[f"score_{skip}"] + [Crop(offset)]
        score = paths[f"fuse_{skip}"] = upscore
        name, stride = f"upscore_{skip}", stride // 2
    name = f"upscore{stride}" if skips else "upscore"
    paths[name] = score + [Upscore(2 * stride, stride)]
    paths["score"] = paths[name] + [Crop(crop_offset(paths[name], []))]
    return paths


def _fcn_alexnet():
    pool = Window(3, 2, ceil=True)
    paths = {"pool1": [Window(11, 4, pad=100), pool]}
    paths["pool2"] = paths["pool1"] + [Window(5, pad=2), pool]
    paths["norm1"], paths["norm2"] = paths["pool1"], paths["pool2"]
    paths["pool5"] = paths["pool2"] + [Window(3, pad=1)] * 3 + [pool]
    paths["fc6"] = paths["pool5"] + [Window(6)]
    paths["fc7"] = paths["score_fr"] = paths["fc6"] + [Window(1)]
    paths["upscore"] = paths["score_fr"] + [Upscore(63, 32)]
    paths["score"] = paths["upscore"] + [Crop(crop_offset(paths["upscore"], []))]
    return paths


def _deeplab_largefov():
    pools = [Window(3, stride, pad=1, ceil=True) for stride in (2, 2, 2, 1, 1)]
    paths = _vgg(Window(3, pad=1), pools, rates=(1, 1, 1, 1, 2))
    paths["pool5a"] = paths["pool5"] + [Window(3, pad=1, ceil=True)]
    paths["fc6"] = paths["pool5a"] + [Window(3, pad=12, rate=12)]
    paths["fc7"] = paths["fc8"] = paths["fc6"] + [Window(1)]
    paths["fc8_interp"] = paths["fc8"] + [align_corners(8)]
    return paths


NETS = {
    "voc_fcn32s": _fcn_vgg([]),
    "voc_fcn16s": _fcn_vgg(["pool4"]),
    "voc_fcn8s": _fcn_vgg(["pool4", "pool3"]),
    "voc_fcn_alexnet": _fcn_alexnet(),
    "deeplab_largefov": _deeplab_largefov(),
}


# What a crop is cut to; the image where it is not said.
REFERENCES = {"score_pool4c": "upscore2", "score_pool3c": "upscore_pool4"}


def _size(path, size):
    """The size behind a path; a crop to the image leaves the image's own size."""
    for layer in path:
        size = output_size(layer, size)
    return size


# --- sizes ------------------------------------------------------------------------------------

PADDINGS = [(k, s, p) for k in (1, 2, 3, 4) for s in (1, 2, 3, 4) for p in range(k)]


@pytest.mark.parametrize(("kernel", "stride", "pad"), PADDINGS)
def test_output_size_of_pooling_matches_caffe_windows(kernel, stride, pad):
    layer = Window(kernel, stride, pad, ceil=True)
    # Caffe takes one window that is too large, as long as it is so by less than a stride.
    for size in range(max(1, kernel - 2 * pad - stride + 1), 20):
        windows = oracles.caffe_pool_windows(size, kernel=kernel, stride=stride, pad=pad)
        assert output_size(layer, size) == len(windows), size


@pytest.mark.parametrize(("kernel", "stride", "pad"), PADDINGS)
@pytest.mark.parametrize("rate", [1, 2, 3])
def test_output_size_of_convolution_matches_count_of_windows(kernel, stride, pad, rate):
    layer = Window(kernel, stride, pad, rate)
    for size in range(max(1, layer.extent - 2 * pad), 20):
        count = oracles.conv_size(size, kernel=kernel, stride=stride, pad=pad, rate=rate)
        assert output_size(layer, size) == count, size


@pytest.mark.parametrize("size", [2, 8, 30, 224])
@pytest.mark.parametrize("kernel", [3, 5, 7])
def test_one_sided_window_is_tensorflows_same_at_even_sizes(kernel, size):
    """As tf.nn's notes on padding have it: out = ceil(in / stride), the odd zero is behind."""
    units = -(-size // 2)
    total = (units - 1) * 2 + kernel - size
    window = one_sided(kernel, stride=2)
    assert output_size(window, size) == units
    assert window.padding == (total // 2, total - total // 2)


def test_caffe_pooling_drops_a_window_that_starts_in_the_far_padding():
    assert output_size(Window(2, stride=2, pad=1, ceil=True), 5) == 3  # starts -1, 1, 3; not 5
    assert output_size(Window(2, stride=2, pad=1, ceil=True), 4) == 3


@pytest.mark.parametrize("factor", range(1, 10))
def test_upscore_of_twice_the_factor_adds_one_factor(factor):
    assert output_size(Upscore(2 * factor, factor), 7) == 8 * factor


@pytest.mark.parametrize("net", NETS)
def test_size_sweep_is_unchanged(net):
    golden = oracles.load_golden("size_sweep")[net]
    for sizes in golden["sizes"]:
        expected = dict(zip(golden["blobs"], sizes, strict=True))
        size = expected.pop("data")
        cropped = {name for name in expected if isinstance(_last(net, name), Crop)}
        for name in cropped:
            assert expected[name] == (expected[REFERENCES[name]] if name in REFERENCES else size)
        actual = {name: _size(NETS[net][name], size) for name in expected.keys() - cropped}
        assert actual == {name: expected[name] for name in actual}


def _last(net, name):
    return NETS[net][name][-1] if name in NETS[net] else None


def test_every_crop_fits_at_every_size():
    golden = oracles.load_golden("crop_validity")
    first, last = golden["sizes"]
    for net, crops in golden["trailing_discard_min_max"].items():
        paths, rests = NETS[net], {crop: [] for crop in crops}
        for size in range(first, last + 1, 3):  # coprime to the stride: every remainder occurs
            for crop in crops:
                wanted = _size(paths[REFERENCES[crop]], size) if crop in REFERENCES else size
                rests[crop].append(_size(paths[crop], size) - wanted)
        assert {crop: [min(rest), max(rest)] for crop, rest in rests.items()} == crops


def test_output_size_rejects_an_image_that_the_window_does_not_fit():
    with pytest.raises(ValueError, match="4 pixels are too few for a window of 7 with pad 1"):
        output_size(Window(7, pad=1), 4)
    with pytest.raises(ValueError, match="6 pixels are too few for a window of 13"):
        output_size(Window(4, rate=4), 6)


# --- positions --------------------------------------------------------------------------------

OFFSETS = {
    "voc_fcn32s": {"score": 19},
    "voc_fcn16s": {"score_pool4c": 5, "score": 27},
    "voc_fcn8s": {"score_pool4c": 5, "score_pool3c": 9, "score": 31},
    "voc_fcn_alexnet": {"score": 18},
}


@pytest.mark.parametrize("net", OFFSETS)
def test_crop_offsets_are_the_released_ones(net):
    assert {name: NETS[net][name][-1].offset for name in OFFSETS[net]} == OFFSETS[net]


def test_coord_map_of_fcn32s_is_the_identity_after_its_crop():
    assert coord_map(NETS["voc_fcn32s"]["upscore"]) == (1, 19)
    assert coord_map(NETS["voc_fcn32s"]["score"]) == (1, 0)


def test_coord_map_inverts_stride_and_start():
    for paths in NETS.values():
        for path in paths.values():
            (scale, shift), (stride, start) = coord_map(path), stride_and_start(path)
            assert (start * scale + shift, (start + stride) * scale + shift) == (0, 1)


def test_coord_map_of_a_stack_composes_its_layers():
    path = NETS["voc_fcn8s"]["score"]
    position = Fraction(7, 3)
    for layer in path:
        scale, shift = coord_map([layer])
        position = position * scale + shift
    scale, shift = coord_map(path)
    assert position == Fraction(7, 3) * scale + shift


def test_coord_map_of_an_atrous_window_is_that_of_its_extent():
    assert coord_map([Window(4, 2, pad=6, rate=4)]) == coord_map([Window(13, 2, pad=6)])


def test_upscore_undoes_the_window_of_the_same_shape():
    assert coord_map([Window(16, 8, pad=3), Upscore(16, 8, pad=3)]) == (1, 0)


@pytest.mark.parametrize(
    ("net", "blob", "stride", "start"),
    [
        ("voc_fcn32s", "score_fr", 32, 12.5),
        ("voc_fcn8s", "score_pool4", 16, -91.5),
        ("voc_fcn8s", "score_pool3", 8, -95.5),
        ("voc_fcn_alexnet", "score_fr", 32, 13),
        ("deeplab_largefov", "fc8", 8, 0),
        ("deeplab_largefov", "fc8_interp", 1, 0),
    ],
)
def test_stride_and_start_are_the_released_ones(net, blob, stride, start):
    assert stride_and_start(NETS[net][blob]) == (stride, start)


def test_crop_offset_may_be_negative():
    fine, coarse = [Window(2, 2)], [Window(2, 2), Crop(3)]
    assert crop_offset(fine, coarse) == 3
    assert crop_offset(coarse, fine) == -3


def test_crop_offset_rejects_grids_of_different_strides():
    with pytest.raises(ValueError, match="stride 32 and 16 cannot be aligned"):
        crop_offset(NETS["voc_fcn8s"]["pool5"], NETS["voc_fcn8s"]["pool4"])


def test_crop_offset_rejects_grids_a_fraction_apart():
    with pytest.raises(ValueError, match="1/2 units apart, which is no whole number"):
        crop_offset([Window(2, pad=1)], [])


# --- receptive fields -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("net", "blob", "field"),
    [
        ("voc_fcn32s", "score_fr", 404),
        ("voc_fcn8s", "pool4", 100),
        ("voc_fcn8s", "pool3", 44),
        ("voc_fcn_alexnet", "score_fr", 355),
        ("deeplab_largefov", "pool5", 227),
        ("deeplab_largefov", "fc8", 435),
    ],
)
def test_field_size_is_the_released_one(net, blob, field):
    assert field_size(NETS[net][blob]) == field


def test_field_size_of_the_first_deeplab_is_308():
    pools = [Window(2, 2, pad=1, ceil=True)] * 3 + [Window(2, ceil=True)]
    pools += [Window(3, pad=1, ceil=True)]
    paths = _vgg(Window(3, pad=1), pools, rates=(1, 1, 1, 1, 2))
    fc6 = paths["pool5"] + [Window(4, pad=6, rate=4)]
    assert (field_size(fc6), *stride_and_start(fc6)) == (308, 8, 0.5)


def test_receptive_field_of_an_upscored_pixel_is_that_of_the_units_that_reach_it():
    # Four taps, stride two: pixel 3 gets shares of units 0 (its last tap) and 1 (its second).
    assert receptive_field([Upscore(4, 2)], 3) == (0, 1)
    assert receptive_field([Upscore(4, 2, pad=1)], 2) == (0, 1)
    assert receptive_field([align_corners(4)], 8) == (2, 2)  # a corner sees its own unit alone
    assert receptive_field([Window(2, 2), Upscore(4, 2), Crop(1)], 2) == (0, 3)


def test_receptive_field_counts_padding():
    assert receptive_field([Window(3, pad=1)], 0) == (-1, 1)


STACKS = {
    "convolutions": [Window(3, pad=1), Window(5, stride=2), Window(3, pad=2)],
    "pools": [Window(3, 2, pad=1, ceil=True), Window(2, 2, ceil=True), Window(3, pad=1, ceil=True)],
    "atrous": [Window(3, pad=1), Window(3, stride=2, pad=2, rate=2), Window(4, pad=3, rate=2)],
    "upscore": [Window(3, pad=1), Window(4, stride=2, pad=1), Upscore(4, 2), Crop(2)],
    "align_corners": [Window(3, stride=2, pad=1), align_corners(3), Crop(1), Window(3, stride=2)],
}


@pytest.mark.parametrize("name", STACKS)
def test_gradient_support_equals_receptive_field(name):
    stack, height, width = STACKS[name], 21, 17

    def run(image):
        maps = image[None, :, :, None]
        for layer in stack:
            match layer:
                case Window(ceil=True):
                    maps = avg_pool(maps, layer)
                case Window(kernel):
                    maps = conv(maps, jnp.ones((kernel, kernel, 1, 1)), layer)
                case Upscore():
                    maps = bilinear_upscore(maps, layer)
                case Crop(offset):
                    maps = maps[:, offset:, offset:]
        return maps[0, :, :, 0]

    # Every weight is positive, so that nothing cancels: a gradient is zero for want of a path.
    support = np.asarray(jax.jit(jax.jacrev(run))(jnp.zeros((height, width)))) > 0
    for y, x in np.ndindex(support.shape[:2]):
        expected = np.zeros((height, width), bool)
        (top, bottom), (left, right) = receptive_field(stack, y), receptive_field(stack, x)
        expected[max(top, 0) : bottom + 1, max(left, 0) : right + 1] = True
        np.testing.assert_array_equal(support[y, x], expected, err_msg=f"unit {y}, {x}")


def test_field_size_above_an_upscore_is_that_of_the_widest_phase():
    # Units of field 3, two pixels apart; the upscored pixels see one of them or two in turn.
    stack = [Window(3, stride=2), align_corners(2)]
    sizes = [last - first + 1 for first, last in (receptive_field(stack, i) for i in range(4))]
    assert (sizes, field_size(stack)) == ([3, 5, 3, 5], 5)
