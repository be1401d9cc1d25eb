import numpy as np
import pytest
import scipy.io
import scipy.sparse

from fcn_jax.data.files.matlab import number_from_one, read_mat_label
from fcn_jax.data.labels import LabelSet

from .conftest import save_mat_label

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


def test_flipped_bits_crash_nothing(tmp_path, rng):
    save_mat_label(tmp_path / "a.mat", "S", LABEL)
    whole = (tmp_path / "a.mat").read_bytes()
    refused = 0
    for _ in range(200):
        data = bytearray(whole)
        data[rng.integers(116, len(data))] ^= 1 << rng.integers(8)
        (tmp_path / "a.mat").write_bytes(data)
        try:
            read(tmp_path / "a.mat", table=TABLE)
        except ValueError as error:
            refused += "a.mat: " in str(error)
    assert refused > 100
