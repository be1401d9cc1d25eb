"""The scripts for clusters, run with stand-ins for what a cluster has (`stand_ins.py`)."""

import importlib
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import yaml
from jax._src.clusters import SlurmCluster

from fcn_jax.commands import door

ROOT = Path(__file__).parents[1]
CLUSTERS = ROOT / "docs" / "clusters"
SCRIPTS = sorted(CLUSTERS.glob("*.sh"))
STAND_INS = Path(__file__).with_name("stand_ins.py")

SLURM = ("slurm_one_node.sh", "slurm_nodes.sh", "sweep_array.sh")
# What sbatch gives a script; an array's variables do no harm to the others.
BATCH = {
    "SLURM_JOB_ID": "4711",
    "SLURM_CPUS_PER_TASK": "8",
    "SLURM_ARRAY_JOB_ID": "4700",
    "SLURM_ARRAY_TASK_ID": "3",
    "SLURM_ARRAY_TASK_COUNT": "6",
}
# What a user says to those that do not start without.
YOURS = {"HOSTS": "a b c", "TPU": "mine", "ZONE": "here"}


class Cluster:
    """A folder with the stand-ins, and what they noted."""

    def __init__(self, folder: Path):
        self.notes, tools = folder / "notes", folder / "bin"
        self.notes.mkdir()
        tools.mkdir()
        for name in ("python", "srun", "ssh", "gcloud", "scontrol"):
            line = shlex.join([sys.executable, "-I", "-S", str(STAND_INS), name])
            (tools / name).write_text(f'#!/bin/bash\nexec {line} "$@"\n')
            (tools / name).chmod(0o755)
        self._environ = {
            **os.environ,
            **BATCH,
            **YOURS,
            "PATH": f"{tools}:{os.environ['PATH']}",
            "NOTES": str(self.notes),
            "PYTHON": "python",
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

    def start_waiting(self, script: str | Path, count: int, **environ: str) -> subprocess.Popen:
        """Starts a script whose trainings go on until a stop; returns when all have begun."""
        process = self.start(script, **{"WAIT": "1", **environ})
        wait_until(lambda: len(self.trainings) >= count)
        return process

    def run(self, script: str | Path, **environ: str) -> int:
        """Runs a script to its end; returns its exit code."""
        process = self.start(script, **environ)
        output, _ = process.communicate(timeout=30)
        assert "not found" not in output, output
        return process.returncode

    @property
    def processes(self) -> list[dict]:
        """What each process of Python's noted, in the order of its words."""
        found = [json.loads(file.read_text()) for file in self.notes.glob("*.json")]
        return sorted(found, key=lambda note: (note["words"][1], note["words"]))

    @property
    def trainings(self) -> list[dict]:
        return [note for note in self.processes if note["words"][1] == "train"]

    @property
    def signals(self) -> set[int]:
        """What reached trainings."""
        return {note["signal"] for note in self.trainings if "signal" in note}

    @property
    def are_running(self) -> bool:
        """Whether a process of Python's still runs."""
        return any(psutil.pid_exists(int(file.stem)) for file in self.notes.glob("*.json"))

    def read(self, name: str) -> list[str]:
        file = self.notes / name
        return file.read_text().splitlines() if file.exists() else []


@pytest.fixture
def cluster(tmp_path) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path)
    yield cluster
    (cluster.notes / "stop").touch()  # for what a failed test left behind


def wait_until(is_so: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def flags_of(note: dict) -> dict[str, str]:
    pairs = (word[2:].partition("=") for word in note["words"] if word.startswith("--"))
    return {name: value for name, _, value in pairs}


def sbatch_options(script: str) -> dict[str, str]:
    """Returns what the #SBATCH lines of a script ask for."""
    lines = re.findall(r"^#SBATCH (.*)", (CLUSTERS / script).read_text(), flags=re.MULTILINE)
    words = [word for line in lines for word in line.split()]
    return {name: value for name, _, value in (word[2:].partition("=") for word in words)}


def read_jobset() -> dict:
    return yaml.safe_load((CLUSTERS / "jobset.yaml").read_text())


def write_pod(folder: Path) -> Path:
    """Writes what a pod of the JobSet starts as a script."""
    [group] = read_jobset()["spec"]["replicatedJobs"]
    [container] = group["template"]["spec"]["template"]["spec"]["containers"]
    script = folder / "pod.sh"
    script.write_text(f"exec {shlex.join([*container['command'], *container['args']])}\n")
    return script


def test_the_table_has_every_recipe_and_starts_it():
    text = (CLUSTERS / "README.md").read_text()
    rows = re.findall(r"^\| \[(.*?)\]\((.*?)\) \|.*`(.*?)` \|$", text, flags=re.MULTILINE)
    files = {file.name for file in CLUSTERS.iterdir()} - {"README.md"}
    assert sorted(name for name, _, _ in rows) == sorted(files)
    for name, link, line in rows:
        assert link == name and line.endswith(f"docs/clusters/{name}")
        for variable in re.findall(r"([A-Z]+)=", line):
            assert f"${{{variable}:" in (CLUSTERS / name).read_text(), variable


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_shellcheck_finds_nothing(script):
    shellcheck = Path(sys.executable).with_name("shellcheck")  # pip's
    found = subprocess.run([shellcheck, script], check=False, capture_output=True, text=True)
    assert found.returncode == 0, found.stdout


@pytest.mark.parametrize("name", sorted(file.name for file in CLUSTERS.glob("*.[sy]*")))
def test_what_is_started_is_taken(name, cluster, tmp_path, monkeypatch, capsys):
    """Command, flags, experiment and the keys of the experiment: all but the work itself."""
    script = write_pod(tmp_path) if name == "jobset.yaml" else name
    assert cluster.run(script, TASKS="2", JOB_COMPLETION_INDEX="1") == 0
    assert cluster.processes
    for program, *words in (note["words"] for note in cluster.processes):
        assert program == "launch.py"
        command = importlib.import_module(f"fcn_jax.commands.{words[0]}")
        monkeypatch.setattr(command, "run", lambda args: 0)
        code = door.main(words, experiments_dir=ROOT / "experiments")
        assert code == 0, capsys.readouterr().err


def test_nodes_have_one_process_for_each_gpu_that_jax_knows_by_slurm(cluster, monkeypatch):
    assert cluster.run("slurm_nodes.sh", TASKS="4") == 0
    assert len(cluster.trainings) == 4
    seen = set()
    for note in cluster.trainings:
        assert "--distributed" in note["words"]
        for key, value in note["environ"].items():
            monkeypatch.setenv(key, value)
        assert SlurmCluster.is_env_present() and SlurmCluster.get_process_count() == 4
        seen.add(SlurmCluster.get_process_id())
        assert SlurmCluster.get_coordinator_address(None, None).startswith("node01:")
        assert SlurmCluster.get_local_process_id() == SlurmCluster.get_process_id() % 2
    assert seen == {0, 1, 2, 3}


def test_a_task_sees_all_gpus_of_its_node():
    """jax takes the one of the task's number; --gpus-per-task would show it that one alone."""
    options = sbatch_options("slurm_nodes.sh")
    assert options["gpus-per-node"] == options["ntasks-per-node"]
    assert not {"gpus-per-task", "gpu-bind", "ntasks"} & set(options)


def test_nodes_build_the_data_set_once_before_they_train(cluster):
    assert cluster.run("slurm_nodes.sh", TASKS="4") == 0
    [prepare] = [note for note in cluster.processes if note["words"][1] == "prepare"]
    training = cluster.trainings[0]
    assert prepare["environ"]["SLURM_NTASKS"] == "1"
    for key in ("config", "config.data.source_dir"):
        assert flags_of(prepare)[key] == flags_of(training)[key]


@pytest.mark.parametrize("script", [*SLURM, "predict_array.sh"])
def test_tasks_get_the_cpus_that_were_asked_for(script, cluster):
    assert cluster.run(script) == 0
    assert {note["environ"].get("SLURM_CPUS_PER_TASK") for note in cluster.processes} == {"8"}


@pytest.mark.parametrize("script", SLURM)
def test_a_job_is_warned_may_come_back_and_keeps_its_log(script):
    options = sbatch_options(script)
    number, _, seconds = options["signal"].partition("@")
    assert number == "USR1" and int(seconds) >= 120  # a step and a checkpoint
    assert "requeue" in options and options["open-mode"] == "append"


@pytest.mark.parametrize("reached", ["the step", "the script"])
@pytest.mark.parametrize("script", SLURM)
def test_a_warning_saves_and_goes_back_into_the_queue(script, reached, cluster):
    count = 2 if script == "slurm_nodes.sh" else 1
    process = cluster.start_waiting(script, count, TASKS=str(count))
    [step] = psutil.Process(process.pid).children()
    (step if reached == "the step" else process).send_signal(signal.SIGUSR1)
    assert process.wait(timeout=20) == 130
    assert cluster.signals == {signal.SIGUSR1}
    job = "4700_3" if script == "sweep_array.sh" else "4711"
    assert cluster.read("scontrol.txt") == [f"requeue Incomplete {job}"]


@pytest.mark.parametrize("script", SLURM)
def test_scancel_ends_a_job_for_good(script, cluster):
    process = cluster.start_waiting(script, 1)
    os.killpg(process.pid, signal.SIGTERM)  # Slurm tells all processes of a batch script
    assert process.wait(timeout=20) != 0
    assert cluster.read("scontrol.txt") == []


@pytest.mark.parametrize("script", SLURM)
def test_errors_are_handed_on_and_not_tried_again(script, cluster):
    assert cluster.run(script, CODE="2") == 2
    assert cluster.read("scontrol.txt") == []


def test_a_sweep_gives_every_network_every_seed(cluster):
    for task in range(6):
        assert cluster.run("sweep_array.sh", SLURM_ARRAY_TASK_ID=str(task)) == 0
    runs = {(f["config"], f["config.seed"], f["workdir"]) for f in map(flags_of, cluster.trainings)}
    assert len(runs) == 6 and len({workdir for *_, workdir in runs}) == 6
    assert {seed for _, seed, _ in runs} == {"0", "1"}


def test_a_task_beyond_the_sweep_trains_nothing(cluster):
    assert cluster.run("sweep_array.sh", SLURM_ARRAY_TASK_ID="6") != 0
    assert not cluster.trainings


def test_tasks_of_an_array_share_the_pictures(cluster):
    for task in ("1", "2"):
        array = {"SLURM_ARRAY_TASK_ID": task, "SLURM_ARRAY_TASK_COUNT": "2"}
        assert cluster.run("predict_array.sh", **array) == 0
    assert [flags_of(note)["shard"] for note in cluster.processes] == ["1/2", "2/2"]


def test_tasks_that_are_started_again_alone_keep_their_part(cluster):
    array = {"SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_TASK_COUNT": "1"}
    assert cluster.run("predict_array.sh", PARTS="16", **array) == 0
    assert [flags_of(note)["shard"] for note in cluster.processes] == ["3/16"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_ssh_numbers_the_machines_and_stops_them_all(number, cluster):
    process = cluster.start_waiting("ssh.sh", 3)
    # Ctrl-C and a closed terminal reach its group, which the far processes are not part of.
    if number == signal.SIGTERM:
        process.send_signal(number)
    else:
        os.killpg(process.pid, number)
    code = process.wait(timeout=20)
    if number == signal.SIGHUP:
        wait_until(lambda: cluster.signals)
        assert cluster.signals == {number}
    else:
        assert code == 130 and not cluster.are_running
        assert cluster.signals == {signal.SIGINT}
    found = [flags_of(note) for note in cluster.trainings]
    assert {flags["process_id"] for flags in found} == {"0", "1", "2"}
    assert {(f["coordinator"], f["num_processes"]) for f in found} == {("a:12345", "3")}


def test_ssh_tells_process_0_to_stop_and_then_all(cluster):
    def told() -> list[str]:
        return sorted(line.split()[0] for line in cluster.read("ssh.txt") if "kill -INT" in line)

    process = cluster.start_waiting("ssh.sh", 3, WAIT="2")
    os.killpg(process.pid, signal.SIGINT)
    wait_until(lambda: cluster.signals)
    assert told() == ["a"]
    os.killpg(process.pid, signal.SIGINT)
    wait_until(lambda: len(told()) >= 4)
    assert told() == ["a", "a", "b", "c"]
    process.wait(timeout=20)


def test_ssh_hands_on_the_worst_code(cluster):
    assert cluster.run("ssh.sh", CODE="2") == 2


def test_a_tpu_pod_gets_one_command_on_all_hosts(cluster):
    assert cluster.run("tpu_pod.sh", CODE="2") == 2
    [called] = cluster.read("gcloud.txt")
    assert called.startswith("compute tpus tpu-vm ssh mine --zone=here --worker=all --command=")
    assert len(cluster.trainings) == 2
    for note in cluster.trainings:
        assert "--distributed" in note["words"] and "coordinator" not in flags_of(note)


def test_a_tpu_pod_stops_at_ctrl_c(cluster):
    process = cluster.start_waiting("tpu_pod.sh", 2)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(timeout=20) == 130 and not cluster.are_running
    assert cluster.signals == {signal.SIGINT}


def test_pods_are_numbered_and_find_the_first(cluster, tmp_path):
    [group] = read_jobset()["spec"]["replicatedJobs"]
    job, script = group["template"]["spec"], write_pod(tmp_path)
    assert job["completionMode"] == "Indexed" and job["parallelism"] == job["completions"]
    for index in range(job["completions"]):
        assert cluster.run(script, JOB_COMPLETION_INDEX=str(index)) == 0
    found = [flags_of(note) for note in cluster.trainings]
    assert [int(flags["process_id"]) for flags in found] == list(range(job["completions"]))
    name = read_jobset()["metadata"]["name"]
    host = f"{name}-{group['name']}-0-0.{name}:12345"
    wanted = (host, str(job["completions"]))
    assert {(f["coordinator"], f["num_processes"]) for f in found} == {wanted}


def test_pods_restart_together_and_have_time_to_save(cluster, tmp_path):
    spec = read_jobset()["spec"]
    job = spec["replicatedJobs"][0]["template"]["spec"]
    pod = job["template"]["spec"]
    assert spec["failurePolicy"]["maxRestarts"] > 0 and job["backoffLimit"] == 0
    assert pod["restartPolicy"] == "Never" and pod["terminationGracePeriodSeconds"] >= 120
    # Kubernetes tells the first process of a container, so that has to be the training.
    process = cluster.start_waiting(write_pod(tmp_path), 1, JOB_COMPLETION_INDEX="0")
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=20) == 130
    assert cluster.signals == {signal.SIGTERM}


def test_pods_mount_what_they_read_and_write(cluster, tmp_path):
    assert cluster.run(write_pod(tmp_path), JOB_COMPLETION_INDEX="0") == 0
    pod = read_jobset()["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]
    [container] = pod["containers"]
    mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert set(mounts.values()) == set(volumes)
    [note] = cluster.trainings
    for key in ("workdir", "config.data.source_dir"):
        [volume] = [
            volumes[mounts[path]] for path in mounts if flags_of(note)[key].startswith(path)
        ]
        assert "persistentVolumeClaim" in volume
    assert volumes[mounts["/dev/shm"]]["emptyDir"] == {"medium": "Memory"}
