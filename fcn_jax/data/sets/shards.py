"""The files of a built split, and what is said of damage to them.

array_record files hold hashes of their contents, so that what is read is what was written or an
error; TFDS notes beside them how many records each has. Neither error names a file: these do.
"""

import errno
import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from fcn_jax.errors import UserError


class Shards(Sequence):
    """The records of one split as TFDS filed them; its pictures stay bytes.

    Raises:
        UserError: If a file is missing or cut off, or, when a record is read, if it is damaged.
    """

    def __init__(self, builder: tfds.core.DatasetBuilder, split: str):
        self._folder = Path(builder.data_path)
        if split not in builder.info.splits:
            raise damaged_build(self._folder, f"dataset_info.json lists no split {split!r}")
        skip = tfds.decode.SkipDecoding()
        decoders = {
            key: skip
            for key, feature in builder.info.features.items()
            if isinstance(feature, tfds.features.Image)
        }
        try:
            files = builder.info.splits[split].file_instructions
            self._files = [(Path(file.filename), file.examples_in_shard) for file in files]
            self._records = builder.as_data_source(split, decoders=decoders)
        except (OSError, MemoryError):
            raise
        except Exception as error:  # of any kind: of what TFDS makes of the names in it
            raise damaged_build(self._folder, f"dataset_info.json: {error}") from error
        for file, num_records in self._files:
            self._check_length(file, num_records)

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> Mapping[str, Any]:
        if not 0 <= index < len(self):
            raise IndexError(f"index {index} is outside of the {len(self)} images of this split")
        try:
            return self._records[index]
        except (OSError, MemoryError):
            raise
        except Exception as error:  # of any kind: whatever a parser says of what it cannot read
            raise self.damaged(index, error) from error

    def damaged(self, index: int, reason: Any) -> UserError:
        """Makes the answer to a record that cannot be read."""
        for file, num_records in self._files:
            if index < num_records:
                return damaged_build(self._folder, f"record {index} of {file.name}: {reason}")
            index -= num_records
        return damaged_build(self._folder, str(reason))

    def _check_length(self, file: Path, num_records: int) -> None:
        if not file.is_file():
            raise damaged_build(self._folder, f"{file.name} is missing")
        # Here and not above: it comes with TFDS, for Linux alone.
        from array_record.python.array_record_module import ArrayRecordReader

        try:
            reader = ArrayRecordReader(str(file))
            found = reader.num_records()
            reader.close()
        except RuntimeError as error:
            if not os.access(file, os.R_OK):
                raise PermissionError(errno.EACCES, "Permission denied", str(file)) from error
            raise damaged_build(self._folder, f"{file.name}: {error}") from error
        if found != num_records:
            raise damaged_build(
                self._folder,
                f"{file.name} has {found} records, and dataset_info.json says {num_records}",
            )


def damaged_build(folder: Path, reason: str) -> UserError:
    """Makes the answer to a build that is not what it was when it was finished."""
    return UserError(
        f"the build {folder} is damaged: {reason:.200}\n"
        f"remove it (rm -r {shlex.quote(str(folder))}) and build it anew: the same command does, "
        "with --config.data.source_dir=FOLDER if it is built from files; tfds build for tfds:NAME"
    )
