"""Data sets by name: built once into TFDS files, then read by index."""

import dataclasses
import functools
import os
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fcn_jax.data.labels import CAMVID, SHAPES, LabelSet
from fcn_jax.errors import MissingError, UserError

if TYPE_CHECKING:
    from pathlib import Path

    from fcn_jax.data.batches.loader import Source
    from fcn_jax.data.files.pairs import Survey
    from fcn_jax.data.files.problems import OnProblem
    from fcn_jax.data.sets.splits import PublishedSet


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A data set: its classes, its splits, and random access to the pairs of a split.

    Args:
      builder: reads the pairs: `builder.source(split)`.
      missing: why it lacks a split that it could have, by split.
      ids: of the images of splits that may have some in common.
    """

    name: str
    labels: LabelSet
    splits: tuple[str, ...]
    builder: Any = dataclasses.field(repr=False)
    missing: Mapping[str, str] = dataclasses.field(default_factory=dict, repr=False)
    ids: Mapping[str, Collection[str]] = dataclasses.field(default_factory=dict, repr=False)

    def source(self, split: str) -> "Source":
        """Returns the pairs of a split in fixed order: `len(source)`, `source[i]`.

        `source[i]` is {"id": str, "image": uint8 [h, w, 3] RGB, "label": uint8 [h, w]}.
        """
        if split in self.missing:
            raise MissingError(self.missing[split])
        if split not in self.splits:
            raise UserError(
                f"data set {self.name!r} has no split {split!r}; it has {list(self.splits)}"
            )
        return self.builder.source(split)

    def find_shared(self, trained: str, scored: str) -> str:
        """Says which images of `scored` were trained on; '' if none, or if it is the same split."""
        shared = {*self.ids.get(trained, ())} & {*self.ids.get(scored, ())}
        if trained == scored or not shared:
            return ""
        free = [name for name, ids in self.ids.items() if {*ids}.isdisjoint(self.ids[trained])]
        return (
            f"{len(shared)} images of the split {scored}, such as {min(shared)}, are in {trained} too,"
            f" which is trained on; splits without such images: {', '.join(free) or 'none'}"
        )

    def select(self, classes: Sequence[str]) -> "Dataset":
        """Returns the same images with these classes only; pixels of all others become void."""
        labels = self.labels.select(classes)
        reader = _Relabelled(self.builder, labels.table_from(self.labels))
        return dataclasses.replace(self, labels=labels, builder=reader)

    def find_folders(self) -> "list[Path]":
        """Returns the folders of the built files that were read so far."""
        return self.builder.find_folders()


CHANCE = {"val_frac": 0.2, "split_seed": 0}  # of `custom`, unless its options say otherwise
MASKS = ("mask_key", "mask_classes")  # options of `tfds:NAME`


@dataclasses.dataclass(frozen=True)
class _Relabelled:
    builder: Any
    table: bytes

    def source(self, split: str) -> "Source":
        from fcn_jax.data.sets.records import RelabelledSource

        return RelabelledSource(self.builder.source(split), self.table)

    def find_folders(self) -> "list[Path]":
        return self.builder.find_folders()


def get_dataset(
    name: str,
    *,
    source_dir: str = "",
    data_dir: str = "",
    classes: Sequence[str] = (),
    val_frac: float | None = None,
    split_seed: int | None = None,
    mask_key: str | None = None,
    mask_classes: Sequence[str] | None = None,
) -> Dataset:
    """Returns a data set by name; what it has to read is built first, unless that has been done.

    Args:
      name: one of `DATASETS`; "tfds:NAME" is a prepared TFDS data set that has masks.
      source_dir: the folder with the user's files, for data sets that come from files. Empty
        means the one build that already exists under `data_dir`.
      data_dir: where the built data sets are kept; empty means the default of TFDS,
        `$TFDS_DATA_DIR` or `~/tensorflow_datasets`.
      classes: the classes to tell apart, in the order of their numbers; pixels of all other
        classes become void. Empty means all classes.
      val_frac, split_seed: of `custom`, where neither lists nor folders say what is in `val`: the
        share of images, and what the hash of their names is salted with.
      mask_key, mask_classes: of `tfds:NAME`: which feature is the mask, and its classes as
        "name:value" (or "void:value"), in the order of their numbers; empty means the only one, and
        the names that the data set gives itself.

    Raises:
      ValueError: for an unknown name, or files that are not as they should be.
      FileNotFoundError: if files are missing; the message shows the expected folder.
    """
    get, options = _look_up(
        name,
        val_frac=val_frac,
        split_seed=split_seed,
        mask_key=mask_key,
        mask_classes=mask_classes,
    )
    dataset = get(source_dir, os.path.expanduser(data_dir), **options)
    return dataset.select(classes) if classes else dataset


def _look_up(name: str, **options: Any) -> tuple[Callable[..., Dataset], dict[str, Any]]:
    """Returns what gets a data set, and the options that were given."""
    prefix, _, rest = name.partition(":")
    is_tfds = prefix == "tfds" and rest
    if not is_tfds and name not in DATASETS:
        raise UserError(f"unknown data set {name!r}; known: {[*sorted(DATASETS), 'tfds:NAME']}")
    if not is_tfds and any(options[mask] for mask in MASKS):
        raise UserError(f"data set {name!r} takes no {' and no '.join(MASKS)}: those are of tfds")
    # An experiment on `custom` may be told another data set; what that has no use for is left out.
    taken = MASKS if is_tfds else CHANCE if name == "custom" else ()
    options = {option: options[option] for option in taken if options[option] is not None}
    return functools.partial(_get_tfds, rest) if is_tfds else DATASETS[name], options


def survey_folder(
    name: str, on_problem: "OnProblem", *, source_dir: str, **options: Any
) -> "Survey":
    """Lists what a user's folder holds, before it is built.

    Args:
      name: of a data set that is built from a user's files.
      options: of `get_dataset`.
    """
    if name not in ("camvid", "custom", *PUBLISHED):
        raise UserError(f"data set {name!r} is not built from files of yours: nothing to check")
    if not source_dir:
        raise UserError("which folder is meant? --config.data.source_dir=FOLDER")
    if name == "custom":
        from fcn_jax.data.sets import custom

        options = {option: options.get(option, default) for option, default in CHANCE.items()}
        return custom.make_survey(source_dir, on_problem, **options)
    if name == "camvid":
        from fcn_jax.data.sets import camvid

        return camvid.make_survey(source_dir, on_problem)
    return find_published(name).make_survey(source_dir, on_problem)


# tfds is imported by those who build or read, so that listing the names stays cheap.


def _get_shapes(source_dir: str, data_dir: str) -> Dataset:
    from fcn_jax.data.sets import records
    from fcn_jax.data.sets.shapes import Shapes

    if source_dir:
        raise UserError(
            f"data set 'shapes' is drawn, not read, and takes no source_dir (got {source_dir!r}); "
            "leave --config.data.source_dir out, or choose another data set"
        )
    with records.quiet_tfds():
        builder = Shapes(data_dir=data_dir or None, file_format=records.FILE_FORMAT)
    builder = records.build(builder, message=f"building shapes in {builder.data_dir} ...")
    return _make_dataset("shapes", SHAPES, builder)


def _get_camvid(source_dir: str, data_dir: str) -> Dataset:
    from fcn_jax.data.sets import camvid, records

    with records.quiet_tfds():
        if source_dir:
            config = camvid.make_config(source_dir)
        elif build := records.find_only_build(camvid.CamVid, data_dir=data_dir):
            config = records.FolderConfig(name=build[0])
        else:
            raise MissingError(
                f"data set 'camvid' needs source_dir: it is not built yet; expected\n"
                f"{camvid.EXPECTED_FILES}"
            )
        builder = camvid.CamVid(
            data_dir=data_dir or None, config=config, file_format=records.FILE_FORMAT
        )
    builder = records.build(builder, message=f"building camvid in {builder.data_dir} ...")
    return _make_dataset("camvid", CAMVID, builder)


def _get_tfds(
    tfds_name: str,
    source_dir: str,
    data_dir: str,
    *,
    mask_key: str = "",
    mask_classes: Sequence[str] = (),
) -> Dataset:
    from fcn_jax.data.sets import records
    from fcn_jax.data.sets import tfds as prepared

    if source_dir:
        raise UserError(
            f"data set 'tfds:{tfds_name}' takes no source_dir: it must be prepared, in data_dir or "
            "where TFDS keeps its data sets"
        )
    with records.quiet_tfds():
        opened = prepared.open_prepared(
            tfds_name, data_dir=data_dir, mask_key=mask_key, mask_classes=mask_classes
        )
    return Dataset(f"tfds:{tfds_name}", opened.labels, opened.splits, builder=opened)


def _get_custom(source_dir: str, data_dir: str, **chance: float) -> Dataset:
    from fcn_jax.data.files import lists as custom_lists
    from fcn_jax.data.sets import custom, records

    with records.quiet_tfds():
        if source_dir:
            config = custom.make_config(source_dir, **{**CHANCE, **chance})
        elif build := records.find_only_build(custom.Custom, data_dir=data_dir):
            config = custom.CustomConfig(name=build[0], **build[1])
        else:
            raise MissingError(
                "data set 'custom' needs source_dir: it is not built yet; expected\n"
                f"{custom_lists.EXPECTED_FILES}"
            )
        builder = custom.Custom(
            data_dir=data_dir or None, config=config, file_format=records.FILE_FORMAT
        )
    builder = records.build(builder, message=f"building custom in {builder.data_dir} ...")
    return _make_dataset("custom", config.labels, builder)


# Lists of ids, and two files for each.
PUBLISHED = ("nyud", "pascal_context", "siftflow", "siftflow_geometric", "voc")


def find_published(name: str) -> "PublishedSet":
    """Returns one of `PUBLISHED`: its parts, and the splits that they make."""
    from fcn_jax.data.sets import nyud, pascal, pascal_context, siftflow

    found = (
        nyud.NYUDV2,
        pascal.PASCAL_VOC,
        pascal_context.CONTEXT,
        siftflow.SEMANTIC,
        siftflow.GEOMETRIC,
    )
    return {published.name: published for published in found}[name]


def _get_published(name: str, source_dir: str, data_dir: str) -> Dataset:
    from fcn_jax.data.sets import records
    from fcn_jax.data.sets.splits import PublishedReader

    published = find_published(name)
    configs = published.find_parts(source_dir, data_dir=data_dir)
    with records.quiet_tfds():
        builders = {
            part: published.parts[part](
                data_dir=data_dir or None, config=config, file_format=records.FILE_FORMAT
            )
            for part, config in configs.items()
        }
    reader = PublishedReader(published, builders)
    if differences := reader.find_differences():
        folders = ", ".join(config.source_dir for config in configs.values())
        print(
            f"{name}: not all of {published.title} is in {folders}: {', '.join(differences)}",
            file=sys.stderr,
        )
    return Dataset(
        name=name,
        labels=published.labels,
        splits=tuple(reader.splits),
        ids={split: picks.keys() for split, picks in reader.splits.items()},
        builder=reader,
        missing={
            split: why
            for split, why in published.explain_missing(source_dir, configs).items()
            if split not in reader.splits
        },
    )


def _make_dataset(name: str, labels: LabelSet, builder: Any) -> Dataset:
    return Dataset(name=name, labels=labels, splits=tuple(builder.info.splits), builder=builder)


DATASETS: dict[str, Callable[..., Dataset]] = {
    "camvid": _get_camvid,
    "custom": _get_custom,
    "shapes": _get_shapes,
    **{name: functools.partial(_get_published, name) for name in PUBLISHED},
}
