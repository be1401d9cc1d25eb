"""What one record of a built data set holds, how it is made, and how it is read back.

A record is {"id": text, "image": JPEG or PNG bytes of mode RGB, "label": PNG bytes of mode L}, kept
by TFDS in array_record files. TFDS never decodes a picture: its decoder prefers OpenCV, which turns
palette PNG into colours and 1-bit PNG into 0/255 without a word.
"""

import abc
import contextlib
import functools
import hashlib
import io
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds
from absl import logging

from fcn_jax.atomic_file import as_system_error
from fcn_jax.data.files.lock import hold
from fcn_jax.data.files.pairs import Pair, Reading
from fcn_jax.data.files.pictures import array_to_png, picture_to_array
from fcn_jax.data.labels import LabelSet
from fcn_jax.data.sets.shards import Shards, damaged_build
from fcn_jax.errors import UserError

FILE_FORMAT = "array_record"  # the only format that TFDS reads without TensorFlow
IMAGES_PER_SHARD = 512  # while a shard is built, its records are in memory


class RecordBuilder(tfds.core.ShardBasedBuilder, skip_registration=True):
    """A TFDS builder whose records are as above, stored in the order in which they come.

    Shard by shard, because TFDS 4.9.10 sorts the splits of its GeneratorBasedBuilder in memory, and
    cannot build one of more than 1000 MiB without TensorFlow.
    """

    # TFDS 4.9.10 looks here for lists of downloads, and needs a package that it does not install
    # to do so (importlib_resources). There are no downloads.
    code_path = None

    def __init__(self, **options: Any):
        try:
            super().__init__(**options)
        except (OSError, UserError):
            raise
        except Exception as error:  # of any kind: whatever a parser says of what it cannot read
            folder = Path(self.data_dir)
            if not folder.exists():  # then nothing was parsed
                raise
            raise damaged_build(folder, f"a .json file there cannot be read ({error})") from error

    @abc.abstractmethod
    def list_items(self) -> Mapping[str, Sequence[Any]]:
        """Returns what the records of each split are made from, in order."""

    @abc.abstractmethod
    def make_record(self, split: str, item: Any) -> dict[str, str | bytes]:
        """Makes one record."""

    def _shard_iterators_per_split(
        self, dl_manager: tfds.download.DownloadManager
    ) -> dict[str, list[Callable[[], Iterator[tuple[int, dict]]]]]:
        del dl_manager
        return {
            split: [
                functools.partial(self._make_shard, split, items, start)
                for start in range(0, len(items), IMAGES_PER_SHARD)
            ]
            for split, items in self.list_items().items()
        }

    def _make_shard(
        self, split: str, items: Sequence[Any], start: int
    ) -> Iterator[tuple[int, dict]]:
        for index in range(start, min(start + IMAGES_PER_SHARD, len(items))):
            yield index, self.make_record(split, items[index])
            if sys.stderr.isatty():
                end = "\n" if index + 1 == len(items) else ""
                line = f"\r  {split}: {index + 1} of {len(items)} images"
                print(line, end=end, file=sys.stderr, flush=True)

    def make_info(self, labels: LabelSet, description: str, **metadata: Any):
        """Returns the TFDS description of the set; the classes travel with the data."""
        features = tfds.features.FeaturesDict(
            {
                "id": tfds.features.Text(),
                "image": tfds.features.Image(shape=(None, None, 3)),
                "label": tfds.features.LabeledImage(
                    shape=(None, None, 1), encoding_format="png", labels=list(labels.names)
                ),
            }
        )
        return tfds.core.DatasetInfo(
            builder=self,
            description=description,
            features=features,
            disable_shuffling=True,
            metadata=tfds.core.MetadataDict(labels=labels.to_dict(), **metadata),
        )


def encode_pair(pair: Pair, reading: Reading) -> dict[str, str | bytes]:
    """Makes the record of a pair.

    An RGB JPEG is stored byte by byte, so that nothing is lost; other files become PNG.
    """
    is_rgb_jpeg = reading.image.kind == "JPEG RGB"
    return {
        "id": pair.id,
        "image": pair.image_file.read_bytes()
        if is_rgb_jpeg
        else array_to_png(reading.image.pixels),
        "label": array_to_png(reading.label.numbers),
    }


class RecordSource(Sequence):
    """One split of a built data set: `len`, and `[i]` -> {"id", "image", "label"} as arrays."""

    def __init__(self, builder: tfds.core.DatasetBuilder, split: str):
        self._shards = Shards(builder, split)

    def __len__(self) -> int:
        return len(self._shards)

    def __getitem__(self, index: int) -> dict[str, Any]:
        record = self._shards[index]
        try:
            return {
                "id": record["id"].decode(),
                "image": picture_to_array(record["image"], mode="RGB"),
                "label": picture_to_array(record["label"], mode="L"),
            }
        except ValueError as error:
            raise self._shards.damaged(index, error) from error


class PickedSource(Sequence):
    """Pairs picked from other sources: pair `i` is `picks[i]`, (name of a source, index in it)."""

    def __init__(self, sources: Mapping[str, Sequence], picks: Sequence[tuple[str, int]]):
        self._sources, self._picks = sources, picks

    def __len__(self) -> int:
        return len(self._picks)

    def __getitem__(self, index: int) -> dict[str, Any]:
        if not 0 <= index < len(self):
            raise IndexError(f"index {index} is outside of the {len(self)} images of this split")
        name, there = self._picks[index]
        return self._sources[name][there]


def hash_text(text: str) -> str:
    """Returns 16 hexadecimal digits of a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def build(builder: tfds.core.DatasetBuilder, *, message: str) -> tfds.core.DatasetBuilder:
    """Builds the data set if it is not built yet; says `message` on stderr when it does.

    TFDS writes to a temporary folder and renames it when everything is there, so a folder that
    carries the final name is complete. Of several processes that build at once, one builds and the
    others wait for it; where the file system has no locks, the first to finish wins.

    Returns:
        A builder that reads the finished data set.
    Raises:
        UserError: If something else than a finished build has its place.
    """
    if builder.info.splits:
        return builder
    folder = Path(builder.data_path)
    info_file = folder / "dataset_info.json"
    if not info_file.exists():
        with _lock_build(folder):
            if not info_file.exists():  # it may have been built meanwhile
                _build(builder, folder, info_file, message)
    with quiet_tfds():  # a fresh builder: this one may not know that it was built meanwhile
        return type(builder)(
            data_dir=os.fspath(builder.data_dir_root),
            config=builder.builder_config,
            file_format=FILE_FORMAT,
        )


def _build(builder: tfds.core.DatasetBuilder, folder: Path, info_file: Path, message: str) -> None:
    if folder.is_dir():  # TFDS takes any folder of this name for a finished build
        if any(folder.iterdir()):
            raise damaged_build(folder, "dataset_info.json is missing")
        folder.rmdir()
    _say(message)
    try:
        with quiet_tfds():
            builder.download_and_prepare(file_format=FILE_FORMAT)
    except Exception as error:
        if not isinstance(error, OSError) or not info_file.exists():
            raise as_system_error(error, builder.data_dir) from error


def _lock_build(folder: Path) -> contextlib.AbstractContextManager[None]:
    folder.parent.mkdir(parents=True, exist_ok=True)
    return hold(
        folder.with_name(f"{folder.name}.lock"),
        on_held=lambda holder: _say(f"waiting for {holder}, which builds {folder} ..."),
        on_unsupported=_say,
    )


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


@contextlib.contextmanager
def quiet_tfds() -> Iterator[None]:
    """Silences the progress bars, the log lines and the prints of TFDS, not its errors."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    tfds.disable_progress_bar()
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.set_verbosity(verbosity)
        tfds.enable_progress_bar()
