"""Files of weights: told by their content, refused with a reason, saved with all they need."""

import gzip
import io
import json
import os
import pickle
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from fcn_jax.weights import files
from fcn_jax.weights.files import read_weights, write_safetensors
from fcn_jax.weights.network_file import load_weights, make_metadata
from tests.weights.conftest import blob, field, write_caffemodel

ROOT = Path(__file__).parent.parent.parent
METADATA = {
    "format": "fcn_jax",
    "network": "vgg16",
    "preprocess": json.dumps({"mean_rgb": [3.0, 2.0, 1.0], "std_rgb": [1.0] * 3, "bgr": True}),
}


GREY = json.dumps({"mean_rgb": [3.0], "std_rgb": [1.0], "bgr": False})


@pytest.fixture
def arrays(rng):
    """What torch may have in a state dict."""
    return {
        "features.0.weight": rng.normal(size=(2, 3, 3, 3)).astype(np.float32),
        "features.0.bias": rng.normal(size=2),
        "features.1.num_batches_tracked": np.array(7),
    }


def save_npz(path, arrays):
    with open(path, "wb") as file:  # np.savez given a path would append a suffix
        np.savez(file, **arrays)


def save_safetensors(path, arrays):
    safetensors.numpy.save_file(arrays, path, {"format": "pt"})


def assert_same(found, expected):
    assert set(found) == set(expected)
    for name, array in expected.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


@pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".pth", ".caffemodel", ""])
@pytest.mark.parametrize("save", [save_npz, save_safetensors])
def test_content_tells_the_kind_of_file(tmp_path, arrays, save, suffix):
    save(tmp_path / f"weights{suffix}", arrays)
    assert_same(read_weights(tmp_path / f"weights{suffix}"), arrays)


def test_caffe_blobs_get_torch_kind_of_names(tmp_path, rng):
    mean, var, scale, shift = rng.normal(size=(4, 4)).astype(np.float32)
    kernel = rng.normal(size=(4, 1, 3, 3)).astype(np.float32)
    count = np.array([4], np.float32)
    layers = {"conv": [kernel], "bn": [mean * count, var * count, count], "scale": [scale, shift]}
    path = write_caffemodel(tmp_path / "net.safetensors", layers)
    expected = {
        "conv.weight": kernel,
        "bn.running_mean": mean,
        "bn.running_var": var,
        "scale.weight": scale,
        "scale.bias": shift,
    }
    assert_same(read_weights(path), expected)


@pytest.mark.parametrize("length", [8, 60, 61, 123])
def test_length_of_a_name_makes_no_stranger_of_a_caffemodel(tmp_path, length):
    kernel = np.ones((2, 2, 1, 1), np.float32)
    path = write_caffemodel(tmp_path / "net", {"conv": [kernel]})
    path.write_bytes(field(1, b"n" * length) + path.read_bytes())
    assert_same(read_weights(path), {"conv.weight": kernel})


def test_safetensors_are_read_as_views_of_the_file(tmp_path, arrays):
    save_safetensors(tmp_path / "weights", arrays)
    found = read_weights(tmp_path / "weights")
    assert not any(array.flags.owndata or array.flags.writeable for array in found.values())


class Touch:
    """Makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


def make_zip(name, content):
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr(name, content)
    return archive.getvalue()


FOREIGN_FILES = {
    "web page": (b"\n<!DOCTYPE html><html>404", "a web page, probably an error message; download"),
    "old web page": (b"<HTML><HEAD><TITLE>302", "a web page, probably an error message; download"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n", "git lfs pull"),
    "gzip": (gzip.compress(b"weights"), "it is compressed; unpack it first"),
    "hdf5": (b"\x89HDF\r\n\x1a\n" + bytes(99), "it is HDF5, as of Keras"),
    "prototxt": (b'name: "VGG"\nlayers {\n  name: "conv1_1"\n}\n', "it is text; a prototxt"),
    "nothing": (b"", "is empty; download it again"),
    "zeros": (bytes(999), "nor is it .safetensors, .npz or .pth"),
    "mean": (blob(np.ones((3, 4, 5), np.float32), legacy=True), "is a mean image and not a net"),
    "zip": (make_zip("VGG/net.caffemodel", b"\x0a"), "zip archive, but neither .npz nor .pth"),
    "cut zip": (make_zip("a.npy", bytes(99))[:60], "a cut off or broken .npz or .pth file"),
    "bad npz": (make_zip("a.npy", bytes(99)), "no sound .npz file"),
}


@pytest.mark.parametrize("name", FOREIGN_FILES)
def test_read_weights_rejects(tmp_path, name):
    content, message = FOREIGN_FILES[name]
    (tmp_path / "vgg16.caffemodel").write_bytes(content)
    with pytest.raises(ValueError, match=rf"vgg16\.caffemodel .*{message}"):
        read_weights(tmp_path / "vgg16.caffemodel")


def test_read_weights_rejects_a_path_without_a_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="no file of weights at .*nowhere"):
        read_weights(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="is a folder; give the path"):
        read_weights(tmp_path)


def test_truncated_safetensors_is_named_so(tmp_path, arrays):
    save_safetensors(tmp_path / "weights", arrays)
    whole = (tmp_path / "weights").read_bytes()
    for length in (len(whole) - 1, 100):
        (tmp_path / "weights").write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"weights is not a whole \.safetensors file"):
            read_weights(tmp_path / "weights")


def test_unknown_number_type_is_refused(tmp_path):
    header = json.dumps({"a.weight": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}})
    content = len(header).to_bytes(8, "little") + header.encode() + bytes(4)
    (tmp_path / "weights").write_bytes(content)
    with pytest.raises(ValueError, match="holds arrays of type BF16; convert to F32 first"):
        read_weights(tmp_path / "weights")


@pytest.mark.parametrize("wrap", [lambda it: it, lambda it: {"state_dict": it}])
def test_pickle_runs_no_code(tmp_path, wrap):
    content = pickle.dumps(wrap({"features.0.weight": Touch(tmp_path / "ran")}), protocol=2)
    torch_zip = make_zip("archive/data.pkl", content)
    for file in (content, torch_zip):
        (tmp_path / "weights.pth").write_bytes(file)
        with pytest.raises(ValueError, match=r"weights\.pth is (a|no sound) \.pth file"):
            read_weights(tmp_path / "weights.pth")
    np.savez(tmp_path / "weights.npz", Touch(tmp_path / "ran"))
    with pytest.raises(ValueError, match=r"weights\.npz is no sound \.npz file: .*allow_pickle"):
        read_weights(tmp_path / "weights.npz")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("wrap", [lambda it: it, lambda it: {"epoch": 3, "state_dict": it}])
@pytest.mark.parametrize("new_format", [True, False])
def test_pth_holds_the_state_dict(tmp_path, arrays, wrap, new_format):
    torch = pytest.importorskip("torch", reason="torch is optional")
    state = {name: torch.tensor(array) for name, array in arrays.items()}
    state["half"] = torch.tensor([0.5, 3.0], dtype=torch.bfloat16)
    arrays["half"] = np.array([0.5, 3.0], np.float32)
    path = tmp_path / "weights.pth"
    torch.save(wrap(state), path, _use_new_zipfile_serialization=new_format)
    assert_same(read_weights(path), arrays)


def test_pth_that_is_no_state_dict_is_refused(tmp_path):
    torch = pytest.importorskip("torch", reason="torch is optional")
    torch.save([torch.zeros(3)], tmp_path / "weights.pth")
    with pytest.raises(
        ValueError, match=r"it holds a list, and no state dict; save model\.state_dict"
    ):
        read_weights(tmp_path / "weights.pth")


def test_pth_of_more_than_tensors_is_refused_in_our_own_words(tmp_path, recwarn):
    """torch's words have escape codes, and lead to reading the file in an unsafe way."""
    torch = pytest.importorskip("torch", reason="torch is optional")
    torch.save(torch.nn.Conv2d(1, 1, 1), tmp_path / "module.pth")
    torch.save({"state_dict": {}, "args": Path("a")}, tmp_path / "checkpoint.pth")
    (tmp_path / "pickle.pth").write_bytes(pickle.dumps({"a": np.zeros(2)}, protocol=4))
    with zipfile.ZipFile(tmp_path / "script.pth", "w") as archive:  # as TorchScript writes it
        archive.writestr("net/data.pkl", b"")
        archive.writestr("net/constants.pkl", b"")
        archive.writestr("net/version", b"3")
    for path in tmp_path.iterdir():
        message = r"more than tensors: .*; save model\.state_dict|no sound \.pth file: "
        with pytest.raises(ValueError, match=message) as info:
            read_weights(path)
        assert "\x1b" not in str(info.value) and "trust" not in str(info.value)
        assert len(str(info.value).splitlines()) == 1
    assert not recwarn


def test_pth_without_its_numbers_is_refused(tmp_path):
    torch = pytest.importorskip("torch", reason="torch is optional")
    torch.save({"a": torch.zeros(9)}, tmp_path / "whole.pth")
    with zipfile.ZipFile(tmp_path / "whole.pth") as whole:
        pickled = next(name for name in whole.namelist() if name.endswith("data.pkl"))
        (tmp_path / "weights.pth").write_bytes(make_zip(pickled, whole.read(pickled)))
    with pytest.raises(ValueError, match=r"no sound \.pth file: .*no item named"):
        read_weights(tmp_path / "weights.pth")


@pytest.mark.parametrize("kind", ["quantized", "float8", "sparse", "meta", "conjugated"])
@pytest.mark.filterwarnings("ignore")  # some kinds are on their way out of torch
def test_pth_of_tensors_that_are_no_arrays_is_refused(tmp_path, kind):
    torch = pytest.importorskip("torch", reason="torch is optional")
    ones = torch.ones(2, 2)
    tensor = {
        "quantized": lambda: torch.quantize_per_tensor(ones, 0.1, 0, torch.qint8),
        "float8": lambda: ones.to(torch.float8_e4m3fn),
        "sparse": ones.to_sparse,
        "meta": lambda: ones.to("meta"),
        "conjugated": lambda: ones.to(torch.complex64).conj(),
    }[kind]()
    torch.save({"features.0.weight": tensor}, tmp_path / "weights.pth")
    message = r"weights\.pth holds a tensor that is no plain array of numbers \(torch.*\); save the"
    with pytest.raises(ValueError, match=message):
        read_weights(tmp_path / "weights.pth")


@pytest.mark.parametrize("save", [save_npz, save_safetensors])
def test_broken_file_is_read_or_refused(tmp_path, save):
    save(tmp_path / "whole", {"a.weight": np.ones((2, 2), np.float32), "a.bias": np.zeros(2)})
    whole = (tmp_path / "whole").read_bytes()
    broken = [whole[:length] for length in range(0, len(whole), 3)]
    for position in range(len(whole)):
        flipped = bytearray(whole)
        flipped[position] ^= 1 << position % 8
        broken.append(bytes(flipped))
    refused = 0
    for content in broken:
        (tmp_path / "weights").write_bytes(content)
        try:
            read_weights(tmp_path / "weights")
        except ValueError:
            refused += 1
    assert 0 < refused < len(broken)  # a flip inside of a number cannot be seen everywhere


# --- saved files ------------------------------------------------------------------------------


def test_saved_weights_come_back(tmp_path, rng):
    arrays = {
        "params/backbone/conv1_1/kernel": rng.normal(size=(3, 3, 3, 4)).astype(np.float32),
        "batch_stats/backbone/conv1_1/norm/mean": np.ones(4, np.float32),
    }
    path = tmp_path / "new" / "vgg16.safetensors"
    write_safetensors(path, arrays, METADATA)
    weights = load_weights(path)
    assert_same(weights.arrays, arrays)
    assert weights.network == "vgg16" and weights.metadata == METADATA
    assert weights.preprocess == {"mean_rgb": [3, 2, 1], "std_rgb": [1, 1, 1], "bgr": True}


PREPROCESS = {"mean_rgb": (3.0, 2.0, 1.0), "std_rgb": (1.0, 1.0, 1.0), "bgr": True}
LABELS = {"names": ["sky", "road"], "ignore_label": 255}
ORIGIN = {"workdir": "runs/a", "step": 7}


def test_saved_network_says_all_that_it_takes_to_use_it(tmp_path):
    arrays = {"params/score_fr/bias": np.arange(2, dtype=np.float32)}
    model = {"name": "mobilenetv2_fcn8s", "strides": (1, 2, 2, 1, 2, 2, 1)}
    strides = (1, 2, 2, 1, 2, 2, 1)
    requires = {"first_expand": True, "strides": strides, "activation": "relu"}
    metadata = make_metadata(
        "mobilenetv2",
        model=model,
        labels=LABELS,
        preprocess=PREPROCESS,
        requires=requires,
        origin=ORIGIN,
    )
    path = tmp_path / "network.safetensors"
    write_safetensors(path, arrays, metadata)
    weights = load_weights(path)
    assert_same(weights.arrays, arrays)
    assert weights.network == "mobilenetv2" and weights.requires == requires
    assert weights.model == json.loads(json.dumps(model)) and weights.labels == LABELS
    assert weights.preprocess == json.loads(json.dumps(PREPROCESS)) and weights.origin == ORIGIN


def test_file_from_before_the_metadata_were_json_is_loaded(tmp_path):
    facts = {"head": "fcn", "source": "vgg16.caffemodel", "sha256": "00"}
    arrays = {"params/backbone/conv1_1/kernel": np.zeros((3, 3, 3, 4), np.float32)}
    write_safetensors(tmp_path / "a", arrays, METADATA | facts | {"origin": "caffe", "seed": "0"})
    weights = load_weights(tmp_path / "a")
    assert weights.origin == facts | {"names": "caffe"}
    assert (weights.model, weights.labels, weights.requires) == ({}, None, {})


def test_option_that_is_younger_than_a_file_is_as_it_was_then(tmp_path):
    arrays = {"params/backbone/conv1/kernel": np.zeros((7, 7, 3, 4), np.float32)}
    metadata = METADATA | {"network": "resnet50"}
    for requires, expected in (("{}", False), ('{"stride_in_1x1": true}', True)):
        write_safetensors(tmp_path / "a", arrays, metadata | {"requires": requires})
        assert load_weights(tmp_path / "a").requires == {"stride_in_1x1": expected}


def test_write_keeps_the_layout_of_a_transposed_array(tmp_path):
    array = np.arange(6, dtype=np.float32).reshape(2, 3).T
    write_safetensors(tmp_path / "weights", {"a": array}, {})
    assert_same(safetensors.numpy.load_file(tmp_path / "weights"), {"a": array})


def test_failed_write_leaves_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "vgg16.safetensors"
    write_safetensors(path, {"params/a": np.ones(2, np.float32)}, METADATA)

    def fail(arrays, path, metadata):
        path.write_bytes(b"half")
        raise OSError("no space left")

    monkeypatch.setattr(files.safetensors.numpy, "save_file", fail)
    with pytest.raises(ValueError, match=r"cannot write .*vgg16\.safetensors: no space left"):
        write_safetensors(path, {"params/a": np.zeros(2, np.float32)}, METADATA)
    np.testing.assert_array_equal(load_weights(path).arrays["params/a"], [1, 1])
    assert os.listdir(tmp_path) == [path.name]


def test_file_that_may_not_grow_leaves_what_was_there(tmp_path):
    """The library's own error, as on a full disk."""
    resource = pytest.importorskip("resource", reason="this system has no limits on files")
    path = tmp_path / "vgg16.safetensors"
    write_safetensors(path, {"params/a": np.ones(2, np.float32)}, METADATA)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        with pytest.raises(ValueError, match=r"cannot write .*vgg16\.safetensors: File too large"):
            write_safetensors(path, {"params/a": np.zeros(10_000, np.float32)}, METADATA)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    np.testing.assert_array_equal(load_weights(path).arrays["params/a"], [1, 1])
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        ("file/a.safetensors", "one of its folders is a file"),
        ("file/folder/a.safetensors", "one of its folders is a file"),
        ("folder", "Is a directory"),
        ("closed/a.safetensors", "Permission denied"),
    ],
)
def test_write_rejects_a_place_where_no_file_can_be(tmp_path, output, reason):
    (tmp_path / "file").write_text("kept")
    (tmp_path / "folder").mkdir()
    (tmp_path / "closed").mkdir(mode=0o500)
    if reason == "Permission denied" and os.access(tmp_path / "closed", os.W_OK):
        pytest.skip("this user may write everywhere")
    with pytest.raises(ValueError, match=f"cannot write .*{output}: {reason}"):
        write_safetensors(tmp_path / output, {"params/a": np.ones(2, np.float32)}, METADATA)
    assert (tmp_path / "file").read_text() == "kept"
    assert sorted(os.listdir(tmp_path)) == ["closed", "file", "folder"]


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o077, 0o600)])
def test_saved_file_has_the_mode_that_the_umask_leaves(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        write_safetensors(tmp_path / "weights", {"params/a": np.ones(2, np.float32)}, METADATA)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "weights").stat().st_mode) == mode


@pytest.mark.parametrize(
    ("arrays", "metadata", "message"),
    [
        ({"features.0.weight": np.ones(2, np.float32)}, {"format": "pt"}, "import it first: "),
        ({"params/a": np.ones(2)}, METADATA, "'params/a' is no float32 array"),
        ({"params/a": np.ones(2, np.float16)}, METADATA, "'params/a' is no float32 array"),
        ({"a": np.ones(2, np.float32)}, METADATA, "'a' is no float32 array of a network"),
        ({}, METADATA | {"preprocess": "{}"}, r"metadata are broken \(preprocess={}: 'mean_rgb'\)"),
        ({}, METADATA | {"preprocess": "BGR"}, "metadata are broken"),
        ({}, METADATA | {"preprocess": GREY}, "three means, three deviations and true or false"),
        ({}, {"format": "fcn_jax"}, r"metadata are broken \('network'\)"),
        ({}, METADATA | {"model": "[]"}, r"metadata are broken \(\[\] is no JSON object"),
        ({}, METADATA | {"requires": "ReLU"}, "metadata are broken"),
    ],
)
def test_load_weights_rejects(tmp_path, arrays, metadata, message):
    write_safetensors(tmp_path / "weights", arrays, metadata)
    with pytest.raises(ValueError, match=f"weights.* {message}"):
        load_weights(tmp_path / "weights")


def test_load_weights_rejects_a_foreign_file(tmp_path):
    path = write_caffemodel(tmp_path / "net.caffemodel", {"a": [np.ones(2, np.float32)]})
    with pytest.raises(ValueError, match="not have this project's names; import it first"):
        load_weights(path)


def test_weights_need_no_jax():
    code = (
        "import sys, fcn_jax.weights.importer\n"
        "print(*sorted({name.split('.')[0] for name in sys.modules}))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert not {"jax", "flax", "torch", "tensorflow"} & set(run.stdout.split())
