"""export: the file computes what the network does, where there is nothing but jax."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from fcn_jax.export import program
from fcn_jax.models.zoo import get_model
from tests.export.conftest import NAMES, make_net

pytestmark = pytest.mark.skipif(
    not importlib.util.find_spec("flatbuffers"), reason="jax.export needs flatbuffers"
)

needs_onnx = pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("onnx", "onnxruntime"))),
    reason="ONNX needs onnx and onnxruntime",
)

DOCUMENT = (Path(__file__).parents[2] / "docs/export.md").read_text()
SIZES = [(1, 33, 47), (2, 64, 96), (3, 97, 65), (1, 50, 129), (1, 128, 31)]


def snippet(package: str) -> str:
    """The consumer in the document that needs this package."""
    blocks = re.findall(r"```python\n(.*?)```", DOCUMENT, re.DOTALL)
    (found,) = (block for block in blocks if f"\nimport {package}, " in block)
    return found


REST_WITH_JAX = """
assert program.platforms == ("cpu", "cuda", "tpu")
images = np.load("images.npz").values()
np.savez("logits.npz", *[jax.jit(program.call)(image) for image in images])
assert not {"fcn_jax", "flax"} & {name.split(".")[0] for name in sys.modules}
"""


def run_alone(code, folder, file):
    """Runs code on a file and a photo, in a process that does not find this project."""
    line = [sys.executable, "-I", "-c", code, str(file), "photo.png"]
    environment = os.environ | {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}  # it compiles sooner
    done = subprocess.run(
        line, check=False, cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def print_shares(logits):
    """What the consumers of the document print."""
    pred = logits[0].argmax(-1)
    shares = (f"{np.mean(pred == number):6.1%}  {name}\n" for number, name in enumerate(NAMES))
    return "".join(shares)


@pytest.mark.usefixtures("plain_conv")
def test_the_program_gives_the_logits_in_a_process_with_jax_alone(
    launch, draw_variables, tmp_path, rng
):
    net, path = make_net(draw_variables, "alexnet_fcn32s"), tmp_path / "deep" / "net.stablehlo"
    net.save(tmp_path / "net.safetensors")
    words = [f"--network={tmp_path / 'net.safetensors'}", f"--output={path}"]
    code, stdout, stderr = launch("export", *words)
    assert code == 0, stderr
    assert f"wrote alexnet_fcn32s to {path}" in stdout
    assert re.search(r"largest relative difference \d\.\de[-+]\d\d at 1x64x96, 2x97x65", stdout)
    assert sorted(path.parent.iterdir()) == [path, tmp_path / "deep" / "net.stablehlo.json"]

    images = [rng.integers(0, 256, (*size, 3), np.uint8) for size in SIZES]
    np.savez(tmp_path / "images.npz", *images)
    Image.fromarray(images[0][0]).save(tmp_path / "photo.png")
    printed = run_alone(snippet("jax") + REST_WITH_JAX, tmp_path, path)
    network = jax.jit(lambda images: net.model.apply(net.variables, images, train=False))
    expected = [np.asarray(network(image)) for image in images]
    for ours, theirs in zip(expected, np.load(tmp_path / "logits.npz").values(), strict=True):
        np.testing.assert_allclose(theirs, ours, atol=1e-5 * np.abs(ours).max(), rtol=0)
    assert printed == print_shares(expected[0])

    about = json.loads(Path(f"{path}.json").read_text())
    assert (about["classes"], about["colors"][1]) == ([*NAMES], [128, 0, 0])
    assert (about["void_label"], about["input"]["size_multiple"]) == (255, 32)
    assert about["input"]["shape"] == ["b", "h", "w", 3] and about["origin"] == {"step": 7}


@needs_onnx
@pytest.mark.usefixtures("plain_conv")
def test_the_onnx_file_gives_the_classes_in_a_process_without_jax(
    launch, draw_variables, tmp_path, monkeypatch, rng
):
    """The network computes in bfloat16, and its file in float32."""
    monkeypatch.setattr(program, "SIZES", ((2, 50, 37),))
    net, path = make_net(draw_variables, "alexnet_fcn32s", dtype="bfloat16"), tmp_path / "net.onnx"
    net.save(tmp_path / "net.safetensors")
    words = [f"--network={tmp_path / 'net.safetensors'}", "--format=onnx", "--dtype=float32"]
    code, stdout, stderr = launch("export", *words, f"--output={path}")
    assert code == 0, stderr
    assert re.search(r"largest relative difference \d\.\de-0[567] at 2x50x37", stdout)

    pixels = rng.integers(0, 256, (50, 37, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    consumer = snippet("onnxruntime").replace('("RGB"))', '("RGB"), np.float32)')
    alone = "\nassert not {'fcn_jax', 'jax'} & {*sys.modules}"
    printed = run_alone(consumer + alone, tmp_path, path)
    exact = get_model(**{**net.section, "dtype": "float32"}, num_classes=len(NAMES))
    logits = jax.jit(lambda images: exact.apply(net.variables, images, train=False))(pixels[None])
    assert printed == print_shares(logits)
    about = json.loads(Path(f"{path}.json").read_text())
    assert about["program"]["opset"] == 13 and about["input"]["dtype"] == "float32"


def test_onnx_says_what_to_install(launch, monkeypatch, tmp_path):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    words = ["--network=net.safetensors", "--format=onnx", f"--output={tmp_path / 'net.onnx'}"]
    code, _, stderr = launch("export", *words)
    assert code == 2 and stderr.endswith("pip install onnx onnxruntime\n")
    assert not list(tmp_path.glob("*.onnx*"))


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["--network=a", "--output=net.onnx"], "net.onnx must end in .stablehlo for --format="),
        (["--network=a", "--output=net.pb", "--format=onnx"], "net.pb must end in .onnx"),
        (["--network=a", "--output=a.stablehlo", "--format=tflite"], "known: stablehlo, onnx"),
        (["--network=a", "--output=a.stablehlo", "--dtype=int8"], "known: uint8, float32"),
        (["--network=a", "--output=a.stablehlo", "--size=500"], "must be HEIGHTxWIDTH"),
        (["--network=a", "--output=folder.stablehlo"], "is a folder: give the file to write"),
        (["--network=a", "--output=a.stablehlo"], "there is nothing at a"),
        (["--workdir=folder.stablehlo", "--output=a.stablehlo"], "folder.stablehlo"),
    ],
)
def test_a_mistake_is_answered(launch, tmp_path, monkeypatch, words, answer):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.stablehlo").mkdir()
    code, _, stderr = launch("export", *words)
    assert code == 2 and answer in stderr and "Traceback" not in stderr
    assert {*tmp_path.iterdir()} == {tmp_path / "experiments", tmp_path / "folder.stablehlo"}


def test_a_network_that_has_to_know_its_size_is_exported_for_one(
    launch, draw_variables, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    make_net(draw_variables, "vgg16_fcn8s", fc6_kernel=3).save("net.safetensors")
    words = ["export", "--network=net.safetensors", "--output=net.stablehlo"]
    code, _, stderr = launch(*words)
    assert code == 2 and "depends on the size of the image" in stderr and "--size=" in stderr
    assert not [*tmp_path.glob("*.stablehlo*")] and not [*tmp_path.glob(".*")]

    # A file that stands where a folder should, found before the network is traced.
    code, _, stderr = launch(*words[:2], "--output=net.safetensors/net.stablehlo")
    assert code == 2 and "net.safetensors" in stderr
