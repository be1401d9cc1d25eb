"""Data sets as published: one or several parts, and the splits of papers made from their lists.

Each part is built by itself, when it is first read, and stores an image once; a split is a list of
places in the parts. An id stands for the same photograph in all parts of a data set, so splits are
set algebra on ids. Where a split takes an id from two lists, the label is that of the first list.
"""

import dataclasses
import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from fcn_jax.data.files.pairs import Survey
from fcn_jax.data.files.problems import MissingFile, OnProblem, Problem, refuse
from fcn_jax.data.labels import LabelSet
from fcn_jax.data.sets import records
from fcn_jax.data.sets.folder_set import (
    ListedBuilder,
    ListedConfig,
    make_config,
    read_lists,
    read_subsets,
)

Picks = Mapping[str, tuple[str, int]]  # {id: (list, index in the list)} in the order of a split


@dataclasses.dataclass(frozen=True)
class Split:
    """The ids of the lists `take`, in their order, that are not in the lists `without`.

    Args:
      take, without: lists by their names "part/list".
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

    def pick(self, ids: Mapping[str, Sequence[str]]) -> Picks:
        """Returns the places of the split.

        Args:
          ids: of every list.
        """
        left_out = {name for listed in self.without for name in ids[listed]}
        let_in = {name for listed in self.within for name in ids[listed]}
        picks: dict[str, tuple[str, int]] = {}
        for listed in self.take:
            for index, name in enumerate(ids[listed]):
                if name not in left_out and (name in let_in or not self.within):
                    picks.setdefault(name, (listed, index))
        return picks


@dataclasses.dataclass(frozen=True)
class PublishedSet:
    """A data set as people cite it.

    Args:
      title: what people call all of it.
      builders: of its parts, which share their classes and the tree of expected files.
      disjoint: pairs of splits: what is trained on, and what may be scored after it.
      second_choices: for where the parts of a split are missing, but these are there.
    """

    name: str
    title: str
    builders: tuple[type[ListedBuilder], ...]
    splits: Mapping[str, Split]
    disjoint: Sequence[tuple[str, str]]
    second_choices: Mapping[str, Split] = dataclasses.field(default_factory=dict)

    @property
    def parts(self) -> dict[str, type[ListedBuilder]]:
        """The builders by name."""
        return {builder.name: builder for builder in self.builders}

    @property
    def labels(self) -> LabelSet:
        """The classes."""
        return self.builders[0].layout.label_set

    @property
    def expected_files(self) -> str:
        """The tree of files, for messages."""
        return self.builders[0].layout.expected_files

    def make_splits(
        self,
        ids: Mapping[str, Sequence[str]],
        folders: Sequence[str],
        on_problem: OnProblem = refuse,
    ) -> dict[str, Picks]:
        """Returns the picks of every split that these lists make.

        A problem is a list to train on that shares images with one to be scored on.

        Args:
          folders: where the lists are from, for the message.
        """
        splits = {}
        for name, split in self.splits.items():
            for choice in (split, self.second_choices.get(name)):
                if name not in splits and choice and choice.lists <= ids.keys():
                    splits[name] = choice.pick(ids)
        for first, second in self.disjoint:
            shared = splits.get(first, {}).keys() & splits.get(second, {}).keys()
            if shared:
                on_problem(
                    Problem(
                        f"{self.name}: the splits {first} and {second} share {len(shared)} images, "
                        f"such as {min(shared)}; a score on {second} would be wrong. Check the "
                        f"lists in {', '.join(sorted(folders))}",
                        kind="image in two splits",
                    )
                )
        return splits

    def find_folders(self, source_dir: str) -> dict[str, Path]:
        """Returns the folders of the parts that are there."""
        source = Path(os.path.abspath(os.path.expanduser(source_dir)))
        folders = {name: part.layout.find(source) for name, part in self.parts.items()}
        return {name: folder for name, folder in folders.items() if folder}

    def find_parts(self, source_dir: str, *, data_dir: str) -> dict[str, ListedConfig]:
        """Returns the configs of the parts in a folder; without a folder, of those that are built.

        Raises:
          MissingFile: if there is none, or files of a part are missing.
          Problem: if a list cannot be understood.
          ValueError: if a part is built more than once.
        """
        if source_dir:
            configs = {
                name: make_config(self.parts[name].layout, folder)
                for name, folder in self.find_folders(source_dir).items()
            }
        else:
            builds = {
                name: records.find_only_build(part, data_dir=data_dir)
                for name, part in self.parts.items()
            }
            configs = {
                name: ListedConfig(name=build[0], **build[1])
                for name, build in builds.items()
                if build
            }
        if not configs:
            raise self._no_part(source_dir)
        return configs

    def make_survey(self, source_dir: str, on_problem: OnProblem) -> Survey:
        """Lists what a folder holds; the lists are called "part/list"."""
        folders = self.find_folders(source_dir)
        if not folders:
            on_problem(self._no_part(source_dir))
        pairs, subsets, readers = {}, {}, {}
        for part, folder in folders.items():
            layout = self.parts[part].layout
            reader = layout.make_reader(layout.find_table(folder, on_problem))
            for split, listed in read_lists(layout, folder, on_problem).items():
                pairs[f"{part}/{split}"] = listed
                readers[f"{part}/{split}"] = reader
            for name, ids in read_subsets(layout, folder, on_problem).items():
                subsets[f"{part}/{name}"] = ids
        ids = {listed: [pair.id for pair in pairs[listed]] for listed in pairs}
        splits = self.make_splits({**ids, **subsets}, list(map(str, folders.values())), on_problem)
        return Survey(
            labels=self.labels,
            pairs=pairs,
            readers=readers,
            splits={name: list(picks.values()) for name, picks in splits.items()},
            ids_are_global=True,
        )

    def explain_missing(self, source_dir: str, parts: Collection[str]) -> dict[str, str]:
        """Returns, for each split that these parts cannot make, what is missing and where it goes."""
        messages = {}
        for name, split in self.splits.items():
            layouts = [
                part.layout
                for part_name, part in self.parts.items()
                if part_name in split.needs - set(parts)
            ]
            if layouts:
                titles = " and ".join(layout.title for layout in layouts)
                places = ", ".join(place for layout in layouts for place in layout.places)
                looked = f"looked in {source_dir} for {places}" if source_dir else "none is built"
                messages[name] = (
                    f"data set {self.name!r} has no split {name!r}, because {titles} "
                    f"{'are' if layouts[1:] else 'is'} missing ({looked}); expected\n"
                    f"{self.expected_files}"
                )
        return messages

    def _no_part(self, source_dir: str) -> MissingFile:
        *titles, last = (part.layout.title for part in self.builders)
        titles = f"{', '.join(titles)} and {last}" if titles else last
        where = f"{source_dir} holds none" if source_dir else "it needs source_dir: none is built"
        return MissingFile(
            f"data set {self.name!r} is made from the files of {titles}, and {where}; expected\n"
            f"{self.expected_files}",
            kind="missing folder",
        )


class PublishedReader:
    """The splits that some of the parts make.

    Args:
      builders: by part; they need not be built.
    """

    def __init__(self, published: PublishedSet, builders: Mapping[str, ListedBuilder]):
        self._published, self._builders = published, dict(builders)
        configs = {part: builder.builder_config for part, builder in builders.items()}
        ids = {
            f"{part}/{name}": names
            for part, config in configs.items()
            for name, names in {**config.ids, **config.subsets}.items()
        }
        folders = [config.source_dir for config in configs.values()]
        self.splits = published.make_splits(ids, folders)

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
        published = self._published.splits
        return [
            f"{name} {len(picks)} of {published[name].num_images}"
            for name, picks in self.splits.items()
            if len(picks) != published[name].num_images
        ]
