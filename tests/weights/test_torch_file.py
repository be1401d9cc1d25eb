"""`.pth` files read without torch: against torch's own reader, and against files that do harm."""

import io
import os
import pickle
import tracemalloc
import zipfile
from collections import OrderedDict

import numpy as np
import pytest

from fcn_jax.errors import UserError
from fcn_jax.weights.torch_file import read_state_dict


def _torch():
    return pytest.importorskip("torch", reason="needs pip install -r benchmarks/requirements.txt")


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    "dtype", ["float64", "float32", "float16", "bfloat16", "int64", "uint8", "bool"]
)
def test_state_dict_matches_torch(tmp_path, rng, zipped, dtype):
    torch = _torch()
    whole = torch.from_numpy(rng.normal(size=(6, 5, 4)) * 3).to(getattr(torch, dtype))
    state = OrderedDict(
        whole=whole,
        part=whole[2:4, 1:],
        turned=whole.transpose(0, 2),
        number=whole[0, 0, 0],
        none=whole[:0],
        parameter=torch.nn.Parameter(torch.ones(3)),
    )
    torch.save(state, tmp_path / "state.pth", _use_new_zipfile_serialization=zipped)
    arrays = read_state_dict(tmp_path / "state.pth")
    assert list(arrays) == list(state)
    for name, tensor in state.items():
        wide = tensor.float() if tensor.dtype == torch.bfloat16 else tensor
        np.testing.assert_array_equal(arrays[name], wide.detach().numpy(), strict=True)


@pytest.mark.parametrize("zipped", [True, False])
def test_state_dict_inside_a_training_checkpoint_is_found(tmp_path, zipped):
    torch = _torch()
    layer = torch.nn.Conv2d(3, 4, 3)
    for key in ("state_dict", "model"):
        content = {"epoch": 3, "best": 0.5, key: layer.state_dict()}
        torch.save(content, tmp_path / "x.pth", _use_new_zipfile_serialization=zipped)
        arrays = read_state_dict(tmp_path / "x.pth")
        np.testing.assert_array_equal(arrays["weight"], layer.weight.detach().numpy())


def test_moving_average_beside_the_state_dict_is_told_apart(tmp_path):
    weights, average = (
        {"w": make_tensor(6, 0, (2, 3), (3, 1))}, {"module.w": make_tensor(6, 0, (6,), (1,))}
    )  # fmt: skip
    numbers = np.arange(6, dtype="<f4").tobytes()
    both = write_pth(
        tmp_path, {"epoch": 3, "model_state_dict": weights, "model_ema": average}, a=numbers
    )
    assert {name: array.shape for name, array in read_state_dict(both).items()} == {
        "w": (2, 3),
        "model_ema.module.w": (6,),
    }
    alone = write_pth(tmp_path, {"state_dict_ema": average}, a=numbers)
    assert list(read_state_dict(alone)) == ["module.w"]


def test_whole_modules_are_refused(tmp_path):
    torch = _torch()
    torch.save(torch.nn.Conv2d(3, 4, 3), tmp_path / "module.pth")
    with pytest.raises(UserError, match=r"more than tensors: it needs torch\.nn\.modules\.conv"):
        read_state_dict(tmp_path / "module.pth")


class _Harm:
    """Runs a command when it is unpickled by something careless."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


def _zip_of(pickled: bytes, **files: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("x/data.pkl", pickled)
        for name, data in files.items():
            archive.writestr(f"x/data/{name}", data)
    return buffer.getvalue()


@pytest.mark.parametrize("wrap", [lambda pickled: pickled, _zip_of], ids=["legacy", "zip"])
def test_nothing_in_a_file_runs(tmp_path, wrap):
    mark = tmp_path / "ran"
    for protocol in range(2, 6):
        harm = pickle.dumps({"weight": _Harm(f"touch {mark}")}, protocol)
        (tmp_path / "harm.pth").write_bytes(wrap(harm))
        with pytest.raises(UserError, match="harm.pth is a .pth file of more than tensors"):
            read_state_dict(tmp_path / "harm.pth")
        assert not mark.exists()


class _Named:
    """Pickles as the global `module.name`."""

    def __init__(self, module, name):
        self.module, self.name = module, name


class _Ref:
    def __init__(self, kind, key, count):
        self.pid = ("storage", kind, key, "cpu", count)


class _Pickler(pickle._Pickler):
    """Writes globals and references to storages as torch does, without torch."""

    def persistent_id(self, obj):
        return obj.pid if isinstance(obj, _Ref) else None

    def save(self, obj, save_persistent_id=True):
        if isinstance(obj, _Named):
            self.write(f"c{obj.module}\n{obj.name}\n".encode())
        elif isinstance(obj, _Call):
            self.save(obj.function)
            self.save(obj.args)
            self.write(pickle.REDUCE)
        else:
            super().save(obj, save_persistent_id)


class _Call:
    def __init__(self, function, *args):
        self.function, self.args = function, args


def write_pth(tmp_path, content, **storages: bytes):
    buffer = io.BytesIO()
    _Pickler(buffer, 2).dump(content)
    path = tmp_path / "made.pth"
    path.write_bytes(_zip_of(buffer.getvalue(), **storages))
    return path


REBUILD, FLOATS = _Named("torch._utils", "_rebuild_tensor_v2"), _Named("torch", "FloatStorage")


def make_tensor(count, offset, size, stride):
    return _Call(REBUILD, _Ref(FLOATS, "a", count), offset, size, stride, False, OrderedDict())


def test_a_file_made_by_hand_is_read(tmp_path):
    numbers = np.arange(6, dtype="<f4")
    path = write_pth(tmp_path, {"w": make_tensor(6, 0, (2, 3), (3, 1))}, a=numbers.tobytes())
    np.testing.assert_array_equal(read_state_dict(path)["w"], numbers.reshape(2, 3))


def test_a_storage_of_many_tensors_is_read_once(tmp_path):
    """Such as a network that was trained with its parameters in one flat array."""
    numbers = np.arange(2_000_000, dtype="<f4")
    tensors = {
        f"w{i}": make_tensor(numbers.size, i * 1000, (10, 100), (100, 1)) for i in range(2000)
    }
    path = write_pth(tmp_path, tensors, a=numbers.tobytes())
    tracemalloc.start()
    arrays = read_state_dict(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3 * numbers.nbytes
    for index, array in enumerate(arrays.values()):
        np.testing.assert_array_equal(array.ravel(), numbers[index * 1000 :][:1000])


@pytest.mark.parametrize(
    ("offset", "size", "stride", "message"),
    [
        (1, (2, 3), (3, 1), "beyond its storage"),
        (0, (2, 3), (4, 1), "beyond its storage"),
        (-1, (2,), (1,), "impossible shape"),
        (0, (2,), (-1,), "impossible shape"),
        (0, (-2,), (1,), "impossible shape"),
        (0, (2, 3), (1,), "impossible shape"),
        (0, (1 << 40,), (0,), "more numbers than its storage"),
    ],
)
def test_tensors_stay_inside_their_storage(tmp_path, offset, size, stride, message):
    path = write_pth(tmp_path, {"w": make_tensor(6, offset, size, stride)}, a=bytes(24))
    with pytest.raises(UserError, match=f"made.pth is no sound .pth file: .*{message}"):
        read_state_dict(path)


@pytest.mark.parametrize("content", [3, [1], {"w": 1.0}, {"w": "text"}])
def test_what_is_no_state_dict_is_refused(tmp_path, content):
    with pytest.raises(UserError, match="save model.state_dict"):
        read_state_dict(write_pth(tmp_path, content))


def test_broken_files_are_refused(tmp_path, rng):
    """A single byte changed, or the end missing: an answer, and never a wrong number of arrays."""
    numbers = np.arange(6, dtype="<f4")
    whole = write_pth(
        tmp_path, {"w": make_tensor(6, 0, (2, 3), (3, 1))}, a=numbers.tobytes()
    ).read_bytes()
    path = tmp_path / "broken.pth"
    for _ in range(600):
        data = bytearray(whole)
        if rng.random() < 0.3:
            data = data[: rng.integers(len(data))]
        for _ in range(rng.integers(1, 4)):
            if data:
                data[rng.integers(len(data))] = rng.integers(256)
        path.write_bytes(data)
        try:
            arrays = read_state_dict(path)
        except UserError as error:
            assert "broken.pth" in str(error)
        else:
            assert all(isinstance(array, np.ndarray) for array in arrays.values())
