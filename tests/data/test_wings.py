"""The wings of the room: files < sets < datasets; batches are strangers to files and sets."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import fcn_jax.data

ROOT = Path(fcn_jax.data.__file__).parent
MODULES = {
    ".".join(("fcn_jax.data", *path.relative_to(ROOT).with_suffix("").parts)): path
    for path in sorted(ROOT.rglob("*.py"))
    if path.name != "__init__.py"
}
# What every wing speaks of.
COMMON = {"fcn_jax.data.labels", "fcn_jax.data.source"}
MAY_IMPORT = {"files": {"files"}, "sets": {"files", "sets"}, "batches": {"batches"}}


def imports(name: str) -> set[str]:
    """The modules of the room that a module imports, wherever in its text."""
    found = set()
    for node in ast.walk(ast.parse(MODULES[name].read_text())):
        if isinstance(node, ast.ImportFrom):
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found & MODULES.keys()


@pytest.mark.parametrize("name", [name for name in MODULES if name.count(".") == 3])
def test_wing_imports_what_is_below_it_alone(name):
    wings = MAY_IMPORT[name.split(".")[2]]
    strangers = {other for other in imports(name) - COMMON if other.split(".")[2] not in wings}
    assert strangers == set()


@pytest.mark.parametrize("name", sorted(COMMON))
def test_what_all_wings_speak_of_knows_none_of_them(name):
    assert imports(name) <= COMMON


def test_nothing_imports_in_circles():
    TopologicalSorter({name: imports(name) for name in MODULES}).prepare()
