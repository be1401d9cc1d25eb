"""Digests of files that are remembered, and never wrong for it."""

import hashlib
import os
import time

import pytest

from fcn_jax.data.files import digests
from fcn_jax.data.files.digests import Digests


@pytest.fixture
def file(tmp_path):
    file = tmp_path / "a"
    file.write_bytes(b"before")
    return file


@pytest.fixture
def reads(monkeypatch):
    """The files that were read for their digests."""
    reads = []
    sha256 = hashlib.sha256
    monkeypatch.setattr(
        digests.hashlib, "sha256", lambda data: reads.append(data) or sha256(data), raising=True
    )
    return reads


@pytest.fixture
def later(monkeypatch):
    """The clock an hour later: all files are quiet."""
    now = time.time
    monkeypatch.setattr(digests.time, "time", lambda: now() + 3600)


@pytest.mark.usefixtures("later")
def test_quiet_file_is_read_once(file, tmp_path, reads):
    for _ in range(2):
        found = Digests(tmp_path / "memory/digests.json").read([file, file])
    assert found == {file: hashlib.sha256(b"before").hexdigest()}
    assert reads.count(b"before") == 2  # once for the digest, once for this test


def test_file_that_has_just_changed_is_not_remembered(file, tmp_path, reads):
    for _ in range(2):
        Digests(tmp_path / "digests.json").read([file])
    assert len(reads) == 2


@pytest.mark.usefixtures("later")
def test_file_of_the_same_size_and_time_is_read_again(file, tmp_path):
    memory = Digests(tmp_path / "digests.json")
    before = memory.read([file])[file]
    times = (file.stat().st_atime_ns, file.stat().st_mtime_ns)
    file.write_bytes(b"behind")
    os.utime(file, ns=times)
    assert memory.read([file])[file] != before


@pytest.mark.usefixtures("later")
@pytest.mark.parametrize("text", ["", "{", "[]"])
def test_damaged_memory_is_no_memory(file, tmp_path, text):
    (tmp_path / "digests.json").write_text(text)
    found = Digests(tmp_path / "digests.json").read([file])
    assert found == {file: hashlib.sha256(b"before").hexdigest()}
    assert (tmp_path / "digests.json").read_text().count("before") == 0


def test_memory_that_cannot_be_written_costs_time_alone(file, later):
    found = Digests(file / "digests.json").read([file])  # below a file
    assert found[file] == hashlib.sha256(b"before").hexdigest()
