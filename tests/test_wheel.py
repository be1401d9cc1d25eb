"""What pip installs: the whole package, the experiments inside it, and everything it imports."""

import ast
import re
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def requirements(path: str) -> list[str]:
    return [line for line in (ROOT / path).read_text().splitlines() if line]


def test_everything_that_is_imported_is_declared():
    sources = [*(ROOT / "fcn_jax").rglob("*.py"), *(ROOT / "experiments").glob("*.py")]
    imported = set()
    for source in sources:
        for node in ast.walk(ast.parse(source.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add(node.module.split(".")[0])
    declared = requirements("requirements.txt")
    declared += [line for extra in PROJECT["optional-dependencies"].values() for line in extra]
    names = {re.match(r"[\w-]+", line)[0].replace("_", "-").lower() for line in declared}
    packages = metadata.packages_distributions()
    for name in imported - sys.stdlib_module_names - {"fcn_jax", "experiments"}:
        owners = {owner.replace("_", "-").lower() for owner in packages.get(name, [name])}
        assert owners & names, f"{name} is imported and not declared"


def test_dev_extra_is_the_file_that_make_installs():
    assert PROJECT["optional-dependencies"]["dev"] == requirements("requirements-dev.txt")


def test_version_stands_once_in_what_is_said():
    import fcn_jax

    assert fcn_jax.__version__ == PROJECT["version"]
    assert f"version: {PROJECT['version']}\n" in (ROOT / "CITATION.cff").read_text()


@pytest.mark.slow
def test_wheel_holds_the_package_and_the_experiments(tmp_path):
    pytest.importorskip("setuptools.build_meta")  # pip would download it

    # The build writes beside the sources, so it gets a copy.
    copy = tmp_path / "copy"
    tracked = subprocess.run(
        ["git", "ls-files", "fcn_jax", "experiments", "*.toml", "*.txt", "setup.py", "LICENSE"]
        + ["README.md"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    for name in tracked:
        if (ROOT / name).exists():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            (copy / name).write_bytes((ROOT / name).read_bytes())
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation"]
    subprocess.run(
        [*command, "--wheel-dir", str(tmp_path), str(copy)], check=True, capture_output=True
    )
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    wanted = {name for name in tracked if name.startswith("fcn_jax/")}
    wanted |= {f"fcn_jax/{name}" for name in tracked if name.startswith("experiments/")}
    assert wanted <= names
    assert {name.split("/")[0] for name in names} == {"fcn_jax", "fcn_jax-0.1.0.dist-info"}
