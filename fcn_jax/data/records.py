"""What one record of a built data set holds, how it is made, and how it is read back.

A record is {"id": text, "image": PNG bytes of mode RGB, "label": PNG bytes of mode L}, kept by TFDS
in array_record files. Both pictures are decoded here with Pillow, not by TFDS: its decoder prefers
OpenCV, which turns palette PNG into colours and 1-bit PNG into 0/255 without a word.

EXIF orientation is ignored on both sides, so that an image stays aligned with its label.
"""

import contextlib
import io
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from absl import logging
from jaxtyping import UInt8
from PIL import Image, UnidentifiedImageError

from fcn_jax.data.labels import LabelSet

FILE_FORMAT = "array_record"  # the only format that TFDS reads without TensorFlow


class RecordBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """A TFDS builder whose records are as above, stored in the order in which they come."""

    # TFDS 4.9.10 looks here for lists of downloads, and needs a package that it does not install
    # to do so (importlib_resources). There are no downloads.
    code_path = None

    def make_info(self, labels: LabelSet, description: str, **metadata: str):
        """Returns the TFDS description of the set; the class names travel with the data."""
        features = tfds.features.FeaturesDict(
            {
                "id": tfds.features.Text(),
                "image": tfds.features.Image(shape=(None, None, 3), encoding_format="png"),
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
            metadata=tfds.core.MetadataDict(metadata),
        )


def array_to_png(array: UInt8[np.ndarray, "h w *c"]) -> bytes:
    """Encodes RGB [h, w, 3] or a label map [h, w] without loss."""
    stream = io.BytesIO()
    # On CamVid level 1 takes a fraction of the time of level 6, for 6 % more bytes; decoding is as
    # fast.
    Image.fromarray(array).save(stream, "PNG", compress_level=1)
    return stream.getvalue()


def png_to_array(data: bytes, *, mode: str) -> UInt8[np.ndarray, "h w *c"]:
    """Decodes PNG bytes that must already be of Pillow mode `mode` ("RGB" or "L")."""
    with Image.open(io.BytesIO(data)) as picture:
        if picture.mode != mode:
            raise ValueError(f"record holds a PNG of mode {picture.mode}, expected mode {mode}")
        return np.asarray(picture)


def read_image_file(path: Path) -> UInt8[np.ndarray, "h w 3"]:
    """Reads an image file as RGB; grey, palette and RGBA files are converted (alpha is dropped).

    Raises:
      ValueError: for a file that is no image, is cut short, or has another colour mode.
    """
    with _open_picture(path) as picture:
        if picture.mode not in ("RGB", "L", "P", "RGBA"):
            raise ValueError(
                f"{path}: image mode {picture.mode} is not supported; "
                "convert it to 8-bit RGB, grey (L), palette (P) or RGBA"
            )
        return np.asarray(picture.convert("RGB"))


def read_label_file(path: Path) -> UInt8[np.ndarray, "h w"]:
    """Reads a label file as the numbers that it stores: grey level (L) or palette index (P).

    Raises:
      ValueError: for a file that is no image, is cut short, or holds colours, not numbers.
    """
    with _open_picture(path) as picture:
        if picture.mode not in ("L", "P"):
            raise ValueError(
                f"{path}: a label must store one class number per pixel "
                f"(8-bit PNG of mode L or P), got mode {picture.mode}"
            )
        return np.asarray(picture)


@contextlib.contextmanager
def _open_picture(path: Path) -> Iterator[Image.Image]:
    with contextlib.ExitStack() as stack:
        try:
            picture = stack.enter_context(Image.open(path))
            picture.load()  # the pixels too: a file that is cut short fails here, by name
        except FileNotFoundError:
            raise
        except (UnidentifiedImageError, SyntaxError, OSError) as error:
            raise ValueError(f"{path}: cannot read this file as an image ({error})") from error
        yield picture


class RecordSource(Sequence):
    """One split of a built data set: `len`, and `[i]` -> {"id", "image", "label"} as arrays."""

    def __init__(self, builder: tfds.core.DatasetBuilder, split: str):
        skip = tfds.decode.SkipDecoding()
        self._records = builder.as_data_source(split, decoders={"image": skip, "label": skip})

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> dict[str, Any]:
        if not 0 <= index < len(self):
            raise IndexError(f"index {index} is outside of the {len(self)} images of this split")
        record = self._records[index]
        return {
            "id": record["id"].decode(),
            "image": png_to_array(record["image"], mode="RGB"),
            "label": png_to_array(record["label"], mode="L"),
        }


def build(builder: tfds.core.DatasetBuilder, *, message: str) -> tfds.core.DatasetBuilder:
    """Builds the data set if it is not built yet; says `message` on stderr when it does.

    TFDS writes to a temporary folder and renames it when everything is there, so a folder that
    carries the final name is complete. Of several processes that build at once, the first to
    finish wins and the others use what it built.

    Returns:
      A builder that reads the finished data set.
    """
    info_file = builder.data_path / "dataset_info.json"
    if info_file.exists():
        return builder
    print(message, file=sys.stderr, flush=True)
    try:
        with quiet_tfds():
            builder.download_and_prepare(file_format=FILE_FORMAT)
    except OSError:
        if not info_file.exists():
            raise
    with quiet_tfds():  # a fresh builder: this one may remember the lost race
        return type(builder)(
            data_dir=os.fspath(builder.data_dir_root),
            config=builder.builder_config,
            file_format=FILE_FORMAT,
        )


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
