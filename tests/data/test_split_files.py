"""What a folder says of its splits is read, or refused by name: chance comes last."""

import json
import os
import shutil

import pytest

from fcn_jax.data.datasets import survey_folder
from fcn_jax.data.files.split_names import split_of
from tests.mutations import NUM_TRIALS, mutate


def split(folder, **options):
    """Surveys a folder: (ids by split, what they were split by, remarks, problems)."""
    problems = []
    survey = survey_folder(
        "custom", problems.append, source_dir=str(folder), **{"val_frac": 0.4, **options}
    )
    (part,) = survey.parts
    remarks = survey.list_remarks()
    return (
        {name: "".join(ids) for name, ids in part.ids.items()},
        survey.split_by,
        remarks,
        problems,
    )


def write(folder, files):
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text) if isinstance(text, bytes) else path.write_text(text)


TRAIN, VAL = "b\na\n", "f\n"
UNDERSTOOD = {
    "names in capitals": ({"Train.txt": TRAIN, "VAL.TXT": VAL}, "Train.txt and VAL.TXT"),
    "other words": (
        {"training.txt": TRAIN, "validation.txt": VAL},
        "training.txt and validation.txt",
    ),
    "lists called lists": (
        {"train_list.txt": TRAIN, "list_val.lst": VAL},
        "train_list.txt and list_val.lst",
    ),
    "a year": ({"train2017.txt": TRAIN, "val2017.txt": VAL}, "train2017.txt and val2017.txt"),
    "no suffix": ({"train": TRAIN, "dev": VAL}, "train and dev"),
    "CSV of names": ({"train.csv": TRAIN, "val.csv": VAL}, "train.csv and val.csv"),
    "CSV with a header": (
        {"train.csv": "filename\nb.jpg\na.jpg\n", "val.csv": "Image,Mask\nf.jpg,f.png\n"},
        "train.csv and val.csv",
    ),
    "CSV with numbered rows": (
        {"train.csv": ",image\n0,b\n1,a\n", "val.csv": ";image;w\n0;f;3\n"},
        "train.csv and val.csv",
    ),
    "TSV": ({"train.tsv": "image\tlabel\nb\tb\na\ta\n", "val.tsv": VAL}, "train.tsv and val.tsv"),
    "JSON of names": ({"train.json": '["b", "a"]', "val.json": '["f.jpg"]'}, "train.json and"),
    "JSON as COCO has it": (
        {
            "train.json": json.dumps({"images": [{"id": 3, "file_name": n} for n in ("b", "a")]}),
            "val.json": '[{"image": "images/f.jpg", "label": "labels/f.png"}]',
        },
        "train.json and val.json",
    ),
    "one JSON": ({"splits.json": '{"train": ["b", "a"], "val": ["f"]}'}, "splits.json"),
    "JSON by image": ({"split.json": '{"b": "train", "a": "train", "f": "valid"}'}, "split.json"),
    "one CSV": ({"metadata.csv": "image,split\nb,train\nf,val\na,Train\n"}, "metadata.csv"),
    "as VOC": (
        {f"ImageSets/Segmentation/{n}.txt": t for n, t in (("train", TRAIN), ("val", VAL))},
        "ImageSets/Segmentation/train.txt and ImageSets/Segmentation/val.txt",
    ),
    "in a folder below": (
        {"lists/train.txt": "../images/b.jpg\n../images/a.jpg\n", "lists/val.txt": VAL},
        "lists/train.txt and lists/val.txt",
    ),
    "UTF-16": (
        {"train.txt": TRAIN.encode("utf-16"), "val.txt": VAL.encode("utf-16")},
        "train.txt and val.txt",
    ),
}


@pytest.mark.parametrize("name", UNDERSTOOD)
def test_lists_are_read_as_people_call_and_write_them(name, custom_dir):
    files, split_by = UNDERSTOOD[name]
    write(custom_dir, files)
    ids, said, remarks, problems = split(custom_dir)
    assert ids == {"train": "ba", "val": "f"} and problems == [] and remarks == []
    assert said.startswith(split_by)


def test_nearest_list_counts_and_the_others_are_named(custom_dir):
    write(custom_dir, {"train.txt": TRAIN, "val.txt": VAL})
    write(custom_dir, {"trainval.txt": "a\nb\nf\n", "train.json": "[]", "sub/val.txt": "a\n"})
    ids, said, remarks, problems = split(custom_dir)
    assert (ids, said, problems) == ({"train": "ba", "val": "f"}, "train.txt and val.txt", [])
    assert remarks == [
        "not read, though called after splits: train.json, trainval.txt, sub/val.txt"
    ]


NOT_UNDERSTOOD = {
    "fold": ({"train_fold1.txt": TRAIN, "val_fold1.txt": VAL}, "train_fold1.txt"),
    "trainval": ({"trainval.txt": TRAIN}, "trainval.txt"),
    "JSON": ({"splits.json": '{"0": {"a": 1, "b": 2}}'}, "splits.json"),
    "other words in a table": ({"split.csv": "image,split\nb,A\nf,B\n"}, "split.csv"),
    "YAML": ({"data.yaml": "train: images/train\nval: images/val\n"}, "data.yaml"),
    "binary": ({"train.npy": b"\x93NUMPY"}, "train.npy"),
    "XML": ({"val.xml": "<a>\nf.jpg\n</a>"}, "val.xml"),
}


@pytest.mark.parametrize("name", NOT_UNDERSTOOD)
def test_what_is_not_understood_is_refused_by_name(name, custom_dir):
    files, named = NOT_UNDERSTOOD[name]
    write(custom_dir, files)
    *_, problems = split(custom_dir)
    assert problems[0].kind == "list that is not understood"
    assert str(problems[0]).startswith(f"{custom_dir / named} seems to say how images are split")
    assert "write train.txt and val.txt" in str(problems[0])


REFUSED = {
    "list that is no list": (
        {"train.json": '{"a": 1}', "val.json": "[]"},
        "line of a list",
        r"train\.json is not understood: a list has a name",
    ),
    "no JSON": ({"train.json": "[", "val.txt": VAL}, "line of a list", r"train\.json is no JSON"),
    "two names for one list": (
        {"train.txt": TRAIN, "valid.txt": VAL, "dev.txt": VAL},
        "two lists of one split",
        "are lists of val alike; keep one, as val.txt",
    ),
    "two tables": (
        {"a.csv": "image,split\nb,train\n", "b.csv": "image,split\nb,val\n"},
        "two lists of one split",
        "say each which images",
    ),
    "table without val": (
        {"splits.json": '{"train": ["a"], "test": ["b"]}'},
        "missing list",
        "lists no image of val",
    ),
    "lists of several folds": (
        {f"folds/{n}/{name}.txt": TRAIN for n in "01" for name in ("train", "val")},
        "two lists of one split",
        r"folds/0/train\.txt, .*folds/1/train\.txt are lists of train alike",
    ),
    "list of one split": ({"Train.csv": TRAIN}, "missing list", r"val\.txt is missing"),
    "folder beside the images": (
        {"val/images/x.jpg": b""},
        "folder that is not understood",
        "val holds pictures beside",
    ),
    "two folders of images": ({"Images/x": ""}, "two folders of one meaning", "Images, images"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_lists_and_folders_that_contradict_are_refused(name, custom_dir):
    files, kind, message = REFUSED[name]
    write(custom_dir, files)
    *_, problems = split(custom_dir)
    assert kind in [problem.kind for problem in problems]
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        raise next(problem for problem in problems if problem.kind == kind)


def move(folder, images, labels):
    """Moves four images to train and two to val; {} in the names of folders is the split."""
    for split_, names in (("train", "abcd"), ("val", "ef")):
        for kind, suffix, there in (("images", "jpg", images), ("labels", "png", labels)):
            target = folder / there.format({"train": "Train", "val": "valid"}[split_], split_)
            target.mkdir(parents=True, exist_ok=True)
            for name in names:
                os.rename(folder / kind / f"{name}.{suffix}", target / f"{name}.{suffix}")


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        ("images/{0}", "labels/{1}"),
        ("images/{1}", "labels/{0}"),
        ("{0}/images", "{0}/labels"),
        ("{0}/Images", "{0}/LABELS"),
        ("images/{0}/deeper", "labels/{1}/deeper"),
    ],
)
def test_folders_are_splits_as_people_call_them(images, labels, custom_dir):
    move(custom_dir, images, labels)
    for kind in ("images", "labels"):
        if not any((custom_dir / kind).iterdir()):
            (custom_dir / kind).rmdir()
    ids, said, remarks, problems = split(custom_dir)
    assert {name: found.replace("deeper/", "") for name, found in ids.items()} == {
        "train": "abcd",
        "val": "ef",
    }
    assert problems == [] and remarks == []
    folders = [images.format(*names) for names in (("Train", "train"), ("valid", "val"))]
    assert said == "the folders " + " and ".join(f.removesuffix("/deeper") for f in folders)


def test_chance_says_so_and_how_to_choose(custom_dir):
    _, said, remarks, problems = split(custom_dir)
    assert said == (
        "chance: 40% of the images to val, drawn by their names; write train.txt and val.txt to "
        "choose"
    )
    assert (remarks, problems) == ([], [])


def test_files_that_say_nothing_of_splits_do_not_count(custom_dir):
    write(custom_dir, {"README.txt": "a set", "train.py": "", "training_notes.txt": "slow\n"})
    write(custom_dir, {"order.txt": "a\nb\n", "images/train_1.json": "{}"})
    *_, remarks, problems = split(custom_dir)
    assert problems == []
    assert remarks == [
        "order.txt names images and is not read; lists are called train.txt, val.txt",
        "not read, though called after splits: training_notes.txt",
    ]


def test_names_that_begin_as_splits_are_remarked_on(custom_dir):
    for name in "abcdef":
        begin = "val" if name in "ef" else "train"
        for file in (*custom_dir.glob(f"images/{name}.*"), *custom_dir.glob(f"labels/{name}.*")):
            file.rename(file.with_stem(f"{begin}_{name}"))
    *_, remarks, problems = split(custom_dir, val_frac=0.5)
    assert problems == []
    assert remarks[0].startswith(
        "names of images begin as splits are called (4 of train, 2 of val)"
    )


@pytest.mark.parametrize("how", ["folder", "empty folder", "list", "beside"])
def test_images_to_test_on_without_labels_are_left_out(how, custom_dir, get_custom):
    if how == "beside":
        write(custom_dir, {"test/x.jpg": b""})
    elif how == "list":
        shutil.copy(custom_dir / "images/a.jpg", custom_dir / "images/x.jpg")
        write(custom_dir, {"train.txt": "a\nb\n", "val.txt": "c\n", "test.txt": "x\n"})
    else:
        move(custom_dir, "images/{0}", "labels/{0}")
        write(custom_dir, {"images/test/x.jpg": b""})
        if how == "empty folder":
            write(custom_dir, {"labels/test/.gitkeep": b""})
    ids, _, remarks, problems = split(custom_dir)
    assert set(ids) == {"train", "val"} and problems == []
    assert len(remarks) == 1 and "test" in remarks[0]
    dataset = get_custom(custom_dir)
    assert len(dataset.source("train")) and dataset.remarks == remarks
    if how != "beside":
        with pytest.raises(
            FileNotFoundError, match="has no split 'test': the images of .* have no"
        ):
            dataset.source("test")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("TRAIN", "train"),
        ("validation_split", "val"),
        ("valset", "val"),
        ("images-dev", "val"),
        ("test ids", "test"),
        ("trainval", None),
        ("train_val", None),
        ("train_aug", None),
        ("val1", None),
        ("constraint", None),
        ("", None),
    ],
)
def test_split_of_a_name(name, expected):
    assert split_of(name) == expected


@pytest.mark.parametrize("name", ["train.csv", "train.json", "splits.json", "classes.txt"])
def test_damage_to_a_list_is_no_crash(name, custom_dir, rng):
    whole = {
        "train.csv": "image,label\na,a\nb,b\n",
        "train.json": '[{"image": "a.jpg"}, "b"]',
        "splits.json": '{"train": ["a"], "val": ["c"]}',
        "classes.txt": "1 background 0 0 0\n2 cat 1 1 1\n3 dog 2 2 2\n",
    }[name]
    if name.startswith("train"):
        write(custom_dir, {"val.txt": VAL})
    for _ in range(3 * NUM_TRIALS):
        write(custom_dir, {name: mutate(rng, whole.encode())})
        split(custom_dir)
