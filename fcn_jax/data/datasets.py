"""Data sets by name: built once into TFDS files, then read by index."""

import dataclasses
import importlib
import inspect
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from fcn_jax.atomic_file import local_path
from fcn_jax.data.sets.dataset import Dataset
from fcn_jax.errors import UserError

if TYPE_CHECKING:
    from fcn_jax.data.files.problems import OnProblem
    from fcn_jax.data.files.survey import Survey


@dataclasses.dataclass(frozen=True)
class LazySet:
    """A data set in a module that is imported when it is asked for: to list the names stays cheap.

    Attributes:
        module: Name of the module in `fcn_jax.data.sets`.
        variable: Name of the data set in it, or of the class that it is made of.
        arguments: What that class takes; empty for a data set that is there.
    """

    module: str
    variable: str = "DATA_SET"
    arguments: tuple[str, ...] = ()

    def load(self) -> Any:
        """Returns the data set as its module defines it."""
        module = importlib.import_module(f"fcn_jax.data.sets.{self.module}")
        found = getattr(module, self.variable)
        return found(*self.arguments) if self.arguments else found

    def __call__(self, source_dir: str, data_dir: str, **options: Any) -> Dataset:
        return self.load().open(source_dir, data_dir, **options)


# What opens a data set: f(source_dir, data_dir, **options of its own).
DATASETS: dict[str, Callable[..., Dataset]] = {
    "camvid": LazySet("camvid"),
    "custom": LazySet("custom"),
    "nyud": LazySet("nyud"),
    "pascal_context": LazySet("pascal_context"),
    "shapes": LazySet("shapes"),
    "siftflow": LazySet("siftflow", "SEMANTIC"),
    "siftflow_geometric": LazySet("siftflow", "GEOMETRIC"),
    "voc": LazySet("voc"),
}


def get_dataset(
    name: str,
    *,
    source_dir: str = "",
    data_dir: str = "",
    classes: Sequence[str] = (),
    fingerprint: str = "",
    **options: Any,
) -> Dataset:
    """Returns a data set by name; what has to be read is built first, unless that has been done.

    Args:
        name: One of `DATASETS`; "tfds:NAME" is a prepared TFDS data set that has masks.
        source_dir: Folder with the user's files, for data sets that come from files. Empty means
            the one build that already exists under `data_dir`.
        data_dir: Folder in which built data sets are kept; empty means the default of TFDS,
            `$TFDS_DATA_DIR` or `~/tensorflow_datasets`.
        classes: Classes to tell apart, in the order of their numbers; pixels of all other classes
            become void. Empty means all classes.
        fingerprint: Content of the build that is meant where `source_dir` is empty; data sets that
            are not built from files do not look at it. Empty means the only build.
        **options: Options of this data set; `find_takers` says which function takes them.

    Raises:
        UserError: For an unknown name, an option of another data set, or files that are not as
            they should be.
        MissingError: If files are missing; the message shows the expected folder.
    """
    open_set = _find_opener(name)
    _check_options(name, options)
    source_dir, data_dir = (folder and str(local_path(folder)) for folder in (source_dir, data_dir))
    if fingerprint and isinstance(open_set, LazySet) and hasattr(open_set.load(), "survey"):
        options["fingerprint"] = fingerprint
    dataset = open_set(source_dir, data_dir, **options)
    return dataset.select(classes) if classes else dataset


def find_takers(name: str) -> tuple[Callable[..., Any], ...]:
    """Returns the functions whose keywords are together those of `get_dataset` for a data set.

    The first is `get_dataset` itself, less its `**options`; the other takes those of the set alone.
    """
    opener = _find_opener(name)
    if isinstance(opener, LazySet):
        found = opener.load()
        return get_dataset, getattr(found, "survey", found.open)
    return get_dataset, opener


def load_set(name: str) -> Any:
    """Returns a data set as its module in `fcn_jax.data.sets` defines it."""
    return _find_opener(name).load()


def survey_folder(
    name: str, on_problem: "OnProblem", *, source_dir: str, **options: Any
) -> "Survey":
    """Lists what a user's folder holds, before it is built.

    Args:
        name: Name of a data set that is built from a user's files.
        on_problem: Is told of every problem.
        source_dir: The user's folder.
        **options: Options of the data set, as `get_dataset` takes them.
    """
    found = load_set(name)
    if not hasattr(found, "survey"):
        raise UserError(f"data set {name!r} is not built from files of yours: nothing to check")
    if not source_dir:
        raise UserError("which folder is meant? --config.data.source_dir=FOLDER")
    _check_options(name, options)
    return found.survey(str(local_path(source_dir)), on_problem=on_problem, **options)


def _find_opener(name: str) -> Callable[..., Dataset]:
    prefix, _, rest = name.partition(":")
    if prefix == "tfds" and rest:
        return LazySet("tfds", "PreparedSet", (rest,))
    if name not in DATASETS:
        raise UserError(f"unknown data set {name!r}; known: {[*sorted(DATASETS), 'tfds:NAME']}")
    return DATASETS[name]


def _check_options(name: str, options: dict[str, Any]) -> None:
    *_, taker = find_takers(name)
    parameters = inspect.signature(taker).parameters.values()
    taken = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.name != "on_problem"]
    if unknown := [option for option in options if option not in taken]:
        has = f"it takes {', '.join(taken)}" if taken else "it has no options of its own"
        raise UserError(f"data set {name!r} takes no {' and no '.join(unknown)}; {has}")
