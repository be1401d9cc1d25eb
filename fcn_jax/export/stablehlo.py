"""The file of `jax.export`: StableHLO for several platforms, with all parameters in it."""

import calendar
import datetime
import importlib.metadata
import importlib.util
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax import export

from fcn_jax.errors import UserError
from fcn_jax.export.program import Comparison, compare, make_function
from fcn_jax.train.trained import Trained

PLATFORMS = ("cpu", "cuda", "tpu")
# By the dtype of the computation: both programs do the same, but XLA may fuse it differently.
TOLERANCE = {"float32": 1e-5, "bfloat16": 1e-2}

GUARANTEE_MONTHS = 6
GUARANTEE = "https://docs.jax.dev/en/latest/501/export.html#compatibility-guarantees"


def check_packages() -> None:
    """Raises UserError if a package is missing."""
    if not importlib.util.find_spec("flatbuffers"):
        raise UserError("jax.export writes with flatbuffers: pip install flatbuffers")


def write(net: Trained, path: Path, images: jax.ShapeDtypeStruct) -> None:
    """Writes the program that takes images of this shape."""
    program = export.export(jax.jit(make_function(net)), platforms=PLATFORMS)(images)
    path.write_bytes(program.serialize())


def verify(net: Trained, path: Path, images: jax.ShapeDtypeStruct) -> Comparison:
    """Reads a file of `write`, and compares what it computes with what the network does."""
    run = jax.jit(export.deserialize(bytearray(path.read_bytes())).call)
    tolerance = TOLERANCE[net.model.backbone.dtype]
    return compare(net, lambda images: np.asarray(run(images)), images, tolerance=tolerance)


def describe(today: datetime.date) -> dict[str, Any]:
    """Says, as JSON holds it, what reads a file that is written today.

    jax promises that what a release exports is read by releases up to six months younger and three
    weeks older. It counts from the builds of jaxlib, whose dates no package holds; so there is one
    date that is certain, by which the promise has ended.
    """
    jaxlib = importlib.metadata.version("jaxlib")
    return {
        "format": "jax.export",
        "platforms": list(PLATFORMS),
        "jax": jax.__version__,
        "jaxlib": jaxlib,
        "readable_by": f"jax {jax.__version__}, releases up to {GUARANTEE_MONTHS} months younger "
        "and up to 3 weeks older",
        "readable_until": f"{GUARANTEE_MONTHS} months after the release of jaxlib "
        f"{jaxlib}, by {_add_months(today, GUARANTEE_MONTHS)} at the latest",
        "source": GUARANTEE,
    }


def _add_months(date: datetime.date, months: int) -> datetime.date:
    years, month = divmod(date.month - 1 + months, 12)
    year, month = date.year + years, month + 1
    return date.replace(
        year=year, month=month, day=min(date.day, calendar.monthrange(year, month)[1])
    )
