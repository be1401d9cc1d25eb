"""Experiment files: finding them, running their get_config(), and overriding its values.

An experiment is a Python file with a docstring, whose first line is the title, and a
`get_config()` that returns an ml_collections.ConfigDict. Files whose names start with an
underscore are shared building blocks, not experiments.

An override is a pair (dotted key, text). The text is read as a Python literal if it is one, and
must fit the type of the value that it replaces.
"""

import argparse
import ast
import difflib
import importlib.util
import sys
import traceback
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from fcn_jax.errors import UserError

_PREFIX = "--config."


class Recipe(NamedTuple):
    """What an experiment file says: the first line of its docstring, and its config."""

    title: str
    config: ConfigDict


def add_config_argument(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    """Gives a command `--config=EXPERIMENT` and `--config.SECTION.KEY=VALUE`.

    The door then hands `run` the resolved ConfigDict as `args.config`, the name of the experiment
    as `args.experiment`.
    """
    parser.add_argument(
        "--config",
        required=required,
        metavar="EXPERIMENT",
        help="name of an experiment (python launch.py list) or path of a .py file; "
        "--config.SECTION.KEY=VALUE, anywhere on the line, overrides one of its values",
    )
    parser.set_defaults(takes_config=True)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Returns '; did you mean X?' for the known word nearest to `word`, '' if none is near."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"; did you mean {near[0]}?" if near else ""


def experiment_names(experiments_dir: Path) -> list[str]:
    """Returns the names of the experiments in a folder, sorted."""
    return sorted(p.stem for p in experiments_dir.glob("*.py") if not p.name.startswith("_"))


def find_experiment(chosen: str, experiments_dir: Path) -> Path:
    """Returns the file of an experiment.

    Args:
        chosen: a name in `experiments_dir`, or the path of a file (absolute, or from the
            current folder).
    Raises:
        ValueError: if there is no such experiment.
    """
    names = experiment_names(experiments_dir)
    if chosen in names:
        return experiments_dir / f"{chosen}.py"
    path = Path(chosen)
    if path.suffix == ".py" and path.is_file():
        return path.resolve()
    stem = path.name.removesuffix(".py")
    if path.parent.name in ("", experiments_dir.name) and stem in names:
        return experiments_dir / f"{stem}.py"  # experiments/NAME.py, typed in another folder
    near = difflib.get_close_matches(stem, names, n=3, cutoff=0.5)
    hint = f"; nearest: {', '.join(near)}" if near else ""
    raise UserError(f"unknown experiment {chosen!r}{hint}\nAll names: python launch.py list")


def load_recipe(path: Path, experiments_dir: Path) -> Recipe:
    """Runs an experiment file.

    Raises:
        ValueError: if the file fails (with file, line and message) or gives no ConfigDict.
    """
    root = str(experiments_dir.resolve().parent)
    if root not in sys.path:
        sys.path.insert(0, root)  # so that experiments can say `from experiments import _family`
    spec = importlib.util.spec_from_file_location(f"experiment_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        if not hasattr(module, "get_config"):
            raise UserError(f"{path} is no experiment: it has no get_config()")
        config = module.get_config()
    except Exception as error:
        if _innermost_file(error) == __file__:
            raise
        raise UserError(f"experiment {path.stem} fails: {_where(error, path)}") from error
    if isinstance(config, ConfigDict):
        title = (module.__doc__ or "").strip().split("\n")[0].rstrip(".")
        return Recipe(title, config)
    kind = type(config).__name__
    raise UserError(f"get_config() of {path} gave {kind}; wanted ml_collections.ConfigDict")


def _innermost_file(error: Exception) -> str:
    return traceback.extract_tb(error.__traceback__)[-1].filename


def _where(error: Exception, path: Path) -> str:
    """Says file, line and message of an error in an experiment file or what it imports beside."""
    message = f"{type(error).__name__}: {' '.join(str(error).split())}"
    if isinstance(error, SyntaxError):
        return f"{error.filename}, line {error.lineno}: {type(error).__name__}: {error.msg}"
    frames = traceback.extract_tb(error.__traceback__)
    near = [f for f in frames if path.parent in Path(f.filename).parents]
    return f"{near[-1].filename}, line {near[-1].lineno}: {message}" if near else message


def split_overrides(words: Sequence[str]) -> tuple[list[str], list[tuple[str, str]]]:
    """Takes `--config.KEY=TEXT` and `--config.KEY TEXT` out of a command line.

    Returns:
        The other words, and the overrides as (key, text) in the order of the line.
    """
    rest, overrides = [], []
    waiting = iter(words)
    for word in waiting:
        if not word.startswith(_PREFIX):
            rest.append(word)
            continue
        key, equals, text = word.removeprefix(_PREFIX).partition("=")
        if not equals:
            text = next(waiting, "--")
            if text.startswith("--"):
                raise UserError(f"{_PREFIX}{key} needs a value: {_PREFIX}{key}=VALUE")
        overrides.append((key, text))
    return rest, overrides


def apply_overrides(
    config: ConfigDict, overrides: Iterable[tuple[str, str]], *, experiment: str
) -> None:
    """Replaces values of a config in place; of two overrides of a key the later one stands.

    Raises:
        ValueError: for a key that the config lacks, a section, or a value of another type.
    """
    for key, text in overrides:
        *sections, leaf = key.split(".")
        section = config
        for depth, name in enumerate(sections):
            if not isinstance(section.get(name), ConfigDict):
                raise _unknown_key(config, section, key, sections[:depth], experiment)
            section = section[name]
        if leaf not in section:
            raise _unknown_key(config, section, key, sections, experiment)
        current = section[leaf]
        if isinstance(current, ConfigDict):
            keys = ", ".join(f"{key}.{name}" for name in current)
            message = f"{key} is a section of experiment {experiment}; override one of its keys"
            raise UserError(f"{message}: {keys}")
        try:
            section[leaf] = read_value(text, default=current, kind=section.get_type(leaf))
        except _Misfit as misfit:
            raise UserError(
                f"{key}={text} does not fit: wanted {misfit}; "
                f"experiment {experiment} has {current!r}"
            ) from None


def _unknown_key(
    config: ConfigDict, section: ConfigDict, key: str, sections: list[str], experiment: str
) -> ValueError:
    hint = did_you_mean(key, _dotted_keys(config))
    where = f"known in {'.'.join(sections)}" if sections else "known"
    known = f"{where}: {', '.join(section)}"
    return ValueError(f"unknown key {key} in experiment {experiment}{hint} ({known})")


def _dotted_keys(config: ConfigDict) -> list[str]:
    keys = []
    for name, value in config.items():
        if isinstance(value, ConfigDict):
            keys += [f"{name}.{key}" for key in _dotted_keys(value)]
        else:
            keys.append(name)
    return keys


class _Misfit(Exception):
    """The message is what was wanted."""


def read_value(text: str, *, default: Any, kind: type) -> Any:
    """Reads an override.

    Args:
        text: as typed.
        default: the value that is replaced; the elements of a sequence take the type of its own.
        kind: type that is wanted; NoneType accepts anything.
    """
    if kind is type(None):
        return _literal(text)
    if issubclass(kind, (tuple, list)):
        return kind(_read_sequence(text, default or ()))
    return _fit(_literal(text), text, kind)


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return {"true": True, "false": False, "none": None}.get(text.lower(), text)


def _read_sequence(text: str, default: Sequence) -> list:
    kinds = {type(element) for element in default}
    kind = kinds.pop() if len(kinds) == 1 else None
    values = _literal(text)
    if isinstance(values, str) and kind in (None, str):
        values = [word.strip() for word in text.split(",")]  # pool4,pool3 needs no shell quotes
    if not isinstance(values, (tuple, list)):
        raise _Misfit("a sequence")
    if kind in (bool, int, float, str):
        try:
            return [_fit(value, str(value), kind) for value in values]
        except _Misfit as misfit:
            raise _Misfit(f"a sequence, of {misfit} each") from None
    return list(values)


def _fit(value: Any, text: str, kind: type) -> Any:
    """Returns a value as `kind`, without losing anything of it."""
    if kind is bool:
        if not isinstance(value, bool):
            raise _Misfit("true or false")
        return value
    if kind is int:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or value % 1:
            raise _Misfit("a whole number")
        return int(value)
    if kind is float:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise _Misfit("a number")
        return float(value)
    if kind is str:
        return value if isinstance(value, str) else text
    if not isinstance(value, kind):
        raise _Misfit(f"a value of type {kind.__name__}")
    return value
