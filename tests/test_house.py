"""The architecture as tests: who may import whom, what stays out, what every experiment says."""

import ast
import functools
import importlib.util
import inspect
import json
import subprocess
import sys
from pathlib import Path

import jax
import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted((ROOT / "fcn_jax").rglob("*.py"))
EXPERIMENTS = sorted(
    path for path in (ROOT / "experiments").glob("*.py") if not path.name.startswith("_")
)

# Rooms on one floor are strangers; imports go down.
FLOORS = [{"ops"}, {"models", "data", "weights"}, {"train"}, {"reports"}, {"commands"}]
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
        if there in (None, "__version__", "errors") or here == there:
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


# --- experiments ------------------------------------------------------------------------------

SECTIONS = ["augment", "data", "eval", "init", "loss", "model", "optim", "seed", "train"]


def _load(path, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))  # for `from experiments import _family`
    spec = importlib.util.spec_from_file_location(f"experiment_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _bind(function, section, **given):
    """Fails unless the section and what the caller gives are the keywords of a function."""
    keywords = [
        parameter
        for parameter in inspect.signature(function).parameters.values()
        if parameter.kind is parameter.KEYWORD_ONLY or parameter.name in {*section, *given}
    ]
    inspect.Signature(
        [parameter.replace(kind=parameter.KEYWORD_ONLY) for parameter in keywords]
    ).bind(**section, **given)


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


@pytest.mark.parametrize("path", EXPERIMENTS, ids=_name)
def test_every_section_is_the_keywords_of_its_function(path, monkeypatch):
    from fcn_jax.data.batches.loader import train_batches
    from fcn_jax.data.datasets import DATASETS, get_dataset
    from fcn_jax.ops.losses import make_loss
    from fcn_jax.ops.metrics import CONVENTIONS
    from fcn_jax.train.evaluator import Evaluator
    from fcn_jax.train.loop import _train
    from fcn_jax.train.optimizer import make_optimizer
    from fcn_jax.train.warm_start import init_from

    config = _load(path, monkeypatch).get_config().to_dict()
    assert set(config) == set(SECTIONS) and isinstance(config["seed"], int)
    _bind(get_dataset, config["data"])
    assert config["data"]["name"] in DATASETS
    _bind(
        train_batches, config["augment"],
        batch_size=config["train"]["batch_size"], seed=0, start_step=0, ignore_label=255,
    )  # fmt: skip
    _bind(init_from, config["init"])
    make_loss(num_classes=3, ignore_label=255, **config["loss"])
    _bind(_train, config["train"], start_step=0)
    _bind(Evaluator, config["eval"])
    assert config["eval"]["convention"] in CONVENTIONS

    # Every rule matches a parameter and every parameter a rule.
    params = _params_of(json.dumps(config["model"]))
    make_optimizer(params, num_steps=config["train"]["num_steps"], **config["optim"])


@functools.cache
def _params_of(section):
    """The shapes of a network's parameters; many experiments share a network."""
    from fcn_jax.models.zoo import get_model

    model = get_model(**_tuples(json.loads(section)), num_classes=3)
    images = jax.ShapeDtypeStruct((1, 32, 32, 3), "float32")
    run = functools.partial(model.init, train=False)
    return jax.eval_shape(run, jax.random.key(0), images)["params"]


def _tuples(section):
    return {
        key: tuple(value) if isinstance(value, list) else value for key, value in section.items()
    }


def test_the_benchmark_against_torch_needs_no_data_and_no_files():
    words = "import sys, benchmarks.ours; print(*{name.split('.')[0] for name in sys.modules})"
    line = [sys.executable, "-c", words]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=True)
    stacks = {"grain", "array_record", "tensorflow_datasets", "PIL", "matplotlib", "safetensors"}
    assert not stacks & set(done.stdout.split())
