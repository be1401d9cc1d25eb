"""The architecture as tests: who may import whom, what stays out, what every experiment says."""

import ast
import importlib
import itertools
import shlex
import subprocess
import sys
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


def _imports(path):
    """Yields the full name of everything that a file imports, wherever in the file."""
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=module, names=names, level=level):
                assert level == 0, f"{_name(path)}: relative import"
                yield from (f"{module}.{alias.name}" for alias in names)


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


@pytest.mark.parametrize("path", SOURCES, ids=_name)
def test_imports_go_down_and_neighbours_are_strangers(path):
    here = _room_of(path)
    for module in _imports(path):
        assert module.split(".")[0] not in ("experiments", "launch", "tests"), module
        there = _room(module)
        if there in (None, "__version__", "atomic_file", "errors") or here == there:
            continue
        assert here, f"{_name(path)} imports {module}"
        assert FLOOR[there] < FLOOR[here], f"{here} imports {module}"


FOREIGN = {
    "ops": {"flax", "optax", "orbax", "grain", "tensorflow_datasets", "ml_collections"},
    "models": {"optax", "orbax", "grain", "tensorflow_datasets", "ml_collections", "PIL"},
    "data": {"jax", "flax", "optax", "orbax", "ml_collections"},
    "weights": {"jax", "flax", "optax", "orbax", "grain", "tensorflow_datasets"},
    "train": {"ml_collections", "matplotlib"},
}


@pytest.mark.parametrize("path", SOURCES, ids=_name)
def test_no_room_imports_what_belongs_elsewhere(path):
    packages = {module.split(".")[0] for module in _imports(path)}
    assert not packages & FOREIGN.get(_room_of(path), set())
    assert "tensorflow" not in packages
    if _room_of(path) not in ("commands", "reports"):
        assert "matplotlib" not in packages


@pytest.mark.parametrize("path", SOURCES, ids=_name)
def test_only_parallel_says_pmap(path):
    words = {
        node.attr if isinstance(node, ast.Attribute) else node.id
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, (ast.Attribute, ast.Name))
    }
    if _name(path) != "fcn_jax/train/parallel.py":
        assert not words & {"pmap", "psum", "pmean", "axis_index"}


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


@pytest.mark.parametrize("path", SOURCES, ids=_name)
def test_everything_public_has_a_docstring(path):
    module = ast.parse(path.read_text())
    assert ast.get_docstring(module), "the module"
    for node in module.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
            if path.parent.name == "commands" and node.name in ("add_arguments", "run"):
                continue  # every command has these two, and its module says what they do
            assert ast.get_docstring(node), node.name


# --- style ------------------------------------------------------------------------------------


def _public_functions(path):
    """Yields the functions and methods of a file that others may call."""
    for node in ast.parse(path.read_text()).body:
        members = node.body if isinstance(node, ast.ClassDef) else [node]
        for member in members:
            if isinstance(member, ast.FunctionDef) and not member.name.startswith("_"):
                yield member


@pytest.mark.parametrize("path", SOURCES, ids=_name)
def test_defaults_are_keyword_only(path):
    found = [function.name for function in _public_functions(path) if function.args.defaults]
    assert not found


@pytest.mark.parametrize("path", SOURCES, ids=_name)
def test_randomness_is_the_first_argument(path):
    for function in _public_functions(path):
        names = [arg.arg for arg in function.args.args if arg.arg not in ("self", "cls")]
        for source in {"key", "rng"} & {*names}:
            assert names[0] == source, f"{function.name}({', '.join(names)})"


@pytest.mark.parametrize("path", SOURCES, ids=_name)
def test_docstrings_have_one_layout(path):
    """Sections begin at the docstring's margin, their entries four spaces further in."""
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            continue
        lines = (ast.get_docstring(node) or "").splitlines()
        for heading, entry in itertools.pairwise(lines):
            if heading.strip() in ("Args:", "Attributes:", "Returns:", "Raises:", "Yields:"):
                where = f"{getattr(node, 'name', path.name)}: {entry!r}"
                assert not heading.startswith(" "), where
                assert len(entry) - len(entry.lstrip()) == 4, where


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
