"""Names as file systems and people make them: spaces, accents, folders, links, hidden files."""

import os
import shutil
import unicodedata

import pytest
from PIL import Image

from fcn_jax.data.checkup import check_folder
from fcn_jax.data.datasets import survey_folder
from fcn_jax.data.files.lists import _read_line
from fcn_jax.data.files.problems import refuse

from .conftest import CUSTOM_NAMES


def composed(name):
    return unicodedata.normalize("NFC", name)


def decomposed(name):
    return unicodedata.normalize("NFD", name)


def rename(folder, old, new, *, label=None):
    """Renames an image and its label; both may get folders."""
    for kind, suffix, name in (("images", "jpg", new), ("labels", "png", label or new)):
        target = folder / kind / f"{name}.{suffix}"
        target.parent.mkdir(parents=True, exist_ok=True)
        (folder / kind / f"{old}.{suffix}").rename(target)


def check(folder):
    return check_folder("custom", source_dir=str(folder), val_frac=0.4)


def survey(folder):
    """The ids of each split, before anything is read."""
    found = survey_folder("custom", refuse, source_dir=str(folder))
    return found.parts[0].ids


def ids_of(dataset):
    return {split: [record["id"] for record in dataset.source(split)] for split in dataset.splits}


NAMES = ["my a", "x,y", "x\ty", "it's", 'say "a"', "Ä ö", "日本", "a.b", "-a", "#1", "x;y", "x  y"]


@pytest.mark.parametrize("name", NAMES)
def test_any_name_is_a_name_in_lists(name, custom_dir):
    rename(custom_dir, "c", name)
    quoted = '"' + name.replace('"', '""') + '"'
    for line in (
        name,
        f"{name}.jpg",
        f"images/{name}.jpg",
        f"images/{name}.jpg labels/{name}.png",
        f"images/{name}.jpg\tlabels/{name}.png",
        f"images/{name}.jpg,labels/{name}.png",
        f"{quoted},{quoted}",
    ):
        (custom_dir / "train.txt").write_text(f"{line}\na\n")
        (custom_dir / "val.txt").write_text("b\n")
        assert survey(custom_dir) == {"train": [name, "a"], "val": ["b"]}, line


def test_any_name_is_a_name_in_folders_and_builds(custom_dir, get_custom):
    for name in NAMES:
        for kind, suffix in (("images", "jpg"), ("labels", "png")):
            shutil.copy(custom_dir / kind / f"a.{suffix}", custom_dir / kind / f"{name}.{suffix}")
    (custom_dir / "train.txt").write_text("\n".join(NAMES))
    (custom_dir / "val.txt").write_text("c\n")
    assert ids_of(get_custom(custom_dir)) == {"train": NAMES, "val": ["c"]}


def test_line_with_two_meanings_is_refused(custom_dir):
    shutil.copy(custom_dir / "images/a.jpg", custom_dir / "images/a b.jpg")
    shutil.copy(custom_dir / "labels/a.png", custom_dir / "labels/a b.png")
    (custom_dir / "train.txt").write_text("a b\n")
    (custom_dir / "val.txt").write_text("c\n")
    (problem,) = check(custom_dir).problems
    assert "line 1: 'a b' may mean ('a b',) or ('a', 'b'); separate by a tab" in str(problem)


def test_lines_are_read_in_every_way():
    assert list(dict.fromkeys(_read_line('a "b, c"'))) == [
        ('a "b, c"',),
        ("a", '"b, c"'),
        ("a", "b, c"),
        ('a "b', 'c"'),
    ]


@pytest.mark.parametrize(("image", "label"), [(composed, decomposed), (decomposed, composed)])
@pytest.mark.parametrize("line", [composed, decomposed, None])
def test_spellings_of_one_name_are_one_name(image, label, line, custom_dir, get_custom):
    rename(custom_dir, "c", image("é/ü"), label=label("é/ü"))
    rename(custom_dir, "f", image("é/f"), label=label("é/f"))
    if line:
        (custom_dir / "train.txt").write_text(line("é/ü") + "\n" + line("é/f.jpg") + "\n")
        (custom_dir / "val.txt").write_text("a\n")
        assert ids_of(get_custom(custom_dir))["train"] == [composed("ü"), "f"]
    else:
        for kind, spell in (("images", image), ("labels", label)):
            (custom_dir / kind / spell("é")).rename(custom_dir / kind / "val")
            (custom_dir / kind / "train").mkdir()
            for file in custom_dir.glob(f"{kind}/*.*"):
                file.rename(custom_dir / kind / "train" / file.name)
        assert ids_of(get_custom(custom_dir))["val"] == ["f", composed("ü")]
    assert check(custom_dir).problems == []


@pytest.mark.parametrize("lists", [False, True])
@pytest.mark.parametrize("kind", ["images", "labels"])
def test_two_spellings_of_one_name_are_refused(kind, lists, custom_dir):
    rename(custom_dir, "c", composed("é"))
    (file,) = custom_dir.glob(f"{kind}/{composed('é')}.*")
    shutil.copy(file, file.with_stem(decomposed("é")))
    if lists:
        (custom_dir / "train.txt").write_text(composed("é") + "\n")
        (custom_dir / "val.txt").write_text("a\n")
    problem = check(custom_dir).problems[0]
    assert problem.kind == "two files of one name"
    assert "look the same and are spelt differently" in str(problem)


def test_images_of_one_name_in_two_folders_are_two_images(custom_dir, get_custom):
    rename(custom_dir, "a", "videoA/00000")
    rename(custom_dir, "b", "videoB/00000")
    (custom_dir / "train.txt").write_text("videoA/00000\nimages/videoB/00000.jpg\n")
    (custom_dir / "val.txt").write_text("c\n")
    assert ids_of(get_custom(custom_dir))["train"] == ["videoA/00000", "videoB/00000"]
    (custom_dir / "train.txt").write_text("00000\n")
    (problem,) = check(custom_dir).problems
    assert "'00000' may be 00000.jpg, ../videoB/00000.jpg; write the image with its folder" in str(
        problem
    )


def test_folders_below_splits_are_part_of_the_name(custom_dir, get_custom):
    rename(custom_dir, "a", "train/videoA/00000")
    rename(custom_dir, "b", "train/videoB/00000")
    for name in "cdef":
        rename(custom_dir, name, f"val/{name}")
    assert ids_of(get_custom(custom_dir)) == {
        "train": ["videoA/00000", "videoB/00000"],
        "val": ["c", "d", "e", "f"],
    }


def test_one_label_for_two_images_is_refused(custom_dir):
    for folder in ("videoA", "videoB"):
        (custom_dir / "images" / folder).mkdir()
    (custom_dir / "images/a.jpg").rename(custom_dir / "images/videoA/c.jpg")
    (custom_dir / "images/b.jpg").rename(custom_dir / "images/videoB/c.jpg")
    (custom_dir / "train.txt").write_text("videoA/c\nvideoB/c\n")
    (custom_dir / "val.txt").write_text("d\n")
    problems = check(custom_dir).problems
    assert [problem.kind for problem in problems] == ["label of two images"]
    assert "labels/c.png is the label of" in str(problems[0])


def test_case_of_a_suffix_does_not_count(custom_dir, get_custom):
    (custom_dir / "images/a.jpg").rename(custom_dir / "images/a.JPG")
    (custom_dir / "labels/a.png").rename(custom_dir / "labels/a.Png")
    (custom_dir / "train.txt").write_text("a.jpg a.png\n")
    (custom_dir / "val.txt").write_text("b.JPG\n")
    assert ids_of(get_custom(custom_dir)) == {"train": ["a"], "val": ["b"]}


def test_links_are_what_they_lead_to(custom_dir, get_custom):
    away = custom_dir.with_name("away")
    expected = ids_of(get_custom(custom_dir))
    shutil.move(custom_dir / "images", away)
    (custom_dir / "images").symlink_to(away)
    shutil.move(custom_dir / "labels/a.png", away / "a.label")
    (custom_dir / "labels/a.png").symlink_to(away / "a.label")
    assert ids_of(get_custom(custom_dir)) == expected


def test_links_to_folders_above_end(custom_dir):
    for kind in ("images", "labels"):
        for split in ("train", "val"):
            (custom_dir / kind / split).mkdir()
        for name in CUSTOM_NAMES:
            (file,) = custom_dir.glob(f"{kind}/{name}.*")
            file.rename(custom_dir / kind / ("val" if name in "ef" else "train") / file.name)
        (custom_dir / kind / "train/loop").symlink_to(custom_dir / kind / "train")
    assert survey(custom_dir) == {"train": ["a", "b", "c", "d"], "val": ["e", "f"]}


HIDDEN = [
    "images/.ipynb_checkpoints/a-checkpoint.jpg", "labels/.ipynb_checkpoints/a-checkpoint.png",
    "images/.thumbs/x.png", "images/@eaDir/x.jpg", "images/.b.jpg",
]  # fmt: skip
OF_SYSTEMS = [
    "images/._a.jpg", "labels/._a.png", "images/.DS_Store", "images/Thumbs.db",
    "labels/desktop.ini", "__MACOSX/images/._a.jpg", ".git/train.txt", "._classes.txt",
    "._train.txt", ".train.txt", "images/.ipynb_checkpoints/train.txt", "images/__MACOSX/._b.jpg",
]  # fmt: skip


@pytest.mark.parametrize("layout", ["flat", "splits"])
def test_hidden_files_and_folders_are_passed_over(layout, custom_dir, get_custom):
    if layout == "splits":
        for name in CUSTOM_NAMES:
            rename(custom_dir, name, f"{'val' if name in 'ef' else 'train'}/{name}")
    before = ids_of(get_custom(custom_dir))
    for name in (*HIDDEN, *OF_SYSTEMS):
        (custom_dir / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (9, 9)).save(custom_dir / name, "PNG")
    assert ids_of(get_custom(custom_dir)) == before
    checkup = check(custom_dir)
    assert checkup.problems == []
    (remark,) = checkup.remarks
    assert remark == (
        "hidden, and passed over with the pictures there: images/.ipynb_checkpoints, "
        "images/.thumbs, images/@eaDir and 2 more"
    )


def test_what_systems_leave_behind_is_not_worth_a_remark(custom_dir):
    for name in OF_SYSTEMS:
        (custom_dir / name).parent.mkdir(parents=True, exist_ok=True)
        (custom_dir / name).write_bytes(os.urandom(9))
    checkup = check(custom_dir)
    assert (checkup.problems, checkup.remarks) == ([], [])
