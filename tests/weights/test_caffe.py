"""Caffe's files: every generation and encoding, real ones, and broken ones."""

import mmap

import numpy as np
import pytest

from fcn_jax.weights import caffe
from fcn_jax.weights.caffe import name_blobs, read_binaryproto, read_caffemodel
from tests.weights.conftest import blob, field, net, write_caffemodel

FORMS = ("v0", "v1", "v2")


def draw_layers(rng, dtype=np.float32):
    shapes = {
        "conv1": [(4, 3, 5, 5), (4,)],
        "one_to_one": [(1, 1, 3, 3), (1,)],
        "ip1": [(6, 20), (6,)],
        "one_output": [(1, 6), (1,)],
        "no_bias": [(2, 4, 1, 1)],
    }
    return {
        name: [rng.normal(size=size).astype(dtype) for size in sizes]
        for name, sizes in shapes.items()
    }


def assert_same(layers, expected):
    assert list(layers) == list(expected)
    for name, blobs in expected.items():
        assert len(layers[name]) == len(blobs)
        for found, array in zip(layers[name], blobs, strict=True):
            assert found.dtype == array.dtype
            np.testing.assert_array_equal(found, array)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("form", FORMS)
def test_caffemodel_round_trips_exactly(tmp_path, rng, form, packed, dtype):
    layers = draw_layers(rng, dtype)
    path = write_caffemodel(tmp_path / "net", layers, form=form, packed=packed)
    assert_same(read_caffemodel(path), layers)


def test_v2_file_with_legacy_sizes_has_the_same_shapes(tmp_path, rng):
    layers = draw_layers(rng)
    path = write_caffemodel(tmp_path / "net", layers, form="v2", legacy=True)
    assert_same(read_caffemodel(path), layers)


@pytest.mark.parametrize("legacy", [True, False])
def test_batch_norm_and_scale_have_vectors(tmp_path, rng, legacy):
    """Of one channel too, where the sizes alone do not tell a vector from a matrix."""
    shapes = {f"bn{n}": [(n,), (n,), (1,)] for n in (1, 5)}
    shapes |= {f"scale{n}": [(n,), (n,)] for n in (1, 5)}
    layers = {
        name: [rng.normal(size=size).astype(np.float32) for size in sizes]
        for name, sizes in shapes.items()
    }
    path = write_caffemodel(tmp_path / "net", layers, legacy=legacy)
    assert_same(read_caffemodel(path), layers)


def test_blobs_of_a_batch_norm_are_sums(rng):
    mean, var = rng.normal(size=(2, 7)).astype(np.float32)
    for count in (np.float32(999.98), np.float32(1)):
        named = name_blobs([mean * count, var * count, np.array([count])])
        assert list(named) == ["running_mean", "running_var"]
        np.testing.assert_allclose(named["running_mean"], mean, rtol=1e-6)
        np.testing.assert_allclose(named["running_var"], var, rtol=1e-6)
    for array in name_blobs([mean, var, np.zeros(1, np.float32)]).values():
        assert not array.any()  # as in Caffe, which does not divide by 0


def test_blobs_of_other_layers_are_as_stored(rng):
    blobs = [rng.normal(size=size) for size in ((4, 3, 1, 1), (4,), (1,))]
    assert {name: id(blob) for name, blob in name_blobs(blobs).items()} == {
        "weight": id(blobs[0]),
        "bias": id(blobs[1]),
        "2": id(blobs[2]),
    }


def test_blob_in_pieces_is_joined(tmp_path):
    values = np.arange(6, dtype=np.float32)
    tag = field(5, b"")[:1]  # of packed numbers; of a single one it has wire type 5
    single = bytes([tag[0] - 2 + 5])
    pieces = field(5, values[:2].tobytes()) + field(5, values[2:3].tobytes())
    pieces += b"".join(single + value.tobytes() for value in values[3:5])
    pieces += field(7, field(1, 2) + field(1, 3))  # sizes that are not packed, in between
    pieces += single + values[5:].tobytes()
    layer = field(1, b"ip") + field(7, pieces)
    (tmp_path / "net").write_bytes(field(100, layer))
    assert_same(read_caffemodel(tmp_path / "net"), {"ip": [values.reshape(2, 3)]})


def test_gradients_and_unknown_fields_are_passed_over(tmp_path):
    values = np.arange(3, dtype=np.float32)
    content = field(6, values.tobytes()) + blob(values, legacy=False) + field(99, b"later")
    layer = field(7, content) + field(200, 7) + field(1, b"scale")
    (tmp_path / "net").write_bytes(field(777, b"fork") + field(100, layer))
    assert_same(read_caffemodel(tmp_path / "net"), {"scale": [values]})


@pytest.mark.parametrize("packed", [True, False])
def test_blobs_are_views_of_the_file(tmp_path, rng, packed):
    path = write_caffemodel(tmp_path / "net", draw_layers(rng), packed=packed)
    owner = read_caffemodel(path)["conv1"][0]
    assert not owner.flags.writeable
    while isinstance(owner, np.ndarray):
        owner = owner.base
    assert isinstance(getattr(owner, "obj", owner), mmap.mmap)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(3, 4, 5), (1, 4, 5), (1, 3, 4, 5)])
@pytest.mark.parametrize("legacy", [True, False])
def test_binaryproto_is_read_as_one_image(tmp_path, rng, shape, legacy, dtype):
    image = rng.normal(size=shape).astype(dtype)
    (tmp_path / "mean").write_bytes(blob(image, legacy=legacy))
    mean = read_binaryproto(tmp_path / "mean")
    assert mean.dtype == np.float32
    np.testing.assert_array_equal(mean, image.reshape(shape[-3:]).astype(np.float32))


def test_binaryproto_rejects_two_images(tmp_path, rng):
    (tmp_path / "mean").write_bytes(blob(rng.normal(size=(2, 3, 4, 5)), legacy=True))
    with pytest.raises(ValueError, match=r"mean is not a whole binaryproto.*2x3x4x5, and not one"):
        read_binaryproto(tmp_path / "mean")


def reject(tmp_path, content, message):
    (tmp_path / "net").write_bytes(content)
    with pytest.raises(ValueError, match=f"net is not a whole caffemodel: .*{message}"):
        read_caffemodel(tmp_path / "net")


VALUES = blob(np.zeros(6, np.float32), legacy=False)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (field(1, b"net"), "it holds no layer with weights"),
        (field(100, field(1, b"ip") + field(7, VALUES))[:-5], "byte 3: 37 bytes should follow, 32"),
        (field(100, field(7, VALUES)) * 2, "two layers with weights are called ''"),
        (field(100, field(7, field(7, field(1, b"\7")) + field(5, bytes(24)))), "it is 7, and ho"),
        (field(100, field(7, field(7, field(1, b"\0")))), "it is 0, and holds 0 numbers"),
        (field(100, field(7, field(5, bytes(23)))), "a broken row of numbers"),
        (field(100, field(7, b"\x2d\0\0\0")), "a number is cut off"),
        (field(100, field(7, field(1, 2**63))), "a size of a blob is 9223372036854775808"),
        (field(100, 5), "a layer has another type"),
        (b"\x0b", "byte 0: wire type 3"),
        (b"\x00\x01", "byte 0: field number 0"),
        (b"\xff" * 11, "an integer of more than 10 bytes"),
    ],
    ids=lambda case: case if isinstance(case, str) else "",
)  # fmt: skip
def test_caffemodel_rejects(tmp_path, content, message):
    reject(tmp_path, content, message)


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("form", FORMS)
def test_broken_caffemodel_is_read_or_refused(rng, monkeypatch, form, packed):
    layers = {"conv": [rng.normal(size=(2, 1, 3, 3)), np.ones(2, np.float32)], "ip": [np.eye(2)]}
    whole = b"".join(net(layers, form=form, packed=packed))
    broken = [whole[:length] for length in range(1, len(whole))]
    for position in range(len(whole)):
        for bit in range(8):
            flipped = bytearray(whole)
            flipped[position] ^= 1 << bit
            broken.append(bytes(flipped))
    monkeypatch.setattr(caffe, "map_file", lambda number: broken[int(number)])  # thousands of files
    refused = 0
    for number in range(len(broken)):
        try:
            read_caffemodel(str(number))
        except ValueError:
            refused += 1
    assert 0 < refused < len(broken)  # a flip inside of a number cannot be seen


def test_real_lenet_has_the_same_shapes_in_both_forms(real_weights):
    shapes = {
        "conv1": [(20, 1, 5, 5), (20,)],
        "conv2": [(50, 20, 5, 5), (50,)],
        "ip1": [(500, 800), (500,)],
        "ip2": [(10, 500), (10,)],
    }
    for form in ("v1", "v2"):
        layers = read_caffemodel(real_weights / "caffe" / f"lenet_{form}_format.caffemodel")
        assert {name: [blob.shape for blob in blobs] for name, blobs in layers.items()} == shapes
        for blobs in layers.values():
            # Xavier-filled and trained: of order 0.1, without a bit that went astray.
            assert all(
                1e-4 < np.abs(blob).mean() < 0.3 and np.abs(blob).max() < 1 for blob in blobs
            )


def test_real_cifar_network_has_every_blob(real_weights):
    layers = read_caffemodel(real_weights / "caffe" / "cifar10_quick_v1_format.caffemodel")
    assert list(layers) == ["conv1", "conv2", "conv3", "ip1", "ip2"]
    assert sum(blob.size for blobs in layers.values() for blob in blobs) == 145578
    assert all(np.isfinite(blob).all() for blobs in layers.values() for blob in blobs)


def test_real_mean_is_that_of_the_released_networks(real_weights):
    mean = read_binaryproto(real_weights / "caffe" / "ilsvrc_2012_mean.binaryproto")
    assert mean.shape == (3, 256, 256)
    bgr = mean.mean(axis=(1, 2), dtype=np.float64)
    np.testing.assert_allclose(bgr, [104.00698793, 116.66876762, 122.67891434], atol=1e-8)
