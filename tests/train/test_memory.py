"""How much memory there is, as a container or a scheduler has it."""

import math

import pytest

from fcn_jax.train import memory, parallel

GIB = 2**30
OLD = "4:memory:/job\n2:cpu,cpuacct:/\n"  # control groups of version 1, and of version 2:
NEW = "0::/job/step\n"


@pytest.fixture
def write(tmp_path):
    """Writes what Linux shows of a control group: a limit, and 3 GiB used, 0.5 of them cached."""

    def write(place, limit):
        old = place.startswith("memory")
        folder = tmp_path / place
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ("memory.limit_in_bytes" if old else "memory.max")).write_text(f"{limit}\n")
        used = "memory.usage_in_bytes" if old else "memory.current"
        (folder / used).write_text(f"{3 * GIB}\n")
        cached = f"inactive_file {GIB // 2}\n"
        (folder / "memory.stat").write_text(f"anon 5\n{'total_' * old}{cached}")
        return tmp_path

    return write


def test_container_gives_what_its_limit_leaves_and_its_cached_files_hold(write):
    assert memory.free_of_groups("0::/\n", write(".", 4 * GIB)) == 1.5 * GIB
    assert memory.free_of_groups(OLD, write("memory", 5 * GIB)) == 2.5 * GIB


def test_smallest_limit_of_a_group_and_those_around_it_counts(write):
    write("job", 4 * GIB)
    assert memory.free_of_groups(NEW, write("job/step", "max")) == 1.5 * GIB
    assert memory.free_of_groups(NEW, write("job/step", 3 * GIB)) == 0.5 * GIB
    assert memory.free_of_groups(NEW, write("job/step", 2 * GIB)) == 0


def test_without_a_limit_nothing_is_held_back(write, tmp_path):
    assert memory.free_of_groups("", tmp_path) == math.inf
    assert memory.free_of_groups(NEW + OLD, tmp_path) == math.inf
    assert memory.free_of_groups(NEW, write("job/step", "max")) == math.inf


def test_step_that_does_not_fit_into_the_container_is_refused(write, monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "_CGROUPS", write(".", 11 * GIB // 4))
    (tmp_path / "groups").write_text("0::/\n")
    monkeypatch.setattr(memory, "_OWN_GROUPS", tmp_path / "groups")
    devices = parallel.get_devices(count=1)
    with pytest.raises(
        ValueError, match=r"^4 crops need .* 1 x cpu, where 0.2 GiB are free\ntake 2$"
    ):
        memory.check_fits(GIB / 2, devices, what="4 crops", way_on="take 2")
    memory.check_fits(GIB / 8, devices, what="4 crops", way_on="take 2")
