"""Data sets as published: one or several parts, and the splits of papers made from their lists.

A part is a folder as its archive unpacks, or some of it: lists of ids, and two files for each. It
stores an image once; a split is a list of places in the parts. An id stands for the same photograph
in all parts of a data set, so splits are set algebra on ids. Where a split takes an id from two
lists, the label is that of the first list.
"""

import dataclasses
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fcn_jax.data.files.problems import MissingFile, OnProblem, Problem, refuse
from fcn_jax.data.files.survey import Place, Survey
from fcn_jax.data.labels import LabelSet
from fcn_jax.data.sets.builds import Builds
from fcn_jax.data.sets.dataset import Dataset
from fcn_jax.data.sets.folder_layout import FolderLayout
from fcn_jax.data.sets.folder_set import FolderSet
from fcn_jax.errors import counted


@dataclasses.dataclass(frozen=True)
class Split:
    """The ids of the lists `take`, in their order, that are not in the lists `without`.

    Attributes:
        num_images: Number of its images, as published.
        take: Names "part/list" of the lists that it is made of.
        without: Names of the lists whose ids are left out.
        within: Names of lists; if there are any, only their ids are taken.
    """

    num_images: int
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

    def pick(self, ids: Mapping[str, Sequence[str]]) -> Mapping[str, Place]:
        """Returns the place of each id, in the order of the split.

        Args:
            ids: Ids of every list.
        """
        left_out = {name for listed in self.without for name in ids[listed]}
        let_in = {name for listed in self.within for name in ids[listed]}
        picks: dict[str, Place] = {}
        for listed in self.take:
            for index, name in enumerate(ids[listed]):
                if name not in left_out and (name in let_in or not self.within):
                    picks.setdefault(name, (listed, index))
        return picks


@dataclasses.dataclass(frozen=True)
class PublishedSet(FolderSet):
    """A data set as people cite it.

    Attributes:
        title: What people call all of it.
        layouts: Layouts of its parts.
        splits: Splits by name.
        disjoint: Pairs of splits: what is trained on, and what may be scored after it.
        second_choices: Splits for where the parts of the first choice are missing.
    """

    name: str
    title: str
    labels: LabelSet
    expected_files: str
    layouts: tuple[FolderLayout, ...]
    splits: Mapping[str, Split]
    disjoint: Sequence[tuple[str, str]]
    second_choices: Mapping[str, Split] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        lists = [
            f"{layout.name}/{name}"
            for layout in self.layouts
            for name in (*layout.list_names, *layout.subsets)
        ]
        for name, split in (*self.splits.items(), *self.second_choices.items()):
            if unknown := split.lists - {*lists}:
                raise ValueError(
                    f"split {name!r} of {self.name} takes the lists {sorted(unknown)}, but its "
                    f"layouts have {lists}: say list_names=(...) in FolderLayout"
                )

    @property
    def part_names(self) -> tuple[str, ...]:
        """Names of all parts."""
        return tuple(layout.name for layout in self.layouts)

    def survey(self, folder: str | Path, *, on_problem: OnProblem = refuse) -> Survey:
        """Lists what a folder holds."""
        source = Path(os.path.abspath(os.path.expanduser(folder)))
        found = [(layout, layout.find(source)) for layout in self.layouts]
        if not any(part for _, part in found):
            on_problem(self.explain_nothing(str(folder)))
        parts = [
            layout.survey(part, self.labels, self.expected_files, on_problem=on_problem)
            for layout, part in found
            if part
        ]
        survey = self.make_survey(self.labels, parts, on_problem, ids_are_global=True)
        titles = " and ".join(layout.title for layout, part in found if part)
        return dataclasses.replace(survey, split_by=f"the lists of {titles}" if titles else "")

    def arrange(
        self, ids: Mapping[str, Sequence[Any]], folders: Sequence[str], on_problem: OnProblem
    ) -> dict[str, Sequence[Place]]:
        """Returns the places of every split that these lists make.

        A problem is a list to train on that shares images with one to be scored on.
        """
        splits: dict[str, Mapping[str, Place]] = {}
        for name, split in self.splits.items():
            for choice in (split, self.second_choices.get(name)):
                if name not in splits and choice and choice.lists <= ids.keys():
                    splits[name] = choice.pick(ids)
        for first, second in self.disjoint:
            shared = splits.get(first, {}).keys() & splits.get(second, {}).keys()
            if shared:
                on_problem(
                    Problem(
                        f"{self.name}: the splits {first} and {second} share "
                        f"{counted(len(shared), 'image')}, "
                        f"such as {min(shared)}; a score on {second} would be wrong. Check the "
                        f"lists in {', '.join(sorted(folders))}",
                        kind="image in two splits",
                    )
                )
        return {name: list(picks.values()) for name, picks in splits.items()}

    def open(self, source_dir: str, data_dir: str, *, fingerprint: str = "") -> Dataset:
        """Returns the data set; says on stderr if it is not all that was published."""
        dataset = super().open(source_dir, data_dir, fingerprint=fingerprint)
        configs = {config.part: config for config in dataset.builder.configs}
        splits = {split: dataset.builder.splits[split] for split in dataset.splits}
        if differences := self.find_differences(splits):
            folders = ", ".join(config.source_dir for config in configs.values())
            print(
                f"{self.name}: not all of {self.title} is in {folders}: {', '.join(differences)}",
                file=sys.stderr,
            )

        def find_id(place: Place) -> str:
            part, listed = place[0].split("/")
            return configs[part].ids[listed][place[1]]

        missing = self._explain_missing(source_dir, set(configs))
        return dataclasses.replace(
            dataset,
            ids={split: [find_id(place) for place in places] for split, places in splits.items()},
            missing={
                split: why
                for split, why in {**missing, **dataset.missing}.items()
                if split not in dataset.splits
            },
        )

    def find_differences(self, splits: Mapping[str, Sequence[Place]]) -> list[str]:
        """Returns "split, images of images as published" of every split that differs."""
        return [
            f"{name} {len(places)} of {self.splits[name].num_images}"
            for name, places in splits.items()
            if len(places) != self.splits[name].num_images
        ]

    def _explain_missing(self, source_dir: str, parts: set[str]) -> dict[str, str]:
        """Returns for each split that these parts cannot make what is missing and where it goes."""
        messages = {}
        for name, split in self.splits.items():
            layouts = [layout for layout in self.layouts if layout.name in split.needs - parts]
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

    def explain_unbuilt(self, builds: Builds) -> dict[str, str]:
        """Says of each split that needs what is not built what to do; says on stderr that some is.

        A second choice is no way out: it is other images, for those who never had the first.
        """
        if not builds.unbuilt:
            return {}
        titles = {layout.name: layout.title for layout in self.layouts}
        source = ", ".join(dict.fromkeys(config.source_dir for config in builds.configs))
        there = " and ".join(titles[config.part] for config in builds.configs)
        lacks = " and ".join(titles[part] for part in builds.unbuilt)
        way_on = (
            f"what is there was built from {source}: give the folder of all once more, and the "
            "rest is built (--config.data.source_dir=FOLDER)"
        )
        partly = f"data set {self.name!r} is partly built: {there} without {lacks}"
        print(f"{partly}; {way_on}", file=sys.stderr)
        return {
            name: f"{partly}, which the split {name!r} needs\n{way_on}"
            for name, split in self.splits.items()
            if split.needs & {*builds.unbuilt}
        }

    def explain_nothing(self, source_dir: str) -> MissingFile:
        """Says which parts it is made from."""
        *titles, last = (layout.title for layout in self.layouts)
        titles = f"{', '.join(titles)} and {last}" if titles else last
        where = "it needs source_dir: none is built"
        if source_dir:
            there = os.path.isdir(os.path.expanduser(source_dir))
            where = f"{source_dir} {'holds none' if there else 'is no folder'}"
        return MissingFile(
            f"data set {self.name!r} is made from the files of {titles}, and {where}; expected\n"
            f"{self.expected_files}",
            kind="missing folder",
        )
