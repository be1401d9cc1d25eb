"""Data sets that are built from a user's files: a survey of the folder, built part by part.

Nothing is downloaded. A data set says what its folder holds (`FolderSet.survey`) and which splits
its lists make (`arrange`); everything else is here, once. A part is built when it is first read,
and without a folder the one build that is there is read.
"""

import abc
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fcn_jax.data.files.problems import MissingFile, OnProblem, refuse
from fcn_jax.data.files.survey import Part, Place, Survey
from fcn_jax.data.labels import LabelSet
from fcn_jax.data.sets import records
from fcn_jax.data.sets.builds import (
    Builds,
    FolderBuilder,
    FolderConfig,
    find_builds,
    find_only_builds,
    make_configs,
)
from fcn_jax.data.sets.dataset import Dataset
from fcn_jax.errors import UserError, counted


class FolderSet(abc.ABC):
    """A data set whose files are the user's.

    Attributes:
        name: Name that users call it by.
        expected_files: Tree of files, for messages.
        labels: Classes; None if the folder says which.
    """

    name: str
    expected_files: str
    labels: LabelSet | None

    @property
    def part_names(self) -> tuple[str, ...]:
        """Names of all parts that it can have."""
        return (self.name,)

    @abc.abstractmethod
    def survey(self, folder: str | Path, *, on_problem: OnProblem = refuse) -> Survey:
        """Lists what a folder holds; its keywords are the options of the data set."""

    def arrange(
        self, ids: Mapping[str, Sequence[Any]], folders: Sequence[str], on_problem: OnProblem
    ) -> dict[str, Sequence[Place]]:
        """Returns the places of each split: here, each list is one.

        Args:
            ids: Ids of every list "part/list".
            folders: Where the lists are from, for messages.
            on_problem: Is told of splits that cannot be scored on.
        """
        del folders, on_problem
        return {
            name.rpartition("/")[2]: [(name, index) for index in range(len(listed))]
            for name, listed in ids.items()
        }

    def make_survey(
        self,
        labels: LabelSet,
        parts: Sequence[Part],
        on_problem: OnProblem,
        *,
        ids_are_global: bool = False,
    ) -> Survey:
        """Puts the parts of a folder together, and makes the splits."""
        ids = {f"{part.name}/{name}": ids for part in parts for name, ids in _list_ids(part)}
        folders = [str(part.folder) for part in parts]
        return Survey(labels, parts, self.arrange(ids, folders, on_problem), ids_are_global)

    def open(
        self, source_dir: str, data_dir: str, *, fingerprint: str = "", **options: Any
    ) -> Dataset:
        """Returns the data set of a folder; without one, that which is built.

        Args:
            source_dir: The user's folder; empty for none.
            data_dir: Where built data sets are kept; empty means the default of TFDS.
            fingerprint: Without a folder, which of several builds is meant; empty for the only one.
            options: Keywords of `survey`.

        Raises:
            MissingFile: If there is none, or files are missing.
            Problem: If a list cannot be understood.
            UserError: If a part is built more than once.
        """
        survey = None
        with records.quiet_tfds():
            if source_dir:
                survey = self.survey(source_dir, **options)
                builds = make_configs(survey.parts, data_dir)
            elif fingerprint:
                builds = find_builds(self.part_names, fingerprint, data_dir=data_dir)
            else:
                builds = find_only_builds(self.part_names, data_dir=data_dir)
        if not builds.configs:
            raise self.explain_nothing(source_dir)
        reader = self.make_reader(builds.configs, data_dir)
        unbuilt = self.explain_unbuilt(builds)
        said = self._describe(survey) if survey else {"split_by": "what it was built from"}
        return Dataset(
            name=self.name,
            labels=self.labels or builds.configs[0].labels,
            splits=tuple(split for split in reader.splits if split not in unbuilt),
            builder=reader,
            fingerprint=builds.fingerprint,
            **{"missing": unbuilt, **said},
        )

    def _describe(self, survey: Survey) -> dict[str, Any]:
        """Returns what is said of a data set whose folder is there."""
        missing = {
            split: f"data set {self.name!r} has no split {split!r}: {reason}"
            for split, reason in survey.left_out.items()
        }
        remarks = survey.list_remarks()
        return {"split_by": survey.split_by, "missing": missing, "remarks": remarks}

    def make_reader(self, configs: Sequence[FolderConfig], data_dir: str) -> "FolderReader":
        """Returns the reader of these parts, which need not be built."""
        ids = {
            f"{config.part}/{name}": ids for config in configs for name, ids in _list_ids(config)
        }
        folders = [config.source_dir for config in configs]
        configs = [
            config if config.labels else dataclasses.replace(config, labels=self.labels)
            for config in configs
        ]
        return FolderReader(configs, self.arrange(ids, folders, refuse), data_dir)

    def explain_unbuilt(self, builds: Builds) -> dict[str, str]:
        """Says of each split that needs what is not built what to do."""
        del builds  # of one part, something is built or nothing
        return {}

    def explain_nothing(self, source_dir: str) -> MissingFile:
        """Says that there is nothing to read."""
        del source_dir  # the survey of a folder says more
        return MissingFile(
            f"data set {self.name!r} needs source_dir: it is not built yet; expected\n"
            f"{self.expected_files}",
            kind="missing folder",
        )


class FolderReader:
    """The splits of a data set from the parts that it has.

    Args:
        configs: Parts; they are built when they are first read.
        splits: Places of the pairs of each split.
        data_dir: Where built data sets are kept; empty means the default of TFDS.
    """

    def __init__(
        self,
        configs: Sequence[FolderConfig],
        splits: Mapping[str, Sequence[Place]],
        data_dir: str,
    ):
        self.configs, self.splits, self._data_dir = configs, splits, data_dir
        self._builders: dict[str, FolderBuilder] = {}

    def source(self, split: str) -> records.PickedSource:
        """Returns the pairs of a split; builds the parts that it needs."""
        picks = list(self.splits[split])
        return records.PickedSource(
            {name: self._read(*name.split("/")) for name in dict(picks)}, picks
        )

    def find_folders(self) -> list[Path]:
        """Returns where the parts are that were read so far."""
        return [Path(builder.data_path) for builder in self._builders.values()]

    def _read(self, part: str, listed: str) -> records.RecordSource:
        if part not in self._builders:
            (config,) = (config for config in self.configs if config.part == part)
            self._builders[part] = self._build(config)
        return records.RecordSource(self._builders[part], listed)

    def _build(self, config: FolderConfig) -> FolderBuilder:
        # Worker processes that read it get no survey to carry.
        builder = self._open(dataclasses.replace(config, survey=None))
        if builder.info.splits:
            if config.survey:
                _check_readers_agree(builder, config.survey)
            return builder
        num_images = sum(map(len, config.ids.values()))
        records.build(
            self._open(config),
            message=f"building {config.part} ({counted(num_images, 'image')}) in "
            f"{builder.data_dir} ...",
        )
        return self._open(builder.builder_config)

    def _open(self, config: FolderConfig) -> FolderBuilder:
        with records.quiet_tfds():
            return FolderBuilder(
                config=config, data_dir=self._data_dir or None, file_format=records.FILE_FORMAT
            )


def _check_readers_agree(builder: FolderBuilder, part: Part) -> None:
    """Raises UserError if the first label reads otherwise now than when the part was built.

    A build is named by the files that it is made from, not by the code that reads them.
    """
    listed, (pair, *_) = next((name, pairs) for name, pairs in part.pairs.items() if pairs)
    built = records.RecordSource(builder, listed)[0]["label"]
    if not np.array_equal(built, part.read_pair(pair).label.numbers):
        raise UserError(
            f"{builder.data_path} was built by code that read {pair.label_file} otherwise than "
            "today's\nremove that folder and give the same command again: it is built anew"
        )


def _list_ids(part: Part | FolderConfig) -> Iterator[tuple[str, Sequence[Any]]]:
    """Yields the name and the ids of every list."""
    yield from part.ids.items()
    yield from part.subsets.items()
