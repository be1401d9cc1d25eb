"""A part of a data set as TFDS builds it, and the builds that are there.

A build is named by the fingerprint of its content, and its metadata say what it was built from, so
that it is read without the folder.
"""

import dataclasses
import itertools
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import tensorflow_datasets as tfds

from fcn_jax.data.files.digests import Digests
from fcn_jax.data.files.pairs import Pair
from fcn_jax.data.files.survey import Part
from fcn_jax.data.labels import IGNORE_LABEL, LabelSet
from fcn_jax.data.sets import records
from fcn_jax.data.sets.records import encode_pair
from fcn_jax.data.sets.shards import damaged_build
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
        parts: Names of the builds of the whole data set, by part, as its folder was; empty for
            builds of before they were filed.
        survey: What the part is built from; None if it is read where it was built.
    """

    part: str = ""
    source_dir: str = ""
    labels: LabelSet | None = dataclasses.field(default=None, repr=False)
    ids: Mapping[str, Sequence[Any]] = dataclasses.field(default_factory=dict, repr=False)
    subsets: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict, repr=False)
    parts: Mapping[str, str] = dataclasses.field(default_factory=dict, repr=False)
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
            parts=config.parts,
        )

    def list_items(self) -> Mapping[str, Sequence[Pair]]:
        part = self.builder_config.survey
        self._consistency = part.make_consistency()
        self._last = [pair for pairs in part.pairs.values() for pair in pairs][-1]
        return part.pairs

    def make_record(self, split: str, item: Pair) -> dict[str, str | bytes]:
        reading = self.builder_config.survey.read_pair(item)
        if self._consistency:
            self._consistency.add(
                split,
                item.label_file,
                reading.counts,
                reading.label.palette,
                kind=reading.label.kind,
            )
            if item is self._last:
                self._consistency.finish()
        return encode_pair(item, reading)


class Builds(NamedTuple):
    """What is built of a data set.

    Attributes:
        configs: The finished builds, one of a part at most.
        unbuilt: Names of the parts that it has besides; their builds were stopped, or never asked
            for.
        fingerprint: That of the data set, with what is unbuilt where it is known.
    """

    configs: Sequence[FolderConfig]
    unbuilt: Sequence[str]
    fingerprint: str


def make_configs(parts: Sequence[Part], data_dir: str) -> Builds:
    """Makes the configs that build all parts, which are built when they are first read."""
    configs = [_make_config(part, data_dir) for part in parts]
    names = {config.part: config.name for config in configs}
    return Builds(
        [dataclasses.replace(config, parts=names) for config in configs],
        (),
        join_fingerprints([*names.items()]),
    )


def _make_config(part: Part, data_dir: str) -> FolderConfig:
    """Makes the config that builds a part, named by the fingerprint of its content."""
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


def find_only_builds(parts: Sequence[str], *, data_dir: str) -> Builds:
    """Returns the one finished build of each part that has one.

    Raises:
        UserError: If there are several of a part.
    """
    root = Path(data_dir or tfds.core.constants.DATA_DIR)
    found = [find_only_build(part, data_dir=data_dir) for part in parts]
    configs = [build for build in found if build]
    told = {part for build in configs for part in build.parts}
    unbuilt = [
        part
        for part, build in zip(parts, found, strict=True)
        if not build and (part in told or _is_begun(root / part))
    ]
    names = [(build.part, build.name) for build in configs]
    return Builds(configs, unbuilt, join_fingerprints(names))


def find_only_build(part: str, *, data_dir: str) -> FolderConfig | None:
    """Returns the one finished build of a user's folder, if any.

    Builds whose names are no fingerprint of the content, as they were once, are read as well; but
    where the same folder was built anew since, only the new build counts.

    Raises:
        UserError: If there are several, since none of them is meant more than another.
    """
    root = Path(data_dir or tfds.core.constants.DATA_DIR) / part
    found = [(folder, _read_metadata(folder)) for folder in _list_folders(root)]
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


def find_builds(parts: Sequence[str], fingerprint: str, *, data_dir: str) -> Builds:
    """Returns the finished builds, one of a part at most, that have a fingerprint together.

    Only their metadata are read: nothing else that is built matters. Where there are none, a build
    may know of others that it has this fingerprint with, which are not built.
    """
    root = Path(data_dir or tfds.core.constants.DATA_DIR)
    choices = [[None, *_list_folders(root / part)] for part in parts]
    for chosen in itertools.product(*choices):
        builds = {part: folder for part, folder in zip(parts, chosen, strict=True) if folder}
        if join_fingerprints([(part, f.parent.name) for part, f in builds.items()]) == fingerprint:
            configs = [_read_config(part, f, _read_metadata(f)) for part, f in builds.items()]
            return Builds(configs, (), fingerprint)
    for folder in (folder for part in parts for folder in _list_folders(root / part)):
        names = _read_metadata(folder).get("parts", {})
        if names and join_fingerprints([*names.items()]) == fingerprint:
            there = {
                part: build
                for part, name in names.items()
                for build in _list_folders(root / part)
                if build.parent.name == name
            }
            configs = [_read_config(part, f, _read_metadata(f)) for part, f in there.items()]
            return Builds(configs, [part for part in names if part not in there], fingerprint)
    return Builds((), (), "")


def join_fingerprints(builds: Sequence[tuple[str, str]]) -> str:
    """Returns the fingerprint of a data set that is made of some builds (part, name)."""
    if not builds:
        return ""
    if len(builds) == 1:
        return builds[0][1]
    return records.hash_text(" ".join(f"{part}/{name}" for part, name in builds))


def _list_folders(root: Path) -> list[Path]:
    """Lists the folders of the finished builds of a part."""
    files = root.glob(f"*/{FolderBuilder.VERSION}/dataset_info.json")
    return sorted(file.parent for file in files)


def _is_begun(root: Path) -> bool:
    """Says whether a build of a part was begun and not ended: its folder is made first."""
    ended = {folder.parent for folder in _list_folders(root)}
    return any(folder.is_dir() and folder not in ended for folder in root.glob("*"))


def _read_metadata(folder: Path) -> dict[str, Any]:
    try:
        metadata = json.loads((folder / "metadata.json").read_bytes())
        os.fspath(metadata["source_dir"])
        if not all(
            isinstance(name, str) for item in metadata.get("parts", {}).items() for name in item
        ):
            raise TypeError("parts are no names")
    except (
        FileNotFoundError,
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
        RecursionError,
    ) as error:
        raise damaged_build(folder, f"metadata.json cannot be read ({error})") from error
    return metadata


def _read_config(part: str, folder: Path, metadata: Mapping[str, Any]) -> FolderConfig:
    try:
        labels, ids = metadata.get("labels"), metadata.get("ids")
        if not labels and "names" in metadata:  # as custom filed them once
            labels = {"ignore_label": IGNORE_LABEL, **metadata}
        if ids is None:
            splits = json.loads((folder / "dataset_info.json").read_text())["splits"]
            ids = {split["name"]: range(sum(map(int, split["shardLengths"]))) for split in splits}
        labels = LabelSet.from_dict(labels) if labels else None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise damaged_build(folder, f"its .json files do not fit together ({error})") from error
    return FolderConfig(
        name=folder.parent.name,
        part=part,
        source_dir=metadata["source_dir"],
        labels=labels,
        ids=ids,
        subsets=metadata.get("subsets", {}),
        parts=metadata.get("parts", {}),
    )
