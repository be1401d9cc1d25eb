"""Files of classes as other programs write them: numbers count, and nothing is shifted unsaid."""

import json

import numpy as np
import pytest
from PIL import Image

from fcn_jax.data.checkup import check_folder
from fcn_jax.data.datasets import survey_folder
from fcn_jax.data.files.classes_txt import read_classes

from .conftest import save_custom_label


def read(folder, text, name="classes.txt"):
    """Reads a file of classes: (what it says, problems)."""
    file = folder / name
    file.write_bytes(text) if isinstance(text, bytes) else file.write_text(text, encoding="utf-8")
    problems = []
    return read_classes(file, on_problem=problems.append), problems


NAMES = ("wall", "building")
FROM_ONE = {1: 0, 2: 1, 255: 255}
COLORS = {(9, 0, 0): 0, (0, 9, 0): 1, (224, 224, 192): 255}
DICT = "name,r,g,b\nwall,9,0,0\nbuilding,0,9,0\n"
ADE = "Idx\tRatio\tTrain\tStuff\tName\n1\t0.15\t10\t1\twall\n2\t0.1\t5\t1\tbuilding\n"
META = {
    "classes": [{"title": "wall", "color": "#090000"}, {"title": "building", "color": "#000900"}]
}
COCO = {"categories": [{"id": 2, "name": "building"}, {"id": 1, "name": "wall"}], "info": {}}

# The file: numbers in labels (None: 0, 1), colours.
RECOGNISED = {
    "ours": ("wall\nbuilding\n", None, {}),
    "numbers from 0": ("0 wall\n1 building\n", None, {}),
    "numbers from 1": ("1 wall\n2 building\n", FROM_ONE, {}),
    "numbers with a sign": ("1: wall\n2: building\n", FROM_ONE, {}),
    "numbers, a comma": ("1,wall\n2,building\n", FROM_ONE, {}),
    "numbers, a tab": ("1\twall\r\n2\tbuilding\r\n", FROM_ONE, {}),
    "numbers in any order": ("2 building\n1 wall\n", FROM_ONE, {}),
    "numbers with gaps": ("7 wall\n90 building\n", {7: 0, 90: 1, 255: 255}, {}),
    "numbers, comments": ("# ours\n\n1 wall\n2 building\n", FROM_ONE, {}),
    "numbers last": ("wall: 1\nbuilding: 2\n", FROM_ONE, {}),
    "numbers last, equal signs": ("wall=1\nbuilding = 2\n", FROM_ONE, {}),
    "TensorFlow": (
        "item {\n id: 1\n name: '/m/1'\n display_name: 'wall'\n}\nitem {name: 'building' id: 2}\n",
        FROM_ONE,
        {},
    ),
    "YAML lines": ("- wall\n- building\n", None, {}),
    "numbered void": ("0 Void\n1 wall\n2 building\n", {0: 255, **FROM_ONE}, {}),
    "numbers and colours": (
        "1 wall 9 0 0\n2 building 0 9 0\n",
        FROM_ONE,
        {(9, 0, 0): 1, (0, 9, 0): 2, (224, 224, 192): 255},
    ),
    "labelme": ("__ignore__\nwall\nbuilding\n", None, {}),
    "CamVid": ("9 0 0\t\twall\n0 9 0\t\tbuilding\n", None, COLORS),
    "CamVid, void last": (
        "9 0 0 wall\n0 9 0 building\n0 0 0 Void\n",
        None,
        {(9, 0, 0): 0, (0, 9, 0): 1, (0, 0, 0): 255},
    ),
    "CVAT": ("# label:color_rgb:parts:actions\nwall:9,0,0::\nbuilding:0,9,0::\n", None, COLORS),
    "CSV": (DICT, None, COLORS),
    "CSV, byte order mark": (b"\xef\xbb\xbf" + DICT.replace("\n", "\r\n").encode(), None, COLORS),
    "CSV with numbers": ("id;name\n1;wall\n2;building\n", FROM_ONE, {}),
    "ADE20K": (ADE, FROM_ONE, {}),
    "JSON list": ('["wall", "building"]', None, {}),
    "JSON of colours": ('{"wall": [9, 0, 0], "building": "#000900"}', None, COLORS),
    "JSON of numbers": ('{"wall": 1, "building": 2}', FROM_ONE, {}),
    "JSON by number": ('{"1": "wall", "2": "building"}', FROM_ONE, {}),
    "COCO": (json.dumps(COCO), FROM_ONE, {}),
    "Supervisely": (json.dumps(META), None, COLORS),
    "YAML": ("names:\n  0: wall\n  1: building\nnc: 2\n", None, {}),
    "YAML list": ("names: [wall, building]\n", None, {}),
    "UTF-16": ("wall\nbuilding\n".encode("utf-16"), None, {}),
}


@pytest.mark.parametrize("name", RECOGNISED)
def test_classes_of_other_programs_are_recognised(name, tmp_path):
    text, numbers, colors = RECOGNISED[name]
    classes, problems = read(tmp_path, text)
    assert problems == [] and classes.labels.names == NAMES
    assert classes.numbers == numbers and classes.colors == colors
    assert bool(classes.understood) == (name not in ("ours", "UTF-16"))
    assert "\n" not in classes.understood


def test_what_was_understood_is_said(tmp_path):
    classes, _ = read(tmp_path, "".join(f"{n} thing {n}\n" for n in range(1, 9)) + "0 unlabelled\n")
    assert classes.understood == (
        "classes.txt is read as numbers before names: 1 thing 1, 2 thing 2, ..., 7 thing 7, "
        "8 thing 8, 0 unlabelled, 255 unlabelled"
    )
    classes, _ = read(tmp_path, "__ignore__\n_background_\ncat\n")
    assert classes.understood == (
        "classes.txt is read as labelme's, where __ignore__ is 255: 0 _background_, 1 cat, "
        "255 unlabelled"
    )


VOID_NAMES = ["Void", "IGNORE", "ignored", "unlabelled", "Unlabeled", "__ignore__", "don't care"]


@pytest.mark.parametrize("void", VOID_NAMES)
def test_void_is_no_class_whatever_it_is_called(void, tmp_path):
    classes, problems = read(tmp_path, f"wall\nbuilding\n{void}\n")
    assert classes is None
    (problem,) = problems
    assert f"line 3: {void!r} is 255 and no class; remove the line" in str(problem)
    assert (
        "if labels hold 2 there, put its number before every name: '0 wall', '1 building'"
        in str(problem)
    )
    classes, problems = read(tmp_path, f"0 wall\n1 building\n2 {void}\n")
    assert problems == [] and classes.numbers == {0: 0, 1: 1, 2: 255, 255: 255}


def test_background_is_a_class(tmp_path):
    for name in ("background", "_background_", "Background?", "other", "unknown"):
        classes, _ = read(tmp_path, f"{name}\nwall\n")
        assert classes.labels.names == (name, "wall")


REFUSED = {
    "number given twice": ("1 wall\n1 building\n", "line 2: the number 1 is on line 1 as well"),
    "number of void": ("1 wall\n255 building\n", "line 2: the number 255 .* is outside 0..254"),
    "number of a data base": (
        '[{"name": "wall", "id": 71234}, {"name": "building", "id": 71235}]',
        "entry 1: the number 71234 of 'wall' is outside",
    ),
    "some numbers": ('[{"name": "wall", "id": 1}, {"name": "building"}]', "has no number"),
    "void among colours": (
        "wall:9,0,0::\nvoid:0,0,0::\nbuilding:0,9,0::\n",
        "line 3: 'void' must be the last line.* '0 wall', '1 void', ...",
    ),
    "numbers after names": ("wall 1\nbuilding 2\n", "line 1: expected three whole numbers"),
    "JSON of something else": ('{"version": "5.2"}', "is not understood .*a class a line is"),
    "heading": ("Class\nwall\nbuilding\n", "line 1: 'Class' seems to be a heading; remove it"),
    "heading of numbers": ("my classes\n0 wall\n1 building\n", "line 1: most lines begin with the"),
    "line without number": ("0 wall\n1 building\nsky\n", "line 3: most lines begin .*'sky' does"),
    "XML": ("<a>\n<b/>\n</a>\n", "is not understood .XML"),
    "broken JSON": ("[wall,", "is not understood"),
    "broken YAML": ("names: [wall", "is not understood"),
    "name with signs": ("wall\nbuil\x1bding\n", "line 2: the name .* do not print"),
    "nested deeply": ("[" * 100_000, "is not understood"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_unclear_classes_are_refused_with_the_line(name, tmp_path):
    text, message = REFUSED[name]
    classes, problems = read(tmp_path, text)
    assert classes is None
    with pytest.raises(ValueError, match=f"(?s){message}"):
        raise problems[0]


@pytest.mark.parametrize("name", ["Classes.TXT", "class_dict.csv", "labelmap.txt", "data.yaml"])
def test_file_of_another_name_is_found(name, custom_dir):
    (custom_dir / "classes.txt").unlink()
    text = {"data.yaml": "names: [wall, building, sky]\n", "class_dict.csv": DICT + "sky,1,1,1\n"}
    text = text.get(name, "wall:9,0,0::\nbuilding:0,9,0::\nsky:1,1,1::\n")
    (custom_dir / name).write_text(text)
    problems = []
    survey = survey_folder("custom", problems.append, source_dir=str(custom_dir), val_frac=0.4)
    assert survey.labels.names == ("wall", "building", "sky") and problems == []
    assert survey.remarks[0].startswith(f"{name} is read as")


def test_two_files_of_other_names_are_refused(custom_dir):
    (custom_dir / "classes.txt").rename(custom_dir / "labels.txt")
    (custom_dir / "class_names.txt").write_text("a\nb\nc\n")
    problems = []
    survey_folder("custom", problems.append, source_dir=str(custom_dir), val_frac=0.4)
    assert "holds class_names.txt, labels.txt; call the one" in str(problems[0])


@pytest.mark.parametrize("kind", ["grey", "palette", "colours"])
def test_numbers_of_the_file_are_those_in_labels(kind, custom_dir, get_custom):
    lines = ["7 background 0 0 0\n", "9 cat 128 0 0\n", "8 dog 0 128 0\n", "3 void 5 5 5\n"]
    (custom_dir / "classes.txt").write_text("".join(lines))
    numbers = np.tile(np.array([7, 9, 8, 3], np.uint8), (12, 4))
    colors = np.zeros((256, 3), np.uint8)
    colors[[9, 8, 3]] = (128, 0, 0), (0, 128, 0), (5, 5, 5)
    for file in custom_dir.glob("labels/*.png"):
        label = Image.fromarray(colors[numbers] if kind == "colours" else numbers)
        if kind == "palette":
            label.putpalette(colors.tobytes())
        label.save(file)
    dataset = get_custom(custom_dir)
    assert dataset.labels.names == ("background", "dog", "cat")
    expected = np.tile(np.array([0, 2, 1, 255], np.uint8), (12, 4))
    np.testing.assert_array_equal(dataset.source("val")[0]["label"], expected)


def test_number_that_is_not_named_is_refused_with_the_line_to_write(custom_dir):
    (custom_dir / "classes.txt").write_text("1 cat\n2 dog\n")
    save_custom_label(custom_dir / "labels" / "a.png", np.eye(12, 16, dtype=np.uint8))
    problems = check_folder("custom", source_dir=str(custom_dir), val_frac=0.4).problems
    message = str(problems[0])
    assert "a.png: label value 0 is not allowed (180 pixels); allowed are 3 values in" in message
    assert "'NUMBER background' if it is one, 'NUMBER void' if it means unlabelled" in message
