"""What messages advise exists: commands, flags and keys, wherever they stand in a text."""

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import fcn_jax
from fcn_jax.commands import door
from fcn_jax.data.datasets import DATASETS
from fcn_jax.models.zoo import MODELS
from fcn_jax.train.sections import RENAMED, SECTIONS, find_keys

ROOT = Path(fcn_jax.__file__).parent
SOURCES = sorted(ROOT.rglob("*.py"))

# Their texts are HTML and CSS, where two dashes begin the name of a colour.
PAGES = {"page.py", "elements.py", "page_style.py", "svg.py", "pictures.py", "bands.py", "cost.py"}
# Flags of other programs: Python, TFDS, git and pip.
FOREIGN = {
    "--check-hash-based-pycs", "--file_format", "--force-reinstall", "--porcelain",
    "--untracked-files",
}  # fmt: skip


def list_texts(path: Path) -> Iterator[str]:
    """Yields the texts of a file that are no docstrings; `{}` stands for what is put in."""
    tree = ast.parse(path.read_text())
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef))
        and isinstance(node.body[0], ast.Expr)
    }
    inside = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            inside |= {id(value) for value in node.values}
            values = (getattr(value, "value", None) for value in node.values)
            yield "".join(value if isinstance(value, str) else "{}" for value in values)
        elif isinstance(node, ast.Constant) and id(node) not in docstrings | inside:
            yield str(node.value)


def list_keys() -> set[str]:
    """Lists the keys that a network, a data set or all of them take."""
    names = {"model": MODELS, "data": [*DATASETS, "tfds:NAME"]}
    keys = {"seed"}
    for section in SECTIONS:
        for name in names.get(section, [None]):
            found = find_keys(section, name=name) if name else find_keys(section)
            keys |= {f"{section}.{key}" for key in found}
    return keys


def list_flags() -> set[str]:
    """Lists the flags of all commands."""
    flags = set()
    for name in door.COMMANDS:
        parser = door._make_parser(name, importlib.import_module(f"fcn_jax.commands.{name}"))
        flags |= {flag for action in parser._actions for flag in action.option_strings}
    return flags


@pytest.fixture(scope="module")
def texts() -> list[str]:
    return [text for path in SOURCES if path.name not in PAGES for text in list_texts(path)]


def test_keys_of_messages_exist(texts):
    keys = list_keys()
    pattern = rf"(?<![\w./-])(?:--config\.)?((?:{'|'.join(SECTIONS)})\.\w+)(?=[\s=;:,)'\"]|$)"
    named = {key for text in texts for key in re.findall(pattern, text)}
    named = {key for key in named - {*RENAMED} if not key.endswith((".pkl", ".txt", ".yaml"))}
    assert len(named) > 60
    assert named - keys == set()


def test_flags_of_messages_exist(texts):
    named = {flag for text in texts for flag in re.findall(r"(?<![\w-])--[a-z][\w-]*", text)}
    assert len(named) > 15
    assert named - list_flags() - FOREIGN - {"--config"} == set()


def test_commands_of_messages_exist(texts):
    named = {name for text in texts for name in re.findall(r"python launch\.py ([a-z_]+)", text)}
    assert len(named) > 10
    assert named - {*door.COMMANDS} == set()
