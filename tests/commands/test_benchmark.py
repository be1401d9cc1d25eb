"""Timing a recipe: what is printed are measurements, so only their sense is tested."""

import re
from pathlib import Path

import numpy as np
import pytest

from fcn_jax.commands import benchmark, door
from fcn_jax.data.datasets import DATASETS, Dataset
from fcn_jax.data.sets.shapes import LABELS as SHAPES
from fcn_jax.train import evaluation, memory, parallel, setup, state

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
SMALL = ("--config.model.name=tiny_fcn4s", "--config.augment.crop_size=33")


class Noise:
    def source(self, split):
        rng = np.random.default_rng(0)
        label = np.eye(40, dtype=np.uint8)
        images = rng.integers(0, 256, (4, 40, 40, 3), np.uint8)
        return [{"id": str(i), "image": image, "label": label} for i, image in enumerate(images)]


@pytest.fixture
def run(monkeypatch, capsys, plain_conv, tiny_network):
    first = parallel.get_devices(count=1)
    monkeypatch.setattr(parallel, "get_devices", lambda count=None: first)
    monkeypatch.setattr(benchmark, "_MATRIX_SIZE", 256)
    noise = Dataset("shapes", SHAPES, ("train", "val"), builder=Noise())
    monkeypatch.setitem(DATASETS, "shapes", lambda source_dir, data_dir: noise)

    def run(*words: str) -> tuple[int, str, str]:
        line = ["benchmark", "--config=shapes_fcn32s", *SMALL, *words]
        code = door.main(line, experiments_dir=EXPERIMENTS)
        return code, *capsys.readouterr()

    return run


def find(pattern: str, text: str) -> float:
    return float(re.search(pattern, text)[1].replace(",", ""))


def test_parts_of_a_step_add_up_to_its_rate(run):
    code, out, _ = run("--steps=3", "--config.train.batch_size=2")
    assert code == 0
    parts = [find(rf"{part} ([\d.]+) ms", out) for part in ("reading", "copying", "computing")]
    rate = find(r"([\d.]+) images/s", out)
    assert rate == pytest.approx(2 / (sum(parts) / 1e3), rel=0.1)
    assert find(r"memory of a step ([\d.]+) GiB", out) >= 0
    assert find(r": (\d+)% of the machine's rate", out) <= 100
    assert find(r"compiled in ([\d.]+) s", out) > 0


def test_reading_is_timed_without_a_network(run, monkeypatch):
    monkeypatch.setattr("fcn_jax.train.setup.get_model", None)
    code, out, _ = run("--data", "--steps=5", "--config.train.batch_size=3")
    assert code == 0
    assert find(r"reading ([\d.]+) images/s", out) > 0
    assert "5 batches of 3" in out and "crops of 33, 2 threads, 0 workers" in out


def test_evaluation_is_timed_against_the_network_alone(run):
    code, out, _ = run("--eval", "--config.eval.device_batch_size=2")
    assert code == 0
    assert int(find(r"compiled (\d+) programs?", out)) >= 1
    again, network = find(r"again ([\d.]+) s", out), find(r"in memory, ([\d.]+) s", out)
    assert "4 images of 1 padded shape\n" in out
    assert find(r"takes ([\d.]+) times", out) == pytest.approx(again / network, rel=0.05)


def test_batch_that_was_found_is_the_largest(run, monkeypatch):
    needs = []
    real = benchmark._step_bytes

    def step_bytes(compiled):
        needs.append(real(compiled))
        return needs[-1]

    monkeypatch.setattr(benchmark, "_step_bytes", step_bytes)
    for module in (setup, state, evaluation):
        monkeypatch.setattr(module, "check_fits", lambda *args, **options: None)
    monkeypatch.setattr(memory, "free_bytes", lambda devices: room)
    room = 0
    code, _, err = run("--find-batch")
    assert code == 2 and "the smallest batch, 1, needs" in err and "remat" in err
    one, two = needs[:2]
    assert two > one
    limit = one + 1.5 * (two - one)
    room = limit / (1 - benchmark._SPARE_SHARE)
    code, out, _ = run("--find-batch")
    assert code == 0
    found = int(find(r"train.batch_size=(\d+) fits", out))
    assert found == 2
    assert max(needs) > limit  # one more was tried


def test_steps_must_be_positive(run):
    code, _, err = run("--steps=0")
    assert code == 2 and "--steps=0 must be positive" in err
