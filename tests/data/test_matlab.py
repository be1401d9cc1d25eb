import os
import struct
import zlib

import numpy as np
import pytest
import scipy.io
import scipy.sparse

from fcn_jax.data.files.matlab import read_mat_label
from fcn_jax.data.files.problems import Problem
from fcn_jax.data.files.value_table import number_from_one
from fcn_jax.data.labels import LabelSet

from .conftest import save_mat_label, save_sbd_label

LABEL = np.random.default_rng(0).integers(0, 4, (30, 40), np.uint8)
TABLE = {-1: 255, 0: 255, 1: 0, 2: 1, 3: 2, 459: 7}
HDF5 = b"\x89HDF\r\n\x1a\n"


def read(path, **options):
    return read_mat_label(path, variable="S", **options).numbers


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int64, np.float64])
def test_numbers_are_read_bit_for_bit(tmp_path, dtype, compress):
    save_mat_label(tmp_path / "a.mat", "S", LABEL.astype(dtype), compress=compress)
    found = read(tmp_path / "a.mat")
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, LABEL)


def test_mat_file_of_version_4_is_read(tmp_path):
    scipy.io.savemat(tmp_path / "a.mat", {"S": LABEL.astype(float)}, format="4")
    np.testing.assert_array_equal(read(tmp_path / "a.mat"), LABEL)


def test_field_of_a_struct_is_read(tmp_path):
    scipy.io.savemat(tmp_path / "a.mat", {"T": {"other": 1, "label": LABEL}})
    found = read_mat_label(tmp_path / "a.mat", variable="T.label").numbers
    np.testing.assert_array_equal(found, LABEL)


@pytest.mark.parametrize("dtype", [np.int16, np.float64])
def test_table_gives_every_value_its_label(tmp_path, dtype):
    values = np.random.default_rng(0).choice(list(TABLE), (30, 40)).astype(dtype)
    save_mat_label(tmp_path / "a.mat", "S", values)
    found = read(tmp_path / "a.mat", table=TABLE)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, np.vectorize(TABLE.get)(values))


@pytest.mark.parametrize("value", [-2, 4, 458, 460, 2**16 - 1, 2**31 - 1, -(2**31)])
def test_value_outside_the_table_is_refused(tmp_path, value):
    values = LABEL.astype(np.int32)
    values[3, 4:6] = value
    save_mat_label(tmp_path / "a.mat", "S", values)
    with pytest.raises(
        ValueError, match=rf"a\.mat: label value {value} is not allowed \(2 pixels\); allowed are 6"
    ) as caught:
        read(tmp_path / "a.mat", table=TABLE)
    assert caught.value.kind == "label value outside the classes"


def test_several_values_outside_the_table_are_named(tmp_path):
    save_mat_label(tmp_path / "a.mat", "S", np.arange(10.0).reshape(2, 5))
    with pytest.raises(ValueError, match=r"value 4 .*1 pixels\), nor are 5, 6, 7 and 2 more; "):
        read(tmp_path / "a.mat", table=TABLE)


def test_table_that_counts_from_one():
    labels = LabelSet(("a", "b"), ((0, 0, 0), (1, 1, 1)))
    assert number_from_one(labels, void=(-1, 0)) == {-1: 255, 0: 255, 1: 0, 2: 1}


@pytest.mark.parametrize(
    "label",
    [
        np.full((2, 3), 300),
        np.full((2, 3), -1.0),
        np.full((2, 3), 0.5),
        np.full((2, 3), np.nan),
        np.zeros((2, 3, 4)),
        np.zeros((0, 3, 4)),
    ],
)
def test_what_is_no_label_is_refused(tmp_path, label):
    scipy.io.savemat(tmp_path / "a.mat", {"S": label})
    with pytest.raises(ValueError, match=r"a\.mat: S must hold one class number per pixel"):
        read(tmp_path / "a.mat")


@pytest.mark.filterwarnings("ignore:The default value for .spmatrix")
@pytest.mark.parametrize(
    "content",
    [
        "text",
        {"S": LABEL},
        np.array([LABEL, "x"], object),
        scipy.sparse.csc_array(LABEL),
        LABEL * 1j,
    ],
    ids=["text", "struct", "cells", "sparse", "complex"],
)
def test_what_is_no_array_is_refused(tmp_path, content):
    scipy.io.savemat(tmp_path / "a.mat", {"S": content})
    with pytest.raises(ValueError, match=r"a\.mat: cannot read S .*no array of numbers") as caught:
        read(tmp_path / "a.mat")
    assert caught.value.kind == "MATLAB file of another kind"


def test_file_without_the_variable_says_what_it_holds(tmp_path):
    save_mat_label(tmp_path / "a.mat", "LabelMap", LABEL)
    with pytest.raises(
        ValueError, match=r"cannot read S .*the file holds names, LabelMap"
    ) as caught:
        read(tmp_path / "a.mat")
    assert caught.value.kind == "MATLAB file of another kind"


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("share", [0, 0.05, 0.3, 0.6, 0.95])
def test_file_that_is_cut_short_is_refused(tmp_path, share, compress):
    save_mat_label(tmp_path / "a.mat", "S", LABEL, compress=compress)
    data = (tmp_path / "a.mat").read_bytes()
    (tmp_path / "a.mat").write_bytes(data[: int(share * len(data))])
    with pytest.raises(ValueError, match=r"a\.mat: cannot read S from this file"):
        read(tmp_path / "a.mat")


@pytest.mark.parametrize("head", [0, 512])
def test_file_of_matlab_7_3_is_refused_with_the_way_out(tmp_path, head):
    text = b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(116) + bytes(8) + b"\x00\x02IM"
    (tmp_path / "a.mat").write_bytes(text.ljust(512, b"\0")[:head] + HDF5 + bytes(2000))
    with pytest.raises(ValueError, match=r"a\.mat: this is a MATLAB 7\.3 .*HDF5.* '-v7'") as caught:
        read(tmp_path / "a.mat")
    assert caught.value.kind == "MATLAB 7.3 file"


def test_missing_file_is_no_damaged_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "a.mat")


# --- the file format ---------------------------------------------------------------------------

DTYPES = {
    "i1": 1,
    "u1": 2,
    "i2": 3,
    "u2": 4,
    "i4": 5,
    "u4": 6,
    "f4": 7,
    "f8": 9,
    "i8": 12,
    "u8": 13,
}
CLASSES = ["f8", "f4", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8"]


def element(order, kind, content, *, pad=True):
    if 0 < len(content) <= 4:
        return struct.pack(order + "I", len(content) << 16 | kind) + content.ljust(4, b"\0")
    tag = struct.pack(order + "II", kind, len(content))
    return tag + content + bytes(-len(content) % 8 if pad else 0)


def mat_file(array, *, order="<", stored="u1", compress=False, pad=True, name=b"S"):
    """A file as MATLAB writes it, which stores numbers in fewer bytes than their class has."""
    matrix = element(order, 6, struct.pack(order + "II", CLASSES.index(array.dtype.str[1:]) + 6, 0))
    matrix += element(order, 5, struct.pack(order + "ii", *array.shape)) + element(order, 1, name)
    numbers = array.astype(order + stored).tobytes(order="F")
    data = element(order, 14, matrix + element(order, DTYPES[stored], numbers, pad=pad), pad=pad)
    if compress:
        data = zlib.compress(data)
        data = struct.pack(order + "II", 15, len(data)) + data
    return b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack(order + "HH", 0x100, 0x4D49) + data


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("dtype", [f"{each}" for each in CLASSES])
def test_numbers_are_read_as_matlab_stores_them(tmp_path, dtype, compress, order):
    array = np.random.default_rng(0).integers(0, 128, (5, 7)).astype(dtype)
    for stored in {"u1", "i1", dtype}:
        data = mat_file(array, order=order, stored=stored, compress=compress)
        (tmp_path / "a.mat").write_bytes(data)
        np.testing.assert_array_equal(read(tmp_path / "a.mat"), array)
        np.testing.assert_array_equal(scipy.io.loadmat(tmp_path / "a.mat")["S"], array)


def test_several_compressed_variables_need_no_padding(tmp_path):
    other = mat_file(LABEL[:3].copy(), compress=True, name=b"other")
    (tmp_path / "a.mat").write_bytes(other + mat_file(LABEL, pad=False)[128:])
    np.testing.assert_array_equal(read(tmp_path / "a.mat"), LABEL)


def test_numbers_that_their_class_does_not_have_are_damage(tmp_path):
    data = mat_file(np.full((4, 4), 255, np.uint8))
    tag = struct.pack("<II", 2, 16)  # unsigned bytes, which become signed
    assert data.count(tag) == 1
    (tmp_path / "a.mat").write_bytes(data.replace(tag, struct.pack("<II", 1, 16)))
    with pytest.raises(Problem, match="damaged: numbers that their class does not have"):
        read(tmp_path / "a.mat")


def test_compressed_numbers_without_their_checksum_are_damage(tmp_path):
    data = mat_file(LABEL, compress=True)
    (size,) = struct.unpack_from("<I", data, 132)
    data = data[:132] + struct.pack("<I", size - 2) + data[136:-2]
    (tmp_path / "a.mat").write_bytes(data)
    with pytest.raises(Problem, match="damaged: compressed bytes end too early"):
        read(tmp_path / "a.mat")


def test_tag_with_room_for_four_bytes_holds_no_more(tmp_path):
    data = mat_file(np.zeros((2, 4), np.uint8))
    tag = struct.pack("<II", 2, 8)
    assert data.count(tag) == 1
    (tmp_path / "a.mat").write_bytes(data.replace(tag, struct.pack("<II", 8 << 16 | 2, 0)))
    with pytest.raises(Problem, match="damaged: an element of 8 bytes where 4 are left"):
        read(tmp_path / "a.mat")


@pytest.mark.parametrize("at", [-1, -4])
def test_checksum_of_compressed_numbers_is_checked(tmp_path, at):
    data = bytearray(mat_file(LABEL, compress=True))
    data[at] ^= 1
    (tmp_path / "a.mat").write_bytes(data)
    with pytest.raises(Problem, match="damaged: .*incorrect data check"):
        read(tmp_path / "a.mat")


def test_names_in_a_message_cannot_reach_the_terminal(tmp_path):
    (tmp_path / "a.mat").write_bytes(mat_file(LABEL, name=b"\x1b[2J"))
    with pytest.raises(Problem, match=r"holds \\x1b\[2J\)"):
        read(tmp_path / "a.mat")


# --- damage ------------------------------------------------------------------------------------

VOID_LABEL = np.where(LABEL == 3, np.uint8(255), LABEL)
VARIABLES = {"sbd": "GTcls.Segmentation", "context": "LabelMap", "nyud": "segmentation"}
DTYPE = {"sbd": np.uint8, "context": np.uint16, "nyud": np.uint8}  # others: float64, as SIFT Flow
NUM_DAMAGED = int(os.environ.get("FCN_JAX_FUZZ", "100"))  # of each kind; 2000 in a thorough run


def save_as(path, kind):
    name, _, field = VARIABLES.get(kind, "S").partition(".")
    label = VOID_LABEL.astype(DTYPE.get(kind, np.float64))
    if kind == "version 4":
        scipy.io.savemat(path, {"other": 1.0, name: label}, format="4")
    elif field:
        save_sbd_label(path, label)
    else:
        save_mat_label(path, name, label, compress=kind != "siftflow, plain")
    return label


def damage(rng, data, numbers):
    """Changes bytes, cuts the end off, or puts bytes in or out; but numbers keep their place."""
    data = bytearray(data)
    at = rng.integers(len(data))
    match rng.integers(4):
        case 0 | 1:
            first = data.find(numbers)  # nothing guards numbers that are not compressed
            while first >= 0 and first - 8 < at < first + len(numbers):
                at = rng.integers(len(data))
            count = rng.choice([1, 1, 1, 2, 4, 8])
            data[at : at + count] = rng.bytes(len(data[at : at + count]))
        case 2:
            del data[at:]
        case 3:
            data[at : at + rng.integers(12)] = rng.bytes(rng.integers(12))
    return bytes(data)


@pytest.mark.parametrize("kind", [*VARIABLES, "siftflow", "siftflow, plain", "version 4"])
def test_damage_is_named_or_changes_nothing(kind, tmp_path, rng):
    path = tmp_path / "a.mat"
    label = save_as(path, kind)
    whole, refused = path.read_bytes(), 0
    for _ in range(NUM_DAMAGED):
        data = damage(rng, whole, label.tobytes(order="F"))
        path.write_bytes(data)
        try:
            found = read_mat_label(path, variable=VARIABLES.get(kind, "S")).numbers
        except Problem as problem:
            assert str(problem).startswith(f"{path}: ")
            refused += 1
        else:
            np.testing.assert_array_equal(found, VOID_LABEL)
    assert refused > NUM_DAMAGED // 2
