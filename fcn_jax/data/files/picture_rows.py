"""The rows of a picture that is too large to be held in memory, one after the other.

Pillow decodes whole pictures, at four bytes a pixel; libvips decodes as far as it is asked.
"""

from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from fcn_jax.data.files.problems import Problem
from fcn_jax.errors import UserError


class PictureRows:
    """An image file whose rows are read from the top, as RGB (alpha is dropped).

    Attributes:
        height: Rows of the picture.
        width: Columns.

    Raises:
        UserError: If libvips is not installed, or does not read the file.
    """

    def __init__(self, path: Path):
        try:
            import pyvips
        except (ImportError, OSError) as error:
            raise UserError(
                f"{path} is too large to be read at once; to read it row by row, install libvips: "
                "pip install 'pyvips[binary]'"
            ) from error
        self._path, self._error, self._next = path, pyvips.Error, 0
        try:
            image = pyvips.Image.new_from_file(str(path), access="sequential", fail_on="truncated")
            self._region = pyvips.Region.new(image)
        except pyvips.Error as error:
            raise self._name(error) from error
        self.height, self.width, self._bands = image.height, image.width, image.bands
        if image.format != "uchar":
            raise self._name(f"libvips reads {image.format}, not 8 bits")

    def read(self, num_rows: int) -> UInt8[np.ndarray, "{num_rows} w 3"]:
        """Returns the next rows."""
        try:
            data = self._region.fetch(0, self._next, self.width, num_rows)
        except self._error as error:
            raise self._name(error) from error
        self._next += num_rows
        rows = np.frombuffer(data, np.uint8).reshape(num_rows, self.width, self._bands)
        if self._bands < 3:  # grey, perhaps with alpha
            return np.repeat(rows[..., :1], 3, axis=-1)
        return rows[..., :3]

    def _name(self, error: Exception | str) -> Problem:
        said = " ".join(str(error).split())
        return Problem(
            f"{self._path}: cannot read the rows of this picture ({said}); if it is whole, save it "
            "as PNG or TIFF",
            kind="unreadable or damaged file",
        )
