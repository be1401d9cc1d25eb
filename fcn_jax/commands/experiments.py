"""Experiment files: finding them, running their get_config(), and overriding its values.

An experiment is a Python file with a docstring, whose first line is the title, and a
`get_config()` that returns an ml_collections.ConfigDict: what differs from the defaults of
`train.sections`. Files whose names start with an underscore are shared building blocks, which
experiments import `from experiments import _family`.

An override is a pair (dotted key, text) and reaches every key of every section. The text is read as
the type of the parameter that takes it.
"""

import argparse
import contextlib
import difflib
import importlib.util
import sys
import traceback
import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from fcn_jax.errors import UserError

_PREFIX = "--config."
_PACKAGE = "experiments"


class Experiment(NamedTuple):
    """What an experiment file says: the first line of its docstring, and its config."""

    name: str
    title: str
    config: dict[str, Any]


class Resolved(NamedTuple):
    """An experiment with all its keys.

    Attributes:
        config: every section, as `sections.resolve` gives it.
        sources: where values come from: `experiment` or `command line` for the keys that are said,
            as {"section.key": source}. All others are defaults.
    """

    config: dict[str, Any]
    sources: dict[str, str]


def add_config_argument(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    """Gives a command `--config=EXPERIMENT` and `--config.SECTION.KEY=VALUE`.

    The door then hands `run` the resolved ConfigDict as `args.config`, the name of the experiment
    as `args.experiment`, and where values come from as `args.sources`.
    """
    parser.add_argument(
        "--config",
        required=required,
        metavar="EXPERIMENT",
        help="name of an experiment (python launch.py list) or path of a .py file; "
        "--config.SECTION.KEY=VALUE, anywhere on the line, overrides one of its values "
        "(python launch.py config --config=EXPERIMENT shows all)",
    )
    parser.set_defaults(takes_config=True)


def experiment_names(experiments_dir: Path) -> list[str]:
    """Returns the names of the experiments in a folder, sorted."""
    return sorted(p.stem for p in experiments_dir.glob("*.py") if not p.name.startswith("_"))


def find_experiment(chosen: str, experiments_dir: Path) -> Path:
    """Returns the file of an experiment.

    Args:
        chosen: a name in `experiments_dir`, or the path of a file (absolute, or from the
            current folder).
    Raises:
        UserError: if there is no such experiment.
    """
    names = experiment_names(experiments_dir)
    if chosen in names:
        return experiments_dir / f"{chosen}.py"
    path = Path(chosen)
    stem = path.name.removesuffix(".py")
    near = difflib.get_close_matches(stem.lstrip("_"), names, n=3, cutoff=0.5)
    hint = f"; nearest: {', '.join(near)}" if near else ""
    if stem.startswith("_") and (path.is_file() or (experiments_dir / f"{stem}.py").is_file()):
        raise UserError(
            f"{chosen} is no experiment but what some share: its name begins with _{hint}\n"
            "All names: python launch.py list"
        )
    if path.suffix == ".py" and path.is_file():
        return path.resolve()
    if path.parent.name in ("", experiments_dir.name) and stem in names:
        return experiments_dir / f"{stem}.py"  # experiments/NAME.py, typed in another folder
    raise UserError(f"unknown experiment {chosen!r}{hint}\nAll names: python launch.py list")


def load_experiment(path: Path, experiments_dir: Path) -> Experiment:
    """Runs an experiment file.

    Raises:
        UserError: if the file fails (with file, line and message) or gives no ConfigDict.
    """
    spec = importlib.util.spec_from_file_location(f"experiment_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    returned, config = None, {}
    with _building_blocks(experiments_dir, path.parent):
        try:
            spec.loader.exec_module(module)
            if hasattr(module, "get_config"):
                returned = module.get_config()
                if isinstance(returned, ConfigDict):
                    config = returned.to_dict()  # which fails where a key is no text
        except (Exception, SystemExit) as error:
            raise UserError(f"experiment {path.stem} fails: {_where(error, path)}") from error
    if not hasattr(module, "get_config"):
        raise UserError(
            f"{path} is no experiment: it has no get_config(); docs/extending.md shows one"
        )
    if isinstance(returned, ConfigDict):
        title = (module.__doc__ or "").strip().split("\n")[0].rstrip(".")
        return Experiment(path.stem, title, config)
    kind = type(returned).__name__
    raise UserError(
        f"get_config() of {path} gave {kind}; it has to return an ml_collections.ConfigDict"
    )


@contextlib.contextmanager
def _building_blocks(*folders: Path) -> Iterator[None]:
    """Makes `from experiments import _family` find files of these folders, and of no others.

    In a checkout the folder has the name `experiments`; installed it is a part of the package. So
    the name is lent to it, and what else has this name in this process gets it back.
    """
    kept = {name: sys.modules.pop(name) for name in list(sys.modules) if _is_ours(name)}
    package = types.ModuleType(_PACKAGE)
    package.__path__ = [str(folder) for folder in dict.fromkeys(folders)]
    sys.modules[_PACKAGE] = package
    try:
        yield
    finally:
        for name in [name for name in sys.modules if _is_ours(name)]:
            del sys.modules[name]
        sys.modules.update(kept)


def _is_ours(name: str) -> bool:
    return name.split(".")[0] == _PACKAGE


def _where(error: BaseException, path: Path) -> str:
    """Says file, line and message of an error in an experiment file or what it imports beside."""
    message = f"{type(error).__name__}: {' '.join(str(error).split())}"
    if isinstance(error, SyntaxError):
        line = f", line {error.lineno}" if error.lineno else ""
        return f"{error.filename or path}{line}: {type(error).__name__}: {error.msg}"
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


def resolve(experiment: Experiment, *, overrides: Iterable[tuple[str, str]] = ()) -> Resolved:
    """Fills in the defaults of an experiment and overrides its values.

    Of two overrides of a key the later one stands. What an experiment says to a network or a data
    set that another one takes the place of is left out where the other does not take it.

    Raises:
        UserError: for a key that nobody takes, a section, or a value of another type.
    """
    from fcn_jax.train import sections  # which imports jax when it is asked for keys

    where = f"experiment {experiment.name}"
    said = sections.translate(experiment.config, where=where)
    sources = dict.fromkeys(sections.flatten(said), "experiment")
    overrides = [_translate(key, text) for key, text in overrides]
    # A name first: it decides which other keys there are.
    for key, text in sorted(overrides, key=lambda item: not item[0].endswith(".name")):
        section, _, name = key.rpartition(".")
        _check_section(key, said, where)
        if key in ("model.name", "data.name"):
            keys = {"name": sections.Key(sections.REQUIRED, str, "")}
        elif section:
            keys = sections.keys_of_section(section, said, where=where)
        else:
            keys = {"seed": sections.SEED}
        if name not in keys:
            raise sections.unknown_key(key, said, where=where)
        values = said.setdefault(section, {}) if section else said
        values[name] = _read(key, text, keys[name], values, where)
        sources[key] = "command line"
        if key in ("model.name", "data.name"):
            _leave_out(section, said, where)
    resolved = sections.resolve(said, where=where)
    keys = sections.flatten(resolved)
    return Resolved(resolved, {key: source for key, source in sources.items() if key in keys})


def _translate(key: str, text: str) -> tuple[str, str]:
    """Gives a key that was renamed its name of today, and says so."""
    from fcn_jax.train import annotations, sections

    if key not in sections.RENAMED:
        return key, text
    new, values = sections.RENAMED[key]
    if values:
        try:
            text = values[annotations.read(text, bool)]
        except annotations.Misfit as misfit:
            raise UserError(f"{key}={text} does not fit: wanted {misfit}") from None
    print(f"{key} is called {new} now: {_PREFIX}{new}={text}", file=sys.stderr)
    return new, text


def _check_section(key: str, said: Mapping[str, Any], where: str) -> None:
    from fcn_jax.train import sections

    section = key.rpartition(".")[0]
    if key in sections.SECTIONS:
        keys = ", ".join(f"{key}.{name}" for name in sections.keys_of_section(key, said))
        raise UserError(f"{key} is a section of {where}; override one of its keys: {keys}")
    if section and section not in sections.SECTIONS:
        raise sections.unknown_key(key, said, where=where)


def _read(key: str, text: str, wanted: Any, values: Mapping[str, Any], where: str) -> Any:
    from fcn_jax.train import annotations, sections

    try:
        return annotations.read(text, wanted.annotation)
    except annotations.Misfit as misfit:
        name = key.rpartition(".")[2]
        if name in values:
            now = f"; {where} has {values[name]!r}"
        else:
            now = f"; the default is {wanted.default!r}" * (wanted.default is not sections.REQUIRED)
        raise UserError(f"{key}={text} does not fit: wanted {misfit}{now}") from None


def _leave_out(section: str, said: dict[str, Any], where: str) -> None:
    """Leaves out what the network or data set that was chosen instead does not take."""
    from fcn_jax.train import sections

    keys = sections.keys_of_section(section, said, where=where)
    if dropped := [name for name in said[section] if name not in keys]:
        print(
            f"{section}.name={said[section]['name']} does not take {', '.join(dropped)} "
            f"of {where}: left out",
            file=sys.stderr,
        )
    said[section] = {name: value for name, value in said[section].items() if name in keys}
