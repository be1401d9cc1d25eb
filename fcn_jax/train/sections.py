"""The sections of an experiment, and the functions that take them.

A section is the keyword arguments of its takers. Which keys it has, their types, their defaults and
what they mean stand there, in signature and docstring, and nowhere else: an experiment says what
differs. Takers are imported when they are asked, so that everything in this room may import this
file.
"""

import difflib
import importlib
import inspect
import re
import shlex
from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Any, NamedTuple

from fcn_jax.atomic_file import local_path
from fcn_jax.errors import ABBREVIATIONS, UserError, did_you_mean
from fcn_jax.train import annotations
from fcn_jax.train.annotations import Misfit
from fcn_jax.weights.sources import PACKAGES

REQUIRED = inspect.Parameter.empty


# Who takes each section. `model` and `data` have takers of their own for every name.
SECTIONS: Mapping[str, str] = {
    "data": "fcn_jax.data.datasets:find_takers",
    "augment": "fcn_jax.data.batches.loader:train_batches",
    "model": "fcn_jax.models.zoo:find_takers",
    "init": "fcn_jax.train.warm_start:init_from",
    "loss": "fcn_jax.ops.losses:make_loss",
    "optim": "fcn_jax.train.optimizer:make_optimizer",
    "train": "fcn_jax.train.options:TrainOptions",
    "eval": "fcn_jax.train.evaluation:Evaluator",
}

# The names of which these two have takers.
NAMES: Mapping[str, str] = {
    "data": "fcn_jax.data.datasets:DATASETS",
    "model": "fcn_jax.models.zoo:MODELS",
}

# Keywords that the caller of a taker fills in.
FILLED_IN: Mapping[str, tuple[str, ...]] = {
    "data": ("on_problem", "fingerprint"),
    "augment": (
        "batch_size",
        "seed",
        "start_step",
        "ignore_label",
        "process_index",
        "process_count",
    ),
    "init": ("labels",),
    "model": (
        "num_classes",
        "axis_name",
        "depth",
        "variant",
    ),  # the last two are in the network's name
    "loss": ("num_classes", "ignore_label"),
    "optim": ("num_steps",),
}

# Keys that change no number, and why.
NEUTRAL: Mapping[str, str] = {
    "data.source_dir": "says where the files lie, not what they hold",
    "data.data_dir": "says where the built data set is kept",
    "augment.num_threads": "says who reads, not what is read",
    "augment.num_workers": "says who reads, not what is read",
    "train.log_every": "only looks at the run",
    "train.eval_every": "only looks at the run",
    "train.checkpoint_every": "only keeps the run",
    "eval.device_batch_size": "groups the images; their counts are added",
    "eval.num_samples": "keeps pictures of what is scored anyway",
}

# Keys whose values are paths: in a run they are absolute, and so mean the same in every folder.
# (The name of a package of weights does as it is.)
PATHS = ("data.source_dir", "data.data_dir", "init.workdir", "init.weights")

# Keys that have another name now, and what their values are called.
RENAMED: Mapping[str, tuple[str, Mapping[Any, Any]]] = {
    "train.normalize": ("loss.divide_by", {True: "pixels", False: "images"}),
    "init.leave": ("init.skip", {}),
}

# Runs of before say these of every data set; they count only where the set takes them.
ONCE_EVERYWHERE = ("data.val_frac", "data.split_seed", "data.mask_key", "data.mask_classes")


class Key(NamedTuple):
    """A key of a section.

    Attributes:
        default: `REQUIRED` where every experiment has to say a value.
        annotation: The type of its values.
        meaning: What the docstring of the taker says.
    """

    default: Any
    annotation: Any
    meaning: str


SEED = Key(0, int, "Seed of everything that is drawn: parameters, batches, augmentation, dropout.")


def find_keys(section: str, *, name: str = "") -> dict[str, Key]:
    """Lists the keys of a section.

    Args:
        name: Network or data set, for the sections `model` and `data`.
    """
    module, _, attribute = SECTIONS[section].partition(":")
    if section not in ("model", "data"):
        takers, keys = (getattr(importlib.import_module(module), attribute),), {}
    else:
        takers = getattr(importlib.import_module(module), attribute)(name)
        what = "Network" if section == "model" else "Data set"
        keys = {"name": Key(REQUIRED, str, f"{what} by name; one that is unknown lists them all.")}
    for taker in takers:
        keys |= _keys_of(taker, but=FILLED_IN.get(section, ()))
    return keys


@cache
def _keys_of(taker: Callable, *, but: tuple[str, ...]) -> dict[str, Key]:
    function = taker
    while isinstance(function, partial):
        function = function.func
    if isinstance(function, type):
        # A class explains its own attributes, and those that it inherits are explained above it.
        documented = [*reversed(function.__mro__), function.__init__]
    else:
        documented = [function]
    meanings = {}
    for each in documented:
        meanings |= read_entries(inspect.cleandoc(each.__doc__ or ""))
    keys = {}
    for parameter in inspect.signature(taker).parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and parameter.name not in but:
            annotation = parameter.annotation
            if annotation is REQUIRED or isinstance(annotation, str):
                annotation = annotations.annotation_of(
                    None if parameter.default is REQUIRED else parameter.default
                )
            meaning = meanings.get(parameter.name, "")
            keys[parameter.name] = Key(parameter.default, annotation, meaning)
    return keys


def read_entries(docstring: str) -> dict[str, str]:
    """Reads the entries of `Args:` and `Attributes:` out of a docstring, each as one line.

    `low, high: Text.` is an entry of both.
    """
    entries: dict[str, str] = {}
    names, indent = [], None  # None outside of the two lists, 0 before the first entry of one
    for line in docstring.splitlines():
        text, depth = line.strip(), len(line) - len(line.lstrip())
        if not text or depth == 0:
            names = []
            if text:
                indent = 0 if text in ("Args:", "Attributes:") else None
            continue
        if indent is None:
            continue
        indent = indent or depth
        if depth == indent and (entry := re.match(r"\*{0,2}(\w+(?:, \w+)*):\s+(.*)", text)):
            names = entry[1].split(", ")
            entries |= dict.fromkeys(names, entry[2])
        else:
            entries |= {name: f"{entries[name]} {text}" for name in names}
    return entries


def resolve(config: Mapping[str, Any], *, where: str = "the experiment") -> dict[str, Any]:
    """Returns every section with all its keys: those that are said, and the defaults of the others.

    Args:
        config: What an experiment says, or config.json of a run, of whatever age.
        where: Whom to name in an answer to the user.

    Raises:
        UserError: For a key that nobody takes, one that has to be said and is not, or a value of
            another type.
    """
    said = translate(config, where=where)
    if unknown := [name for name in said if name not in (*SECTIONS, "seed")]:
        raise unknown_key(unknown[0], said, where=where)
    resolved = {name: resolve_section(name, said.get(name, {}), where=where) for name in SECTIONS}
    return {**resolved, "seed": fit(said.get("seed", SEED.default), SEED, key="seed", where=where)}


def resolve_section(
    section: str, values: Mapping[str, Any], *, where: str = "the experiment"
) -> dict[str, Any]:
    """Returns one section with all its keys, as `resolve` does."""
    said = {section: values}
    keys = keys_of_section(section, said, where=where)
    values = {
        name: value
        for name, value in values.items()
        if name in keys or f"{section}.{name}" not in ONCE_EVERYWHERE
    }
    if unknown := [name for name in values if name not in keys]:
        raise unknown_key(f"{section}.{unknown[0]}", said, where=where)
    for name, key in keys.items():
        if name not in values and key.default is REQUIRED:
            raise _missing(section, name, key, where)
    return {
        name: fit(values[name], key, key=f"{section}.{name}", where=where)
        if name in values
        else key.default
        for name, key in keys.items()
    }


def keys_of_section(
    section: str, said: Mapping[str, Any], *, where: str = "the experiment"
) -> dict[str, Key]:
    """Lists the keys of a section, given what is said: its network or data set decides."""
    if section not in ("model", "data"):
        return find_keys(section)
    name, key = said.get(section, {}).get("name"), Key(REQUIRED, str, "")
    if name is None:
        raise _missing(section, "name", key, where)
    return find_keys(section, name=fit(name, key, key=f"{section}.name", where=where))


def _missing(section: str, name: str, key: Key, where: str) -> UserError:
    meaning = f" ({key.meaning.rstrip('.')})" if key.meaning else ""
    wanted = annotations.describe(key.annotation)
    # The config of a run takes no flags.
    flag = f", or with --config.{section}.{name}=VALUE" if not where.endswith(".json") else ""
    return UserError(
        f"{where} lacks {section}.{name}{meaning}; wanted {wanted}\n"
        f"say it in section {section!r}{flag}"
    )


def fit(value: Any, key_of: Key, *, key: str, where: str) -> Any:
    """Returns a value of a key as its taker wants it."""
    try:
        return annotations.fit(value, key_of.annotation)
    except Misfit as misfit:
        raise UserError(f"{key}={value!r} of {where} does not fit: wanted {misfit}") from None


def unknown_key(key: str, said: Mapping[str, Any], *, where: str) -> UserError:
    """Makes the answer to a key that nobody takes."""
    section, _, name_of_key = key.rpartition(".")
    known: dict[str, list[str]] = {}
    for name in SECTIONS:
        try:
            known[name] = list(keys_of_section(name, said, where=where))
        except UserError:  # no network, or none that is known: that is said where it is needed
            known[name] = []
    known["seed"] = []
    hint = ""
    if known.get(section):
        named = said.get(section, {}).get("name", "") if section in NAMES else ""
        hint = _find_others(section, name_of_key, than=named) if named else ""
        listing = f"known in {section}{f' of {named}' * bool(named)}: {', '.join(known[section])}"
    else:
        listing = f"known: {', '.join(known)}"
    dotted = [f"{name}.{leaf}" if leaf else name for name in known for leaf in known[name] or [""]]
    hint = hint or did_you_mean(key, [*dotted, *known] if "." not in key else dotted)
    return UserError(f"unknown key {key} in {where}{hint} ({listing})")


def _find_others(section: str, key: str, *, than: str) -> str:
    """Says which other networks or data sets take a key; '' if none does."""
    module, _, table = NAMES[section].partition(":")
    names = [*getattr(importlib.import_module(module), table)]
    names += ["tfds:NAME"] * (section == "data")
    key = ABBREVIATIONS.get(key, key)
    takers = [name for name in names if key in find_keys(section, name=name)]
    if not takers:
        return ""
    nearest = difflib.get_close_matches(than, takers, n=3, cutoff=0.0)
    more = f" and {len(takers) - 3} more" if takers[3:] else ""
    return f": {than} takes no {key}; {', '.join(nearest)}{more} {'do' if takers[1:] else 'does'}"


def translate(config: Mapping[str, Any], *, where: str = "the experiment") -> dict[str, Any]:
    """Copies what is said, with the names that its keys have now."""
    said = {}
    for name, section in config.items():
        if name in SECTIONS and not isinstance(section, Mapping):
            raise UserError(f"section {name} of {where} is {section!r}; wanted keys and values")
        said[name] = dict(section) if isinstance(section, Mapping) else section
    for old, (new, values) in RENAMED.items():
        section, _, name = old.partition(".")
        if name in said.get(section, {}):
            value = said[section].pop(name)
            into, _, name = new.partition(".")
            said.setdefault(into, {}).setdefault(
                name, values[value] if value in [*values] else value
            )
    return said


def as_flag(key: str, value: Any) -> str:
    """Returns the word of a command line that gives a key this value."""
    text = annotations.write(value)
    return f"--config.{key}={text if value == '' else shlex.quote(text)}"


def make_paths_absolute(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a resolved config whose paths do not depend on the working folder."""
    config = {k: dict(v) if isinstance(v, Mapping) else v for k, v in config.items()}
    for key in PATHS:
        section, _, name = key.partition(".")
        path = config[section].get(name)
        if path and path not in PACKAGES:
            config[section][name] = str(local_path(path).absolute())
    return config


def flatten(config: Mapping[str, Any], *, prefix: str = "") -> dict[str, Any]:
    """Lists all values of a config, as {"section.key": value}."""
    flat = {}
    for name, value in config.items():
        nested = isinstance(value, Mapping)
        key = f"{prefix}{name}"
        flat |= flatten(value, prefix=f"{key}.") if nested else {key: value}
    return flat
