"""The data set `voc`: what a user has of VOC2012, VOC2011 and SBD, and the splits made from them.

Each of the three is built by itself, when it is first read, and stores an image once; a split is a
list of places in them. An id stands for the same photograph in all three, so splits are set algebra
on ids. Where a split takes an id from two lists, the label is that of the first list. So VOC's label
goes before SBD's, which has no void outlines: what comes out where people copy the labels of VOC
over those of SBD to merge the two.

seg11valid has two definitions: VOC2011 without what SBD trains on, and, for those who have neither,
the list that FCN released. All of its images are in the val list of VOC2012.

Source: Long et al. 2015 (seg11valid), Chen et al. 2015 (train_aug, trainval_aug; the lists of
martinkersner/train-DeepLab).
"""

import dataclasses
import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from fcn_jax.data import records, voc
from fcn_jax.data.labels import VOC
from fcn_jax.data.pairs import Survey
from fcn_jax.data.problems import MissingFile, OnProblem, Problem, refuse

PARTS = {part.name: part for part in (voc.Voc2012, voc.Voc2011, voc.Sbd)}


@dataclasses.dataclass(frozen=True)
class Split:
    """The ids of the lists `take`, in their order, that are not in the lists `without`.

    Args:
      within: if given, only ids of these lists are taken.
    """

    num_images: int  # as published
    take: tuple[str, ...]
    without: tuple[str, ...] = ()
    within: tuple[str, ...] = ()

    @property
    def lists(self) -> set[str]:
        """The lists that it is made of."""
        return {*self.take, *self.without, *self.within}

    @property
    def needs(self) -> set[str]:
        """The parts that it is made of."""
        return {name.split("/")[0] for name in self.lists}


SPLITS = {
    "train": Split(1464, take=("voc2012/train",)),
    "val": Split(1449, take=("voc2012/val",)),
    "trainval": Split(2913, take=("voc2012/train", "voc2012/val")),
    "train_aug": Split(
        10582, take=("voc2012/train", "sbd/train", "sbd/val"), without=("voc2012/val",)
    ),
    "trainval_aug": Split(12031, take=("voc2012/train", "voc2012/val", "sbd/train", "sbd/val")),
    "sbd_train": Split(8498, take=("sbd/train",)),
    "sbd_val": Split(2857, take=("sbd/val",)),
    "voc11_train": Split(1112, take=("voc2011/train",)),
    "voc11_val": Split(1111, take=("voc2011/val",)),
    "seg11valid": Split(736, take=("voc2011/val",), without=("sbd/train",)),
}

# Where the parts of a split are missing, but these are there.
SECOND_CHOICES = {
    "seg11valid": Split(736, take=("voc2012/val",), within=("voc2012/seg11valid",)),
}

# What is trained on, and what may be scored after it.
DISJOINT = (
    ("train", "val"),
    ("train_aug", "val"),
    ("train_aug", "seg11valid"),
    ("sbd_train", "sbd_val"),
    ("sbd_train", "seg11valid"),
    ("voc11_train", "voc11_val"),
)


def pick(split: Split, ids: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, int]]:
    """Returns {id: (list, index in the list)} in the order of the split.

    Args:
      ids: of every list, by its name "part/split".
    """
    left_out = {name for listed in split.without for name in ids[listed]}
    let_in = {name for listed in split.within for name in ids[listed]}
    picks: dict[str, tuple[str, int]] = {}
    for listed in split.take:
        for index, name in enumerate(ids[listed]):
            if name not in left_out and (name in let_in or not split.within):
                picks.setdefault(name, (listed, index))
    return picks


def make_splits(
    ids: Mapping[str, Sequence[str]], folders: Sequence[str], on_problem: OnProblem = refuse
) -> dict[str, dict[str, tuple[str, int]]]:
    """Returns the picks of every split that these lists make.

    A problem is a list to train on that shares images with one to be scored on.

    Args:
      folders: where the lists are from, for the message.
    """
    splits = {}
    for name, split in SPLITS.items():
        for choice in (split, SECOND_CHOICES.get(name)):
            if name not in splits and choice and choice.lists <= ids.keys():
                splits[name] = pick(choice, ids)
    for first, second in DISJOINT:
        shared = splits.get(first, {}).keys() & splits.get(second, {}).keys()
        if shared:
            on_problem(
                Problem(
                    f"voc: the splits {first} and {second} share {len(shared)} images, such as "
                    f"{min(shared)}; a score on {second} would be wrong. Check the lists in "
                    f"{', '.join(sorted(folders))}",
                    kind="image in two splits",
                )
            )
    return splits


class Pascal:
    """The splits that some of the three parts make.

    Args:
      builders: by part; they need not be built.
    """

    def __init__(self, builders: Mapping[str, voc.VocBuilder]):
        self._builders = dict(builders)
        configs = {part: builder.builder_config for part, builder in builders.items()}
        ids = {
            f"{part}/{name}": names
            for part, config in configs.items()
            for name, names in {**config.ids, **config.subsets}.items()
        }
        self.splits = make_splits(ids, [config.source_dir for config in configs.values()])

    def source(self, split: str) -> records.PickedSource:
        """Returns the pairs of a split; builds the parts that it needs."""
        picks = list(self.splits[split].values())
        return records.PickedSource(
            {listed: self._read(*listed.split("/")) for listed in dict(picks)}, picks
        )

    def _read(self, part: str, split: str) -> records.RecordSource:
        builder = self._builders[part]
        num_images = sum(map(len, builder.builder_config.ids.values()))
        self._builders[part] = records.build(
            builder,
            message=f"building {part} ({num_images} images) in {builder.data_dir} ...",
        )
        return self._builders[part].source(split)

    def find_folders(self) -> list[Path]:
        """Returns where the parts are that are built."""
        return [
            Path(builder.data_path) for builder in self._builders.values() if builder.info.splits
        ]

    def find_differences(self) -> list[str]:
        """Returns "split, images of images as published" of every split that differs."""
        return [
            f"{name} {len(picks)} of {SPLITS[name].num_images}"
            for name, picks in self.splits.items()
            if len(picks) != SPLITS[name].num_images
        ]


def find_folders(source_dir: str) -> dict[str, Path]:
    """Returns the folders of the parts that are there."""
    source = Path(os.path.abspath(os.path.expanduser(source_dir)))
    folders = {name: part.layout.find(source) for name, part in PARTS.items()}
    return {name: folder for name, folder in folders.items() if folder}


def find_parts(source_dir: str, *, data_dir: str) -> dict[str, voc.VocConfig]:
    """Returns the configs of the parts in a folder; without a folder, of those that are built.

    Raises:
      MissingFile: if there is none, or files of a part are missing.
      Problem: if a list cannot be understood.
      ValueError: if a part is built more than once.
    """
    if source_dir:
        configs = {
            name: voc.make_config(PARTS[name].layout, folder)
            for name, folder in find_folders(source_dir).items()
        }
    else:
        builds = {
            name: records.find_only_build(part, data_dir=data_dir) for name, part in PARTS.items()
        }
        configs = {
            name: voc.VocConfig(name=build[0], **build[1])
            for name, build in builds.items()
            if build
        }
    if not configs:
        raise _no_part(source_dir)
    return configs


def make_survey(source_dir: str, on_problem: OnProblem) -> Survey:
    """Lists what a folder holds; the lists are called "part/split"."""
    folders = find_folders(source_dir)
    if not folders:
        on_problem(_no_part(source_dir))
    pairs, subsets = {}, {}
    for part, folder in folders.items():
        layout = PARTS[part].layout
        for split, listed in voc.read_lists(layout, folder, on_problem).items():
            pairs[f"{part}/{split}"] = listed
        for name, ids in voc.read_subsets(layout, folder, on_problem).items():
            subsets[f"{part}/{name}"] = ids
    ids = {listed: [pair.id for pair in pairs[listed]] for listed in pairs}
    splits = make_splits({**ids, **subsets}, list(map(str, folders.values())), on_problem)
    return Survey(
        labels=VOC,
        pairs=pairs,
        readers={listed: PARTS[listed.split("/")[0]].layout.read_pair for listed in pairs},
        splits={name: list(picks.values()) for name, picks in splits.items()},
        ids_are_global=True,
    )


def _no_part(source_dir: str) -> MissingFile:
    where = f"{source_dir} holds none" if source_dir else "it needs source_dir: none is built"
    return MissingFile(
        f"data set 'voc' is made of VOC2012, VOC2011 and SBD, and {where}; expected\n"
        f"{voc.EXPECTED_FILES}",
        kind="missing folder",
    )


def explain_missing(source_dir: str, parts: Collection[str]) -> dict[str, str]:
    """Returns, for every split that these parts cannot make, what is missing and where it goes."""
    messages = {}
    for name, split in SPLITS.items():
        layouts = [PARTS[part].layout for part in PARTS if part in split.needs - set(parts)]
        if layouts:
            titles = " and ".join(layout.title for layout in layouts)
            places = ", ".join(place for layout in layouts for place in layout.places)
            looked = f"looked in {source_dir} for {places}" if source_dir else "none is built"
            messages[name] = (
                f"data set 'voc' has no split {name!r}, because {titles} is missing ({looked}); "
                f"expected\n{voc.EXPECTED_FILES}"
            )
    return messages
