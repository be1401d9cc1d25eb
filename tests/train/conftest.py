"""A small data set, a small network, and a whole experiment that takes seconds."""

from math import prod

import jax
import numpy as np
import pytest

from fcn_jax.data.datasets import DATASETS, Dataset
from fcn_jax.data.sets.shapes import LABELS as SHAPES
from fcn_jax.models.zoo import build
from fcn_jax.train import loop, parallel
from fcn_jax.train.checkpoint import Checkpoints
from fcn_jax.train.image_counts import ImageCounts
from fcn_jax.train.setup import make_setup
from fcn_jax.train.state import init_variables
from tests.tiny_network import TINY

NUM_CLASSES = SHAPES.num_classes
VOID = 255


class Pictures:
    """Random pictures of different sizes, with void in their labels, as a data source."""

    def __init__(self, num_images: int, seed: int):
        rng = np.random.default_rng(seed)
        self._records = []
        for index in range(num_images):
            size = (rng.integers(17, 33), rng.integers(17, 49))  # two padded shapes of 16
            label = rng.integers(0, NUM_CLASSES, size, np.uint8)
            label[rng.random(size) < 0.2] = VOID
            image = rng.integers(0, 256, (*size, 3), np.uint8)
            self._records.append({"id": f"picture_{index}", "image": image, "label": label})

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> dict:
        return self._records[index]


class TinyDataset(Dataset):
    def source(self, split: str) -> Pictures:
        return {"train": Pictures(9, seed=1), "val": Pictures(5, seed=2)}[split]


@pytest.fixture(scope="session")
def pictures() -> Pictures:
    return Pictures(7, seed=3)


@pytest.fixture(scope="session", autouse=True)
def tiny_dataset():
    """Makes the data set `tiny` known."""
    tiny = TinyDataset("tiny", SHAPES, ("train", "val"), builder=None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(DATASETS, "tiny", lambda source_dir, data_dir: tiny)
        yield tiny


@pytest.fixture(scope="module", autouse=True)
def know_the_tiny_network(tiny_network):
    """The network of `make_config`."""


def make_config() -> dict:
    """Makes an experiment of six steps on nine pictures."""
    return {
        "seed": 3,
        "data": {"name": "tiny"},
        "augment": {"crop_size": 32, "scale_range": (0.8, 1.2), "flip_prob": 0.5},
        "model": {"name": "tiny_fcn4s"},
        "init": {},
        "loss": {},
        "optim": {"name": "adamw", "learning_rate": 1e-2, "schedule": "poly"},
        "train": {
            "split": "train",
            "num_steps": 6,
            "batch_size": 4,
            "iter_size": 1,
            "log_every": 1,
            "eval_every": 3,
            "checkpoint_every": 2,
        },
        "eval": {
            "split": "val",
            "device_batch_size": 2,
            "size_multiple": 16,
            "convention": "caffe",
            "boundary_px": 5,
            "num_samples": 2,
        },
    }


def count_one_image(counts: np.ndarray) -> ImageCounts:
    """Makes what an evaluation keeps of one image with these counts, none near a boundary."""
    return ImageCounts(
        ids=("seq/0001",),
        counts=counts.astype(np.int32)[None],
        num_pixels=np.array([counts.sum()], np.int64),
        loss_sums=np.array([0.5]),
        band_counts=np.zeros((40, *counts.shape), np.int64),
    )


@pytest.fixture
def config() -> dict:
    return make_config()


@pytest.fixture(scope="session")
def make_model():
    """Makes the tiny network without dropout, over all devices; keyword arguments change it."""

    def make(**options):
        options = {"dropout": 0.0, "axis_name": parallel.AXIS, **options}
        return build(TINY, num_classes=NUM_CLASSES, **options)

    return make


@pytest.fixture(scope="session")
def random_variables():
    """Draws all parameters of a network, its zero-initialised scores included."""

    def draw(model):
        shapes = jax.eval_shape(lambda: init_variables(jax.random.key(0), model))
        rng = np.random.default_rng(0)
        params = jax.tree.map(
            lambda leaf: rng.normal(
                0, np.sqrt(2 / max(1, prod(leaf.shape[:-1]))), leaf.shape
            ).astype(leaf.dtype),
            shapes["params"],
        )
        ones = jax.tree.map(lambda leaf: np.ones(leaf.shape, leaf.dtype), shapes)
        return {**ones, "params": params}

    return draw


@pytest.fixture(scope="module")
def one_device():
    """Bit-identity is promised for one number of devices; one is the fastest here."""
    first = parallel.get_devices(count=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fcn_jax.train.parallel.get_devices", lambda count=None: first)
        yield


def run(config, workdir, **options):
    command = "python launch.py train"
    return loop.train(config, workdir, experiment="tiny", command=command, **options)


def last_state(config, workdir):
    checkpoints = Checkpoints(workdir / "checkpoints")
    try:
        return checkpoints.restore(checkpoints.latest_step, like=make_setup(config).state)
    finally:
        checkpoints.close()
