"""The architecture as tests: who may import whom, what stays out, what every experiment says."""

import ast
import importlib
import itertools
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted((ROOT / "fcn_jax").rglob("*.py"))
EXPERIMENTS = sorted(
    path for path in (ROOT / "experiments").glob("*.py") if not path.name.startswith("_")
)

# Rooms on one floor are strangers; imports go down.
FLOORS = [
    {"ops"},
    {"models", "data", "weights"},
    {"train"},
    {"inference", "export"},
    {"reports"},
    {"commands"},
]
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}


def _name(path):
    return str(path.relative_to(ROOT))


@cache
def _tree(path):
    return ast.parse(path.read_text())


@cache
def _imports(path):
    """Lists the full name of everything that a file imports, wherever in the file."""
    found = []
    for node in ast.walk(_tree(path)):
        match node:
            case ast.Import(names=names):
                found += [alias.name for alias in names]
            case ast.ImportFrom(module=module, names=names, level=level):
                assert level == 0, f"{_name(path)}: relative import"
                found += [f"{module}.{alias.name}" for alias in names]
    return found


def law(look):
    """Makes a test that looks at each file of the package, and names those that break the law."""

    def test():
        broken = {_name(path): told for path in SOURCES if (told := look(path))}
        assert not broken

    test.__doc__ = look.__doc__
    return test


def _room(module):
    """Returns the room of fcn_jax that a module is in; None if in none."""
    package, _, rest = module.partition(".")
    return rest.split(".")[0] if package == "fcn_jax" and rest else None


def _room_of(path):
    """Returns the room of fcn_jax that a file is in; None for those that are in none."""
    return path.relative_to(ROOT).parts[1] if path.parent.name != "fcn_jax" else None


def test_every_room_has_a_floor():
    rooms = {_room_of(path) for path in SOURCES} - {None}
    assert rooms <= set(FLOOR)


@law
def test_imports_go_down_and_neighbours_are_strangers(path):
    here = _room_of(path)
    for module in _imports(path):
        there = _room(module)
        if module.split(".")[0] in ("experiments", "launch", "tests"):
            return module
        if there in (None, "__version__", "atomic_file", "errors") or here == there:
            continue
        if not here or FLOOR[there] >= FLOOR[here]:
            return module


FOREIGN = {
    "ops": {"flax", "optax", "orbax", "grain", "tensorflow_datasets", "ml_collections"},
    "models": {"optax", "orbax", "grain", "tensorflow_datasets", "ml_collections", "PIL"},
    "data": {"jax", "flax", "optax", "orbax", "ml_collections"},
    "weights": {"jax", "flax", "optax", "orbax", "grain", "tensorflow_datasets"},
    "train": {"ml_collections", "matplotlib"},
}


@law
def test_no_room_imports_what_belongs_elsewhere(path):
    room = _room_of(path)
    foreign = FOREIGN.get(room, set()) | {"tensorflow"}
    if room not in ("commands", "reports"):
        foreign |= {"matplotlib"}
    return foreign & {module.split(".")[0] for module in _imports(path)}


@law
def test_only_parallel_says_pmap(path):
    words = {
        node.attr if isinstance(node, ast.Attribute) else node.id
        for node in ast.walk(_tree(path))
        if isinstance(node, (ast.Attribute, ast.Name))
    }
    if _name(path) != "fcn_jax/train/parallel.py":
        return words & {"pmap", "psum", "pmean", "axis_index"}


def test_a_model_and_its_train_step_import_no_data_library():
    code = (
        "import sys, fcn_jax.models.zoo, fcn_jax.train.steps, fcn_jax.train.optimizer\n"
        "print(*sorted({name.split('.')[0] for name in sys.modules}))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    heavy = {"tensorflow_datasets", "tensorflow", "grain", "ml_collections", "matplotlib"}
    assert not heavy & set(run.stdout.split())


@law
def test_everything_public_has_a_docstring(path):
    if not ast.get_docstring(_tree(path)):
        return "the module"
    # Every command has these two, and its module says what they do.
    known = ("add_arguments", "run") if path.parent.name == "commands" else ()
    return [
        node.name
        for node in _tree(path).body
        if isinstance(node, (ast.FunctionDef, ast.ClassDef))
        and not node.name.startswith("_")
        and node.name not in known
        and not ast.get_docstring(node)
    ]


# --- style ------------------------------------------------------------------------------------


def _public_functions(path):
    """Yields the functions and methods of a file that others may call."""
    for node in _tree(path).body:
        members = node.body if isinstance(node, ast.ClassDef) else [node]
        for member in members:
            if isinstance(member, ast.FunctionDef) and not member.name.startswith("_"):
                yield member


@law
def test_defaults_are_keyword_only(path):
    return [function.name for function in _public_functions(path) if function.args.defaults]


@law
def test_randomness_is_the_first_argument(path):
    for function in _public_functions(path):
        names = [arg.arg for arg in function.args.args if arg.arg not in ("self", "cls")]
        if {"key", "rng"} & {*names[1:]}:
            return f"{function.name}({', '.join(names)})"


@law
def test_docstrings_have_one_layout(path):
    """Sections begin at the docstring's margin, their entries four spaces further in."""
    for node in ast.walk(_tree(path)):
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            continue
        lines = (ast.get_docstring(node) or "").splitlines()
        for heading, entry in itertools.pairwise(lines):
            begins = heading.strip() in ("Args:", "Attributes:", "Returns:", "Raises:", "Yields:")
            indent = len(entry) - len(entry.lstrip())
            if begins and (heading.startswith(" ") or indent != 4):
                return f"{getattr(node, 'name', path.name)}: {entry!r}"


# --- documents --------------------------------------------------------------------------------

DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def _command_lines(text):
    """Yields the words after `python launch.py` of every line that a document shows."""
    for line in text.replace("\\\n", " ").splitlines():
        line = line.strip().removeprefix("$ ")
        if line.startswith("python launch.py "):
            yield shlex.split(line, comments=True)[2:]


@pytest.mark.parametrize("path", DOCUMENTS, ids=_name)
def test_commands_in_documents_exist(path):
    from fcn_jax.commands import door, experiments

    names = {file.stem for file in EXPERIMENTS}
    for name, *words in _command_lines(path.read_text()):
        if name.isupper():
            continue
        assert name in door.COMMANDS, name
        parser = door._make_parser(name, importlib.import_module(f"fcn_jax.commands.{name}"))
        words, overrides = experiments.split_overrides(words)
        args, unknown = parser.parse_known_intermixed_args([w for w in words if w != "..."])
        assert not unknown, f"{name} {' '.join(words)}: {unknown}"
        assert not overrides or parser.get_default("takes_config"), f"{name}: {overrides}"
        if getattr(args, "config", None) and args.config.isidentifier():
            assert args.config in names, args.config


# --- experiments ------------------------------------------------------------------------------


def test_there_are_experiments():
    assert EXPERIMENTS


@pytest.mark.parametrize("path", EXPERIMENTS, ids=_name)
def test_every_experiment_says_source_run_expects_differs(path):
    text = ast.get_docstring(ast.parse(path.read_text()))
    title, blank, *rest = text.splitlines()
    assert title.endswith(".") and not blank
    labels = [line.split(":")[0] for line in rest if not line.startswith(" ")]
    assert labels == ["Source", "Run", "Expects", "Differs"]
    assert f"--config={path.stem} " in text and f"--workdir=runs/{path.stem}" in text


def test_the_benchmark_against_torch_needs_no_data_and_no_files():
    words = (
        "import sys, benchmarks.fcn_jax_networks; "
        "print(*{name.split('.')[0] for name in sys.modules})"
    )
    line = [sys.executable, "-c", words]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=True)
    stacks = {"grain", "array_record", "tensorflow_datasets", "PIL", "matplotlib", "safetensors"}
    assert not stacks & set(done.stdout.split())
