"""Data sets that are built from a user's files: a survey of the folder, built part by part.

Nothing is downloaded. A data set says what its folder holds (`FolderSet.survey`) and which splits
its lists make (`arrange`); everything else is here, once. A part is built when it is first read,
and without a folder the one build that is there is read.
"""

import abc
import dataclasses
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from fcn_jax.data.files.digests import Digests
from fcn_jax.data.files.pairs import Pair
from fcn_jax.data.files.problems import MissingFile, OnProblem, refuse
from fcn_jax.data.files.survey import Part, Place, Survey
from fcn_jax.data.labels import IGNORE_LABEL, LabelSet
from fcn_jax.data.sets import records
from fcn_jax.data.sets.dataset import Dataset
from fcn_jax.data.sets.records import encode_pair
from fcn_jax.errors import UserError


@dataclasses.dataclass(eq=False)
class FolderConfig(tfds.core.BuilderConfig):
    """A part of a data set; the name is the fingerprint of its content.

    Attributes:
        part: Name of the part, which is that of its builder.
        source_dir: Folder of the user's files.
        labels: Classes; None for builds of before the classes were filed with them.
        ids: Ids of each list, or, for builds of before they were filed, as many numbers.
        subsets: Ids of further lists.
        survey: What the part is built from; None if it is read where it was built.
    """

    part: str = ""
    source_dir: str = ""
    labels: LabelSet | None = dataclasses.field(default=None, repr=False)
    ids: Mapping[str, Sequence[Any]] = dataclasses.field(default_factory=dict, repr=False)
    subsets: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict, repr=False)
    survey: Part | None = dataclasses.field(default=None, repr=False)


class FolderBuilder(records.RecordBuilder, skip_registration=True):
    """The TFDS builder of any part."""

    VERSION = tfds.core.Version("1.0.0")  # raise it when the records change

    def __init__(self, *, config: FolderConfig, **options: Any):
        self.name = config.part  # TFDS asks for it by instance wherever it names files
        super().__init__(config=config, **options)

    def _info(self) -> tfds.core.DatasetInfo:
        config = self.builder_config
        return self.make_info(
            config.labels,
            f"Images and class labels of {config.part}, from a user's folder.",
            source_dir=config.source_dir,
            ids=config.ids,
            subsets=config.subsets,
        )

    def list_items(self) -> Mapping[str, Sequence[Pair]]:
        part = self.builder_config.survey
        self._consistency = part.make_consistency()
        self._last = [pair for pairs in part.pairs.values() for pair in pairs][-1]
        return part.pairs

    def make_record(self, split: str, item: Pair) -> dict[str, str | bytes]:
        reading = self.builder_config.survey.read_pair(item)
        if self._consistency:
            self._consistency.add(item.label_file, reading.counts, reading.label.palette)
            if item is self._last:
                self._consistency.finish()
        return encode_pair(item, reading)


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

    def open(self, source_dir: str, data_dir: str, **options: Any) -> Dataset:
        """Returns the data set of a folder; without one, that which is built.

        Raises:
            MissingFile: If there is none, or files are missing.
            Problem: If a list cannot be understood.
            UserError: If a part is built more than once.
        """
        with records.quiet_tfds():
            if source_dir:
                survey = self.survey(source_dir, **options)
                configs = [_make_config(part, data_dir) for part in survey.parts]
            else:
                builds = (find_only_build(name, data_dir=data_dir) for name in self.part_names)
                configs = [build for build in builds if build]
        if not configs:
            raise self.explain_nothing(source_dir)
        reader = self.make_reader(configs, data_dir)
        fingerprints = [f"{config.part}/{config.name}" for config in configs]
        return Dataset(
            name=self.name,
            labels=self.labels or configs[0].labels,
            splits=tuple(reader.splits),
            builder=reader,
            fingerprint=configs[0].name
            if len(configs) == 1
            else records.hash_text(" ".join(fingerprints)),
        )

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
            return builder
        num_images = sum(map(len, config.ids.values()))
        records.build(
            self._open(config),
            message=f"building {config.part} ({num_images} images) in {builder.data_dir} ...",
        )
        return self._open(builder.builder_config)

    def _open(self, config: FolderConfig) -> FolderBuilder:
        with records.quiet_tfds():
            return FolderBuilder(
                config=config, data_dir=self._data_dir or None, file_format=records.FILE_FORMAT
            )


def find_only_build(part: str, *, data_dir: str) -> FolderConfig | None:
    """Returns the one finished build of a user's folder, if any.

    Builds whose names are no fingerprint of the content, as they were once, are read as well; but
    where the same folder was built anew since, only the new build counts.

    Raises:
        UserError: If there are several, since none of them is meant more than another.
    """
    root = Path(data_dir or tfds.core.constants.DATA_DIR) / part
    found = [
        (info_file.parent, json.loads((info_file.parent / "metadata.json").read_text()))
        for info_file in sorted(root.glob(f"*/{FolderBuilder.VERSION}/dataset_info.json"))
    ]
    renewed = {metadata["source_dir"] for _, metadata in found if "labels" in metadata}
    builds = [
        _read_config(part, folder, metadata)
        for folder, metadata in found
        if "labels" in metadata or metadata["source_dir"] not in renewed
    ]
    if len(builds) > 1:
        places = ", ".join(f"{build.source_dir} ({build.name})" for build in builds)
        raise UserError(
            f"data set {part!r} is built {len(builds)} times under {root}, from {places}; say "
            "which is meant with --config.data.source_dir=FOLDER, or remove the builds that you do "
            "not need"
        )
    return builds[0] if builds else None


def _read_config(part: str, folder: Path, metadata: Mapping[str, Any]) -> FolderConfig:
    labels, ids = metadata.get("labels"), metadata.get("ids")
    if not labels and "names" in metadata:  # as custom filed them once
        labels = {"ignore_label": IGNORE_LABEL, **metadata}
    if ids is None:
        splits = json.loads((folder / "dataset_info.json").read_text())["splits"]
        ids = {split["name"]: range(sum(map(int, split["shardLengths"]))) for split in splits}
    return FolderConfig(
        name=folder.parent.name,
        part=part,
        source_dir=metadata["source_dir"],
        labels=LabelSet.from_dict(labels) if labels else None,
        ids=ids,
        subsets=metadata.get("subsets", {}),
    )


def _make_config(part: Part, data_dir: str) -> FolderConfig:
    root = Path(data_dir or tfds.core.constants.DATA_DIR)
    return FolderConfig(
        name=part.fingerprint(Digests(root / part.name / "digests.json")),
        part=part.name,
        source_dir=os.fspath(part.folder),
        labels=part.read_pair.labels,
        ids=part.ids,
        subsets=part.subsets,
        survey=part,
        description=f"Files of {part.folder}",
    )


def _list_ids(part: Part | FolderConfig) -> Iterator[tuple[str, Sequence[Any]]]:
    """Yields the name and the ids of every list."""
    yield from part.ids.items()
    yield from part.subsets.items()
