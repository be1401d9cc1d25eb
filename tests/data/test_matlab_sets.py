"""NYUDv2, Pascal Context and SIFT Flow: lists of ids, an image and a `.mat` file for each."""

import numpy as np
import pytest
import scipy.io
from PIL import Image

from fcn_jax.data.checkup import check_folder
from fcn_jax.data.datasets import DATASETS, load_set
from fcn_jax.data.sets import nyud, pascal_context, siftflow
from fcn_jax.data.sets.builds import FolderConfig
from fcn_jax.data.sets.pascal_context import LABELS as PASCAL_CONTEXT

from .conftest import (
    CONTEXT_VALUES,
    MATLAB_SETS,
    save_mat_label,
    write_context_names,
    write_matlab_set,
)

LABELS = {
    "nyud": nyud.LABELS,
    "pascal_context": PASCAL_CONTEXT,
    "siftflow": siftflow.SEMANTIC_LABELS,
    "siftflow_geometric": siftflow.GEOMETRIC_LABELS,
}
every_set = pytest.mark.parametrize("name", MATLAB_SETS)


@pytest.fixture
def folder(name, tmp_path):
    return write_matlab_set(tmp_path / "data", name)


def label_file(folder, name, split, index=0):
    files = MATLAB_SETS[name]
    return folder / files.label_file.format(files.lists[split][index])


def read_files(folder, name, item):
    """Returns the image, and the label by the definition of the set."""
    files = MATLAB_SETS[name]
    image = np.asarray(Image.open(folder / files.image_file.format(item)))
    values = scipy.io.loadmat(folder / files.label_file.format(item))[files.variable]
    return image, np.vectorize(files.meaning.get)(values.astype(int))


@every_set
def test_set_holds_the_files_in_list_order(name, folder, get_published):
    dataset = get_published(name, folder)
    assert dataset.labels is LABELS[name]
    seen = set()
    for split, ids in MATLAB_SETS[name].lists.items():
        source = dataset.source(split)
        assert [record["id"] for record in source] == ids
        for record in source:
            image, label = read_files(folder, name, record["id"])
            np.testing.assert_array_equal(record["image"], image)
            np.testing.assert_array_equal(record["label"], label)
            seen.update(record["label"].ravel().tolist())
    # Every class is somewhere, and void too where there is void.
    void = {255} & set(MATLAB_SETS[name].meaning.values())
    assert seen == {*range(dataset.labels.num_classes)} | void


@every_set
def test_uncompressed_files_are_read_as_well(name, tmp_path, get_published):
    folder = write_matlab_set(tmp_path / "data", name, compress=False)
    split, ids = next(iter(MATLAB_SETS[name].lists.items()))
    record = get_published(name, folder).source(split)[0]
    np.testing.assert_array_equal(record["label"], read_files(folder, name, ids[0])[1])


@pytest.mark.parametrize(
    ("name", "splits"),
    [
        ("nyud", ("train", "val", "trainval", "test")),
        ("pascal_context", ("train", "val")),
        ("siftflow", ("trainval", "test")),
        ("siftflow_geometric", ("trainval", "test")),
    ],
)
def test_splits_are_those_of_the_papers(name, splits, folder, get_published):
    dataset = get_published(name, folder)
    assert dataset.splits == splits
    if "trainval" in splits and "train" in splits:
        ids = [record["id"] for record in dataset.source("trainval")]
        assert ids == [*MATLAB_SETS[name].lists["train"], *MATLAB_SETS[name].lists["val"]]


@pytest.mark.parametrize(
    ("name", "sizes", "splits"),
    [
        (
            "nyud",
            {"train": 381, "val": 414, "test": 654},
            {"train": 381, "val": 414, "trainval": 795, "test": 654},
        ),
        ("pascal_context", {"train": 4998, "val": 5105}, {"train": 4998, "val": 5105}),
        ("siftflow", {"trainval": 2486, "test": 200}, {"trainval": 2486, "test": 200}),
        ("siftflow_geometric", {"trainval": 2486, "test": 200}, {"trainval": 2486, "test": 200}),
    ],
)
def test_lists_of_the_published_sizes_make_splits_of_the_published_sizes(name, sizes, splits):
    ids = {split: [f"{split}{i}" for i in range(size)] for split, size in sizes.items()}
    reader = load_set(name).make_reader([FolderConfig(name="x", part=name, ids=ids)], "")
    assert {split: len(picks) for split, picks in reader.splits.items()} == splits
    assert load_set(name).find_differences(reader.splits) == []


@every_set
def test_part_of_a_set_is_always_said_in_one_line(name, folder, get_published, capsys):
    title = load_set(name).title
    for _ in range(2):
        get_published(name, folder)
        out, err = capsys.readouterr()
        assert out == "" and err.count("\n") == 1
        for split, ids in MATLAB_SETS[name].lists.items():
            size = load_set(name).splits[split].num_images
            assert f"{name}: not all of {title} is in {folder}: " in err
            assert f"{split} {len(ids)} of {size}" in err


@every_set
def test_set_is_built_once_and_then_needs_no_folder(name, folder, get_published, capsys):
    with pytest.raises(FileNotFoundError, match=rf"(?s)'{name}'.*needs source_dir.*\.mat.*dir="):
        get_published(name)
    split = next(iter(MATLAB_SETS[name].lists))
    built = get_published(name, folder).source(split)[0]
    assert f"building {name} (" in capsys.readouterr().err
    for source_dir in (folder, ""):
        again = get_published(name, source_dir).source(split)[0]
        assert "building" not in capsys.readouterr().err
        np.testing.assert_array_equal(again["label"], built["label"])


@every_set
def test_changed_label_of_the_same_size_is_another_build(name, tmp_path, get_published):
    folder = write_matlab_set(tmp_path / "data", name, compress=False)
    files = MATLAB_SETS[name]
    split = next(iter(files.lists))
    before = get_published(name, folder).source(split)[0]["label"]
    path = label_file(folder, name, split)
    size = path.stat().st_size
    values = scipy.io.loadmat(path)[files.variable][::-1]
    save_mat_label(path, files.variable, values, compress=False)
    assert path.stat().st_size == size
    after = get_published(name, folder).source(split)[0]["label"]
    np.testing.assert_array_equal(after, before[::-1])
    assert (after != before).any()


@every_set
def test_lists_that_leak_are_refused(name, folder, get_published):
    files = MATLAB_SETS[name]
    (_, ids), *_, (last, _) = files.lists.items()
    with (folder / files.list_file.format(last)).open("a") as file:
        file.write(f"{ids[0]}\n")
    with pytest.raises(ValueError, match=f"{name}: the splits .* and {last} share 1 .*{ids[0]}"):
        get_published(name, folder)


@every_set
def test_every_pixel_that_is_checked_is_built(name, folder, get_published):
    dataset = get_published(name, folder)
    checkup = check_folder(name, source_dir=str(folder))
    assert checkup.problems == [] and checkup.labels == dataset.labels
    assert list(checkup.splits) == list(dataset.splits)
    for split in dataset.splits:
        expected = [
            [(record["label"] == number).sum() for number in range(dataset.labels.num_classes)]
            for record in dataset.source(split)
        ]
        np.testing.assert_array_equal(checkup.count_pixels(split), expected)
        assert {facts.label_kind for facts in checkup.read(split)} == {"MATLAB"}


def test_every_set_has_its_name():
    names = [name for name in DATASETS if hasattr(load_set(name), "survey")]
    assert len(names) >= 7 and [load_set(name).name for name in names] == names


# --- where the folder is ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "inner"),
    [("nyud", "nyud"), ("siftflow", "SiftFlowDataset"), ("siftflow_geometric", "SiftFlowDataset")],
)
def test_set_is_found_below_the_folder_and_from_its_own(name, inner, tmp_path, get_published):
    write_matlab_set(tmp_path / "data" / inner, name)
    for folder in (tmp_path / "data", tmp_path / "data" / inner):
        assert get_published(name, folder).splits[-1] == "test"


@every_set
def test_wrong_folder_is_answered_with_the_expected_tree(name, tmp_path, get_published):
    tree = rf"expected.*{MATLAB_SETS[name].label_file[:8]}.*config\.data\.source_dir="
    for folder, what in (tmp_path, "holds none"), (tmp_path / "nowhere", "is no folder"):
        with pytest.raises(FileNotFoundError, match=f"(?s){folder} {what}; {tree}"):
            get_published(name, folder)


@pytest.mark.parametrize(
    ("name", "where"),
    [
        ("nyud", r"shelhamer/fcn\.berkeleyvision\.org, folder data/nyud"),
        ("siftflow", r"shelhamer/fcn\.berkeleyvision\.org, folder data/sift-flow"),
        ("siftflow_geometric", r"shelhamer/fcn\.berkeleyvision\.org, folder data/sift-flow"),
    ],
)
def test_folder_without_lists_is_told_where_they_are(name, where, folder, get_published):
    (folder / "test.txt").unlink()
    with pytest.raises(
        FileNotFoundError, match=rf"(?s)list .*test\.txt is missing; expected.*{where}"
    ):
        get_published(name, folder)


@every_set
def test_folder_without_labels_is_said_once(name, folder, get_published):
    path = label_file(folder, name, next(iter(MATLAB_SETS[name].lists)))
    path.parent.rename(path.parent.with_name("away"))
    kinds = [problem.kind for problem in check_folder(name, source_dir=str(folder)).problems]
    assert kinds == ["missing folder"]
    with pytest.raises(
        FileNotFoundError, match=r"(?s)with the labels of .* missing; .*source_dir="
    ):
        get_published(name, folder)


# --- the classes of Pascal Context ------------------------------------------------------------


@pytest.mark.parametrize("number", range(1, 60))
def test_table_finds_each_class_by_its_name(number, tmp_path):
    write_context_names(tmp_path)
    table = pascal_context.read_table(tmp_path)
    assert table[CONTEXT_VALUES[number - 1]] == number


def test_all_other_values_are_background(tmp_path):
    write_context_names(tmp_path)
    table = pascal_context.read_table(tmp_path)
    assert sorted(table) == list(range(460))
    assert {value for value, number in table.items() if number} == set(CONTEXT_VALUES)


@pytest.mark.parametrize(
    ("ours", "theirs"), [("diningtable", "table"), ("bedcloth", "bedclothes"), ("clothes", "cloth")]
)
def test_name_that_differs_between_the_lists_is_found(ours, theirs, tmp_path):
    write_context_names(tmp_path)
    numbers = pascal_context.read_names(tmp_path / "labels.txt")
    assert ours not in numbers
    table = pascal_context.read_table(tmp_path)
    assert PASCAL_CONTEXT.names[table[numbers[theirs]]] == ours


@pytest.mark.parametrize(
    "change",
    [
        lambda text: "0: background\n" + text,
        lambda text: text.replace(": ", ":").replace("\n", "\r\n"),
        lambda text: text.replace("bedcloth", "bedclothes"),
        lambda text: text.rstrip("\n"),
        lambda text: text + "\n\n",
    ],
)
def test_list_of_the_59_classes_is_understood(change, tmp_path):
    write_context_names(tmp_path)
    text = (tmp_path / "59_labels.txt").read_text()
    (tmp_path / "59_labels.txt").write_bytes(change(text).encode())
    assert pascal_context.read_table(tmp_path)[454] == 58
    (tmp_path / "59_labels.txt").unlink()  # nothing is read from it
    assert pascal_context.read_table(tmp_path)[454] == 58


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("labels.txt", "454: window", "454: windows", r"labels\.txt has no number for window;"),
        ("labels.txt", "454: window", "454 window", "line 454: expected 'number: name'.*'454 wind"),
        ("labels.txt", "454: window", "65536: window", "line 454: expected 'number: name'"),
        ("labels.txt", "454: window", "1: window", "line 454: expected 'number: name' .*its own"),
        ("labels.txt", "453: thing 453", "453: window", "line 454: expected 'number: name' .* own"),
        ("59_labels.txt", "5: bottle\n", "", r"59_labels\.txt: '5: bottle' is in only one"),
        ("59_labels.txt", "5: bottle\n6: bus", "5: bus\n6: bottle", "'5: (bottle|bus)' is in only"),
    ],
)
def test_lists_of_other_classes_are_refused(file, old, new, message, tmp_path):
    write_context_names(tmp_path)
    text = (tmp_path / file).read_text()
    assert old in text
    (tmp_path / file).write_text(text.replace(old, new, 1))
    with pytest.raises(ValueError, match=message):
        pascal_context.read_table(tmp_path)


def test_other_numbers_in_labels_txt_are_another_build(tmp_path, get_published):
    folder = write_matlab_set(tmp_path / "data", "pascal_context")
    before = get_published("pascal_context", folder).source("val")[0]["label"]
    names = folder / "labels.txt"
    text = names.read_text()
    names.write_text(text.replace("440: wall", "440: door").replace("115: door", "115: wall"))
    after = get_published("pascal_context", folder).source("val")[0]["label"]
    wall, door = (PASCAL_CONTEXT.names.index(name) for name in ("wall", "door"))
    assert (before == wall).any()
    np.testing.assert_array_equal(after == door, before == wall)


def test_selecting_the_59_classes_makes_background_void(tmp_path, get_published):
    folder = write_matlab_set(tmp_path / "data", "pascal_context")
    every = get_published("pascal_context", folder)
    without = get_published("pascal_context", folder, classes=PASCAL_CONTEXT.names[1:])
    assert without.labels.num_classes == 59
    for before, after in zip(every.source("val"), without.source("val"), strict=True):
        expected = np.where(before["label"] == 0, 255, before["label"].astype(int) - 1)
        np.testing.assert_array_equal(after["label"], expected)
