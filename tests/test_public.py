"""`import fcn_jax`: five names, and nothing imported before one is used."""

import subprocess
import sys
from pathlib import Path

import pytest

import fcn_jax
from fcn_jax.train.warm_start import make

ROOT = Path(__file__).parent.parent


def modules_after(code, cwd):
    """Runs code, and returns the packages that are imported then."""
    code += "\nimport sys; print(*{name.split('.')[0] for name in sys.modules})"
    line = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{code}"]
    run = subprocess.run(line, cwd=cwd, capture_output=True, text=True, check=True)
    return set(run.stdout.split())


def test_importing_the_package_imports_nothing(tmp_path):
    there = modules_after("import fcn_jax; dir(fcn_jax); fcn_jax.__version__", tmp_path)
    assert not there & {"jax", "flax", "numpy", "PIL", "orbax", "optax", "scipy", "grain"}


def test_every_public_name_is_there():
    assert dir(fcn_jax) == ["LabelSet", "Trained", "__version__", "load", "make"]
    for name in dir(fcn_jax):
        assert getattr(fcn_jax, name).__doc__, name
    with pytest.raises(AttributeError, match="has no attribute 'lod'; it has .*'load'"):
        _ = fcn_jax.lod


@pytest.mark.usefixtures("plain_conv")
def test_two_statements_predict_without_a_data_library(tmp_path):
    make("alexnet_fcn32s", num_classes=3, width=1 / 32, fc_channels=2).save(
        tmp_path / "a.safetensors"
    )
    code = """
import fcn_jax, numpy
net = fcn_jax.load("a.safetensors")
assert net.predict(numpy.zeros((5, 6, 3), numpy.uint8)).shape == (5, 6)
"""
    there = modules_after(code, tmp_path)
    assert "jax" in there
    assert not there & {"grain", "tensorflow_datasets", "ml_collections", "matplotlib"}
