"""The scripts for clusters, run with stand-ins for what a cluster has."""

import importlib
import json
import os
import re
import shlex
import signal
import stat
import subprocess
import sys
import time
from argparse import ArgumentParser
from pathlib import Path

import psutil
import pytest
import yaml

ROOT = Path(__file__).parents[1]
CLUSTERS = ROOT / "docs" / "clusters"
SCRIPTS = sorted(CLUSTERS.glob("*.sh"))

# What is started instead of Python: it notes its words and variables, and ends as it is told, or,
# if it is to wait, when a signal comes, as a training does.
PYTHON = """#!{python} -S
import json, os, signal, sys, time
names = ("SLURM_", "JAX_", "JOB_")
seen = {{key: value for key, value in os.environ.items() if key.startswith(names)}}
path = os.path.join(os.environ["NOTES"], str(os.getpid()))
def note(**more):
    with open(path + ".new", "w") as file:
        json.dump({{"words": sys.argv[1:], "environ": seen, **more}}, file)
    os.rename(path + ".new", path)
def stop(number, frame):
    note(signal=number)
    os._exit(130)
for number in (signal.SIGUSR1, signal.SIGINT, signal.SIGTERM):
    signal.signal(number, stop)
note()
if "train" in sys.argv and os.environ.get("WAIT"):
    time.sleep(20)
sys.exit(int(os.environ.get("CODE", "0")) if "train" in sys.argv else 0)
"""

# Slurm's, on two nodes with two tasks each: the variables of a step, and signals for its tasks.
SRUN = """#!{python} -S
import os, signal, subprocess, sys
words = sys.argv[1:]
count = int(os.environ.get("TASKS", "1"))
while words[0].startswith("--"):
    if words[0].startswith("--ntasks="):
        count = int(words[0].split("=")[1])
    words.pop(0)
step = {{"SLURM_JOB_ID": "4711", "SLURM_STEP_NODELIST": "node[01-02]", "SLURM_NTASKS": str(count)}}
tasks = [
    subprocess.Popen(words, env={{**os.environ, **step, "SLURM_PROCID": str(i),
                                 "SLURM_LOCALID": str(i % 2)}})
    for i in range(count)
]
for number in (signal.SIGUSR1, signal.SIGTERM):
    signal.signal(number, lambda number, frame: [task.send_signal(number) for task in tasks])
sys.exit(max(task.wait() for task in tasks))
"""

# ssh and gcloud run the command here; scontrol notes what it is asked for.
SSH = """#!/bin/bash
echo "$@" >> "$NOTES/ssh.txt"
trap : INT
cd "$(dirname "$NOTES")" && mkdir -p fcn_jax/.venv/bin
cp -n "$NOTES/../bin/python" fcn_jax/.venv/bin/
bash -c "${{@: -1}}" &
child=$!
trap 'kill -INT $child' INT
wait $child; code=$?
while kill -0 $child 2>/dev/null; do wait $child; code=$?; done
exit $code
"""
GCLOUD = """#!/bin/bash
echo "$@" >> "$NOTES/gcloud.txt"
command=${{@: -1}}
exec "$(dirname "$0")/ssh" tpu "${{command#--command=}}"
"""
SCONTROL = """#!/bin/bash
echo "$@" >> "$NOTES/scontrol.txt"
"""


class Cluster:
    """A folder with the stand-ins, and what they noted."""

    def __init__(self, folder: Path):
        self.notes, self._bin = folder / "notes", folder / "bin"
        self.notes.mkdir()
        self._bin.mkdir()
        tools = {"python": PYTHON, "srun": SRUN, "ssh": SSH, "gcloud": GCLOUD, "scontrol": SCONTROL}
        for name, text in tools.items():
            file = self._bin / name
            file.write_text(text.format(python=sys.executable))
            file.chmod(file.stat().st_mode | stat.S_IXUSR)
        self._environ = {
            **os.environ,
            "PATH": f"{self._bin}:{os.environ['PATH']}",
            "NOTES": str(self.notes),
            "PYTHON": "python",
            "SLURM_JOB_ID": "4711",
        }

    def start(self, script: str | Path, **environ: str) -> subprocess.Popen:
        """Starts a script in a session of its own, as a terminal or a scheduler does."""
        return subprocess.Popen(
            ["bash", str(CLUSTERS / script)],
            cwd=ROOT,
            env={**self._environ, **environ},
            start_new_session=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, script: str | Path, **environ: str) -> int:
        """Runs a script to its end; returns its exit code."""
        process = self.start(script, **environ)
        output, _ = process.communicate(timeout=30)
        assert "not found" not in output, output
        return process.returncode

    @property
    def processes(self) -> list[dict]:
        """What each process of Python's noted, in the order of their numbers."""
        found = [json.loads(file.read_text()) for file in self.notes.glob("*[0-9]")]
        return sorted(found, key=lambda note: (note["words"][1], note["words"]))

    @property
    def trainings(self) -> list[dict]:
        return [note for note in self.processes if note["words"][1] == "train"]

    def wait_for(self, count: int) -> None:
        deadline = time.monotonic() + 20
        while len(self.trainings) < count:
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def read(self, name: str) -> list[str]:
        file = self.notes / name
        return file.read_text().splitlines() if file.exists() else []


@pytest.fixture
def cluster(tmp_path) -> Cluster:
    return Cluster(tmp_path)


def flags_of(note: dict) -> dict[str, str]:
    pairs = (word[2:].partition("=") for word in note["words"] if word.startswith("--"))
    return {name: value for name, _, value in pairs}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_shellcheck_finds_nothing(script):
    shellcheck = Path(sys.executable).with_name("shellcheck")  # pip's
    found = subprocess.run([shellcheck, script], check=False, capture_output=True, text=True)
    assert found.returncode == 0, found.stdout


@pytest.mark.parametrize("file", sorted(CLUSTERS.glob("*.*")), ids=lambda file: file.name)
def test_every_flag_exists(file):
    text = file.read_text().replace("\\\n", " ").replace('" "', " ")
    for command in re.findall(r"launch\.py (\w+)", text):
        parser = ArgumentParser()
        importlib.import_module(f"fcn_jax.commands.{command}").add_arguments(parser)
        known = {flag for action in parser._actions for flag in action.option_strings}
        line = text.split(f"launch.py {command}", 1)[1].split("\n\n")[0]
        used = {word.split("=")[0] for word in re.findall(r"(?<!\S)--[a-z_.]+", line)}
        used = {flag for flag in used if not flag.startswith("--config.")}
        assert used <= known, used - known


def test_nodes_have_one_process_for_each_gpu_that_jax_knows_by_slurm(cluster, monkeypatch):
    assert cluster.run("slurm_nodes.sh", TASKS="4") == 0
    [prepare] = [note for note in cluster.processes if note["words"][1] == "prepare"]
    assert prepare["environ"]["SLURM_NTASKS"] == "1"
    assert len(cluster.trainings) == 4
    seen = set()
    for note in cluster.trainings:
        assert "--distributed" in note["words"]
        for key, value in note["environ"].items():
            monkeypatch.setenv(key, value)
        from jax._src.clusters import SlurmCluster

        assert SlurmCluster.is_env_present() and SlurmCluster.get_process_count() == 4
        seen.add(SlurmCluster.get_process_id())
        assert SlurmCluster.get_coordinator_address(None, None).startswith("node01:")
        assert SlurmCluster.get_local_process_id() == SlurmCluster.get_process_id() % 2
    assert seen == {0, 1, 2, 3}


SLURM = ("slurm_one_node.sh", "slurm_nodes.sh", "sweep_array.sh")
ARRAY = {"SLURM_ARRAY_JOB_ID": "4700", "SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_TASK_COUNT": "6"}


@pytest.mark.parametrize("script", SLURM)
def test_a_warning_of_slurm_saves_and_goes_back_into_the_queue(script, cluster):
    process = cluster.start(script, WAIT="1", TASKS="2", **ARRAY)
    cluster.wait_for(2)
    time.sleep(0.1)
    [step] = psutil.Process(process.pid).children()
    step.send_signal(signal.SIGUSR1)
    assert process.wait(timeout=20) == 130
    assert [note["signal"] for note in cluster.trainings] == [signal.SIGUSR1] * 2
    job = "4700_3" if script == "sweep_array.sh" else "4711"
    assert cluster.read("scontrol.txt") == [f"requeue {job}"]


@pytest.mark.parametrize("script", SLURM)
def test_errors_are_handed_on_and_not_tried_again(script, cluster):
    assert cluster.run(script, CODE="2", **ARRAY) == 2
    assert cluster.read("scontrol.txt") == []


def test_a_sweep_gives_every_network_every_seed(cluster):
    for task in range(6):
        assert cluster.run("sweep_array.sh", **ARRAY | {"SLURM_ARRAY_TASK_ID": str(task)}) == 0
    runs = {(f["config"], f["config.seed"], f["workdir"]) for f in map(flags_of, cluster.trainings)}
    assert len(runs) == 6 and len({workdir for *_, workdir in runs}) == 6
    assert {seed for _, seed, _ in runs} == {"0", "1"}


def test_tasks_of_an_array_share_the_pictures(cluster):
    for task in (1, 2):
        environ = {"SLURM_ARRAY_TASK_ID": str(task), "SLURM_ARRAY_TASK_COUNT": "2"}
        assert cluster.run("predict_array.sh", **environ) == 0
    assert [flags_of(note)["shard"] for note in cluster.processes] == ["1/2", "2/2"]


def test_ssh_numbers_the_machines_and_stops_them_all(cluster):
    process = cluster.start("ssh.sh", HOSTS="a b c", WAIT="1")
    cluster.wait_for(3)
    time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)  # Ctrl-C reaches all of a terminal's group
    assert process.wait(timeout=20) == 130
    found = [flags_of(note) for note in cluster.trainings]
    assert {flags["process_id"] for flags in found} == {"0", "1", "2"}
    assert {(f["coordinator"], f["num_processes"]) for f in found} == {("a:12345", "3")}
    assert sorted(line.split()[1] for line in cluster.read("ssh.txt")) == ["a", "b", "c"]


def test_ssh_hands_on_the_worst_code(cluster):
    assert cluster.run("ssh.sh", HOSTS="a b", CODE="2") == 2


def test_a_tpu_pod_gets_one_command_on_all_hosts(cluster):
    assert cluster.run("tpu_pod.sh", TPU="mine", ZONE="here", CODE="2") == 2
    [called] = cluster.read("gcloud.txt")
    assert called.startswith("compute tpus tpu-vm ssh mine --zone=here --worker=all --command=")
    [note] = cluster.trainings
    assert "--distributed" in note["words"] and "coordinator" not in flags_of(note)


def test_pods_are_numbered_and_restart_together(cluster, tmp_path):
    spec = yaml.safe_load((CLUSTERS / "jobset.yaml").read_text())["spec"]
    [group] = spec["replicatedJobs"]
    job = group["template"]["spec"]
    pod = job["template"]["spec"]
    assert spec["failurePolicy"]["maxRestarts"] > 0 and job["backoffLimit"] == 0
    assert job["completionMode"] == "Indexed" and pod["restartPolicy"] == "Never"
    [container] = pod["containers"]
    script = tmp_path / "pod.sh"
    script.write_text(
        f"exec {shlex.join(container['command'])} {shlex.quote(container['args'][0])}"
    )
    for index in range(job["completions"]):
        assert cluster.run(script, JOB_COMPLETION_INDEX=str(index)) == 0
    found = [flags_of(note) for note in cluster.trainings]
    assert [flags["process_id"] for flags in found] == ["0", "1", "2", "3"]
    name = yaml.safe_load((CLUSTERS / "jobset.yaml").read_text())["metadata"]["name"]
    host = f"{name}-{group['name']}-0-0.{name}:12345"
    assert {(f["coordinator"], f["num_processes"]) for f in found} == {(host, "4")}
