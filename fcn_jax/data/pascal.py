"""The data set `voc`: what a user has of VOC2012, VOC2011 and SBD, and the splits made from them.

Each of the three is built by itself, when it is first read, and stores an image once; a split is a
list of places in them. An id stands for the same photograph in all three, so splits are set algebra
on ids. Where a split takes an id from two lists, the label is that of the first list. So VOC's label
goes before SBD's, which has no void outlines: what comes out where people copy the labels of VOC
over those of SBD to merge the two.

Source: Long et al. 2015 (seg11valid), Chen et al. 2015 (train_aug, trainval_aug; the lists of
martinkersner/train-DeepLab).
"""

import dataclasses
import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from fcn_jax.data import records, voc

PARTS = {part.name: part for part in (voc.Voc2012, voc.Voc2011, voc.Sbd)}


@dataclasses.dataclass(frozen=True)
class Split:
    """The ids of the lists `take`, in their order, that are not in the lists `without`."""

    num_images: int  # as published
    take: tuple[str, ...]
    without: tuple[str, ...] = ()

    @property
    def needs(self) -> set[str]:
        """The parts that it is made of."""
        return {name.split("/")[0] for name in self.take + self.without}


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
    picks: dict[str, tuple[str, int]] = {}
    for listed in split.take:
        for index, name in enumerate(ids[listed]):
            if name not in left_out:
                picks.setdefault(name, (listed, index))
    return picks


class Pascal:
    """The splits that some of the three parts make.

    Args:
      builders: by part; they need not be built.

    Raises:
      ValueError: if a list to train on shares images with one to be scored on.
    """

    def __init__(self, builders: Mapping[str, voc.VocBuilder]):
        self._builders = dict(builders)
        ids = {
            f"{part}/{split}": names
            for part, builder in builders.items()
            for split, names in builder.builder_config.ids.items()
        }
        self.splits = {
            name: pick(split, ids) for name, split in SPLITS.items() if split.needs <= set(builders)
        }
        for first, second in DISJOINT:
            shared = self.splits.get(first, {}).keys() & self.splits.get(second, {}).keys()
            if shared:
                raise ValueError(
                    f"voc: the splits {first} and {second} share {len(shared)} images, such as "
                    f"{min(shared)}; a score on {second} would be wrong. Check the lists in "
                    f"{', '.join(sorted(b.builder_config.source_dir for b in builders.values()))}"
                )

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

    def find_differences(self) -> list[str]:
        """Returns "split, images of images as published" of every split that differs."""
        return [
            f"{name} {len(picks)} of {SPLITS[name].num_images}"
            for name, picks in self.splits.items()
            if len(picks) != SPLITS[name].num_images
        ]


def find_parts(source_dir: str, *, data_dir: str) -> dict[str, voc.VocConfig]:
    """Returns the configs of the parts in a folder; without a folder, of those that are built.

    Raises:
      FileNotFoundError: if there is none, or files of a part are missing.
      ValueError: if a list cannot be understood, or a part is built more than once.
    """
    configs = {}
    for name, part in PARTS.items():
        if source_dir:
            folder = part.layout.find(Path(os.path.abspath(os.path.expanduser(source_dir))))
            if folder:
                configs[name] = voc.make_config(part.layout, folder)
        elif build := records.find_only_build(part, data_dir=data_dir):
            configs[name] = voc.VocConfig(name=build[0], **build[1])
    if not configs:
        where = f"{source_dir} holds none" if source_dir else "it needs source_dir: none is built"
        raise FileNotFoundError(
            f"data set 'voc' is made of VOC2012, VOC2011 and SBD, and {where}; expected\n"
            f"{voc.EXPECTED_FILES}"
        )
    return configs


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
