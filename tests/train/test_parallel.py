"""Laws of the devices: how work is dealt out to them, and that nobody else knows of them."""

import ast
import re
from pathlib import Path

import jax
import numpy as np
import pytest

from fcn_jax.train import parallel

PACKAGE = Path(parallel.__file__).parents[1]
OTHERS = sorted(set(PACKAGE.rglob("*.py")) - {Path(parallel.__file__)})
COUNTS_DEVICES = re.compile(
    r"len\((\w+\.)*_?devices\)|num_devices|device_count|process_(index|count)\(|"
    r"(jax|xla_bridge)\.(local_)?devices\("
)


@pytest.mark.parametrize("path", OTHERS, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_nobody_else_asks_how_many_devices_there_are(path):
    code = ast.unparse(ast.parse(path.read_text()))  # without comments, and in one layout
    assert not COUNTS_DEVICES.search(code)


@pytest.mark.parametrize(
    "code",
    ["len(devices)", "len(setup.devices)", "len(self._devices)", "jax.devices()[0]", "num_devices"],
)
def test_asking_for_devices_is_found(code):
    assert COUNTS_DEVICES.search(code)


def test_shards_are_the_batch_in_order():
    batch = {"images": np.arange(24).reshape(6, 4), "ids": list("abcdef")}
    shards = parallel.get_devices(count=3).shard(batch)
    assert list(shards) == ["images"] and shards["images"].shape == (3, 2, 4)
    np.testing.assert_array_equal(shards["images"].reshape(6, 4), batch["images"])


def test_put_gives_every_device_its_shard():
    devices = parallel.get_devices(count=2)
    put = devices.put({"images": np.arange(8).reshape(2, 4)})["images"]
    for index, shard in enumerate(put.addressable_shards):
        assert shard.device == jax.local_devices()[index]
        np.testing.assert_array_equal(shard.data, [[4 * index + i for i in range(4)]])


def test_the_only_process_writes():
    assert parallel.is_writer()
    assert parallel.share("mine") == "mine" and parallel.get_devices().gather(1) == [1]


def test_shard_map_makes_the_same_bits_as_pmap():
    def update(state, batch):
        mean = parallel.all_sum(batch["x"].sum(0)) / 8
        draw = jax.random.normal(parallel.device_key(jax.random.key(0), state["step"]), (3,))
        return {"step": state["step"] + 1, "w": state["w"] * 0.9 + mean}, {
            "sum": parallel.all_sum(draw * mean)
        }

    batch = {"x": np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32)}
    ends = []
    for form in ("pmap", "shard_map"):
        devices = parallel.get_devices(form=form)
        step = devices.update(update)
        state = devices.replicate({"step": np.int32(0), "w": np.ones(3, np.float32)})
        for _ in range(3):
            state, sums = step(state, devices.put(devices.shard(batch)))
        ends.append(jax.device_get((state, sums)))
    jax.tree.map(np.testing.assert_array_equal, *ends)


def test_dropout_differs_between_steps_and_devices():
    draw = parallel.get_devices(count=2).apply(
        lambda step, batch: jax.random.bits(parallel.device_key(jax.random.key(0), step))
    )
    draws = [np.asarray(draw(np.int32(step), np.zeros((2, 1)))) for step in (0, 1)]
    assert len(set(np.concatenate(draws).tolist())) == 4


def test_check_batch_size_rejects_what_devices_do_not_divide():
    one, two, four = (parallel.get_devices(count=count) for count in (1, 2, 4))
    with pytest.raises(ValueError, match="batch_size=6 must be .* 4 devices; try 4"):
        four.check_batch_size(6)
    with pytest.raises(ValueError, match="batch_size=0"):
        one.check_batch_size(0)
    with pytest.raises(ValueError, match="batch_size=4 .* 2 devices times iter_size=3; try 6"):
        two.check_batch_size(4, iter_size=3)
    with pytest.raises(ValueError, match="iter_size=0"):
        two.check_batch_size(4, iter_size=0)


def test_get_devices_rejects_more_than_there_are():
    with pytest.raises(ValueError, match="9 devices"):
        parallel.get_devices(count=9)
