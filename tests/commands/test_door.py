"""What the door does with words, and with exceptions."""

import subprocess
import sys
from pathlib import Path

import pytest

from fcn_jax.commands import door

ROOT = Path(door.__file__).resolve().parents[2]


def run_python(*words, cwd=None):
    command = [sys.executable, *words]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, check=False)


MISTAKES = {
    "trian": "unknown command 'trian'; did you mean train?",
    "camvid_fcn8s": "did you mean train --config=camvid_fcn8s?",
    "train": "required: --config",
    "--workdir=runs/a list": "required: --config",
    "--config=camvid_fcn8s list": "the command goes first: python launch.py list",
    "--config=camvid_fcn8s surprise": "train does not know what to do with 'surprise'",
    "--config=camvid_fcn8s --wrkdir=a": "unknown flag --wrkdir of train; did you mean --workdir?",
    "--config=camvid_fcn8s --workd=a": "unknown flag --workd of train; did you mean --workdir?",
    "--config=camvid_fcn8s --train.num_steps=3": "written --config.train.num_steps=VALUE",
    "--config=camvid_fcn8s --confg.train.num_steps=3": "written --config.train.num_steps=VALUE",
    "--config=camvid_fcn8s --config.train.num_steps": "--config.train.num_steps needs a value",
    "--config.train.num_steps --config=camvid_fcn8s": "--config.train.num_steps needs a value",
    "list --config.seed=3": "list takes no experiment: leave --config.seed out; see",
    "list --config=camvid_fcn8s": "unknown flag --config of list",
    "--config=camvid_fcn8": "unknown experiment 'camvid_fcn8'; nearest: camvid_fcn8s",
    "--config=no/such/file.py": "unknown experiment 'no/such/file.py'",
    "--config=camvid_fcn8s --config.train.num_step=3": "did you mean train.num_steps? (known in "
    "train: split, num_steps, batch_size, ",
    "--config=camvid_fcn8s --config.optim.lr=3": "did you mean optim.learning_rate? (known in "
    "optim",
    "--config=camvid_fcn8s --config.lr=3": "did you mean optim.learning_rate? (known: data, ",
    "--config=camvid_fcn8s --config.train.batch=3": "did you mean train.batch_size?",
    "--config=camvid_fcn8s --config.optimizer.lr=3": "did you mean optim.learning_rate?",
    "--config=camvid_fcn8s --config.steps=3": "did you mean train.num_steps?",
    "--config=camvid_fcn8s --config.augment.fliip=1": "did you mean augment.flip_prob?",
    "--config=camvid_fcn8s --config.widht=1": "did you mean model.width?",
    "--config=camvid_fcn8s --config.model.dilation=3": "unknown key model.dilation in experiment "
    "camvid_fcn8s: vgg16_fcn8s takes no rates; vgg16_deeplab_msc, ",
    "--config=camvid_fcn8s --config.model.zzz=3": "unknown key model.zzz in experiment camvid_fcn8s"
    " (known in model of vgg16_fcn8s: name, ",
    "--config=camvid_fcn8s --config.data.val_frac=0.1": "camvid takes no val_frac; custom does",
    "--config=camvid_fcn8s --config.data.mask_key=a": "takes no mask_key; tfds:NAME does (known in",
    "--config=camvid_fcn8s --config.model.fc6_kernal=3": "did you mean model.fc6_kernel? (known in "
    "model of vgg16_fcn8s: name, ",
    "--config=camvid_fcn8s --config.model.name=vgg16_fcn7s": "unknown model.name 'vgg16_fcn7s'",
    "--config=camvid_fcn8s --config.data.name=camvit": "unknown data set 'camvit'",
    "--config=camvid_fcn8s --config.num_steps=3": "did you mean train.num_steps?",
    "--config=camvid_fcn8s --config.trian.num_steps=3": "did you mean train.num_steps? (known: ",
    "--config=camvid_fcn8s --config.seed.x=3": "unknown key seed.x in experiment camvid_fcn8s",
    "--config=camvid_fcn8s --config.train=3": "train is a section of experiment camvid_fcn8s; "
    "override one of its keys: train.split, train.num_steps, train.batch_size",
    "--config=camvid_fcn8s --config.train.num_steps=many": "train.num_steps=many does not fit: "
    "wanted a whole number; experiment camvid_fcn8s has 2000",
    "--config=camvid_fcn8s --config.eval.boundary_px=near": "eval.boundary_px=near does not fit: "
    "wanted a whole number; the default is 5",
    "--config=camvid_fcn8s --config.train.normalize=perhaps": "train.normalize=perhaps does not "
    "fit: wanted true or false",
}


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (("train", "--config=camvid_fcn8s", "--workdr=a"), "--workdir"),
        (("compare", "runs/a", "--outptu=b"), "--output"),
        (("import_weights", "a.npz", "--netwrok=vgg16"), "--network"),
    ],
)
def test_a_mistyped_flag_is_told_before_one_that_is_missing(words, hint, launch):
    code, _, err = launch(*words)
    assert code == 2 and f"unknown flag {words[-1].split('=')[0]} of {words[0]}" in err
    assert f"did you mean {hint}?" in err


@pytest.mark.parametrize("line", MISTAKES)
def test_mistake_is_answered_in_a_line_or_two(line, launch, train_calls):
    code, out, err = launch(*line.split())
    assert code == 2
    assert MISTAKES[line] in err
    assert err.startswith("error: ")
    assert len(err.splitlines()) <= 2
    assert out == ""
    assert train_calls == []


def test_without_a_command_train_is_meant(launch, train_calls):
    code, _, err = launch("--config=camvid_fcn8s", "--workdir=my runs/a", "--config.seed=3")
    (args,) = train_calls
    assert (code, err) == (0, "")
    assert args.experiment == "camvid_fcn8s"
    assert args.workdir == "my runs/a"
    assert args.config.seed == 3
    words = "--config=camvid_fcn8s '--workdir=my runs/a' --config.seed=3"
    assert args.command_line == f"python launch.py {words}"


def test_exit_code_is_the_commands_own(launch, train_calls, monkeypatch):
    monkeypatch.setattr(sys.modules["fcn_jax.commands.train"], "run", lambda args: 3)
    assert launch("--config=camvid_fcn8s")[0] == 3


def test_help_of_a_command_shows_its_flags_and_examples(launch, train_calls):
    code, out, _ = launch("train", "--help")
    assert code == 0
    assert "--workdir" in out
    assert "--config.SECTION.KEY=VALUE" in out
    assert "python launch.py train --config=a" in out


def fail(source: str):
    """Makes a command that fails in a line of code that looks like one of the package."""
    code = compile(source, str(ROOT / "fcn_jax" / "train" / "made_up.py"), "exec")

    def run(args):
        exec(code, {})  # noqa: S102 (the file name is what the door looks at)

    return run


ERRORS = "from fcn_jax.errors import MissingError, UserError\n"
USERS = {
    f"{ERRORS}raise UserError('no such split')": "error: no such split\n",
    f"{ERRORS}raise MissingError('put it in data/')": "error: put it in data/\n",
    f"{ERRORS}def f(message): raise UserError(message)\nf('from below')": "error: from below\n",
    "open('/no/such/file')": "error: No such file or directory: /no/such/file\n",
    "from pathlib import Path\nPath('/no/such/file').read_text()": "error: No such file or "
    "directory: /no/such/file\n",
    f"{ERRORS}try:\n  raise UserError(\n    'long')\nfinally:\n  print(end='')": "error: long\n",
}


@pytest.mark.parametrize("source", USERS)
def test_users_mistake_inside_a_command_has_no_traceback(source, launch, train_calls, monkeypatch):
    monkeypatch.setattr(sys.modules["fcn_jax.commands.train"], "run", fail(source))
    code, _, err = launch("--config=camvid_fcn8s")
    assert code == 2
    assert USERS[source] in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    "source",
    [
        "int('x')",
        "a, b = [1]",
        "import json; json.loads('x')",
        "import numpy; numpy.zeros(3).reshape(4)",
        "def f(*, power): pass\nf(pwer=1)",
        "def f(*, power): pass\nf(**{'pwer': 1})",
        "raise ValueError('of a library')",
        "raise FileNotFoundError('without a number')",
        "raise RuntimeError('Unable to go on')",
        "raise KeyError('x')",
    ],
)
def test_bug_keeps_its_traceback(source, launch, train_calls, monkeypatch):
    monkeypatch.setattr(sys.modules["fcn_jax.commands.train"], "run", fail(source))
    code, _, err = launch("--config=camvid_fcn8s")
    assert code == 1
    assert err.startswith("Traceback")
    assert "a bug of fcn_jax" in err.splitlines()[-1]


REFUSALS = {
    "ENOSPC": "No space left on device: runs/a/eval.json\nwhat was written before is whole: free",
    "EDQUOT": "isk quota exceeded: runs/a/eval.json\nwhat was written before is whole: free",
    "EROFS": "Read-only file system: runs/a/eval.json\nnothing can be written there: choose "
    "another",
    "EACCES": "Permission denied: runs/a/eval.json\nchoose another path, or ask for the right",
    "EMFILE": "Too many open files: runs/a/eval.json\nraise the limit (ulimit -n 4096)",
    "ENAMETOOLONG": "File name too long: runs/a/eval.json\nchoose a shorter path",
    "EIO": "Input/output error: runs/a/eval.json\nwhat was written before is whole: check the disk",
    "ETIMEDOUT": "Connection timed out: runs/a/eval.json\n",
}


@pytest.mark.parametrize("name", REFUSALS)
def test_what_the_system_refuses_is_told_with_what_to_do(name, launch, train_calls, monkeypatch):
    source = (
        f"import errno, os\nn = errno.{name}\nraise OSError(n, os.strerror(n), 'runs/a/eval.json')"
    )
    monkeypatch.setattr(sys.modules["fcn_jax.commands.train"], "run", fail(source))
    code, _, err = launch("--config=camvid_fcn8s")
    assert code == 2
    assert err.startswith("error: ") and REFUSALS[name] in err
    assert len(err.splitlines()) <= 2
    assert launch("--config=camvid_fcn8s", "--debug")[2].startswith("Traceback")


def test_full_disk_is_told_when_a_library_says_it_in_its_own_error(
    launch, train_calls, monkeypatch
):
    # As tensorstore does, which writes the checkpoints.
    source = "raise ValueError('RESOURCE_EXHAUSTED: write: No space left on device [28]')"
    monkeypatch.setattr(sys.modules["fcn_jax.commands.train"], "run", fail(source))
    code, _, err = launch("--config=camvid_fcn8s")
    assert (code, len(err.splitlines())) == (2, 2)
    assert err.startswith("error: No space left on device\nwhat was written before is whole")


@pytest.mark.parametrize("platform", ["cuda", "bogus"])
def test_platform_that_is_not_there_is_told(platform, monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", platform)
    source = (
        "import sys; from fcn_jax.commands import door;"
        "import jax; door._run = lambda *words, **options: jax.devices();"
        "sys.exit(door.main([], experiments_dir='.'))"
    )
    done = run_python("-c", source, cwd=ROOT)
    assert done.returncode == 2, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert lines == [f"error: jax finds no device here of what JAX_PLATFORMS={platform} asks for"]
    assert "Traceback" not in done.stderr


def test_installed_program_is_called_by_its_own_name(experiments_dir, train_calls, capsys):
    def launch(*words):
        return door.main(list(words), experiments_dir=experiments_dir, program="fcn_jax")

    assert launch("--config=camvid_fcn8s") == 0
    assert train_calls[0].command_line == "fcn_jax --config=camvid_fcn8s"
    assert launch("--help") == launch("train", "--help") == 0
    assert launch("train") == launch("--config=camvid_fcn9") == 2
    out, err = capsys.readouterr()
    assert "fcn_jax train --config=a" in out and "All names: fcn_jax list" in err
    assert "launch.py" not in out + err


def test_debug_shows_the_traceback_of_a_mistake(launch, train_calls):
    code, _, err = launch("--config=camvid_fcn8s", "--debug", "--config.train.num_step=3")
    assert code == 2
    assert err.startswith("Traceback")
    assert err.splitlines()[-1].startswith("error: unknown key train.num_step")


def test_interruption_is_one_line_and_130(launch, train_calls, monkeypatch):
    run = fail("raise KeyboardInterrupt")
    monkeypatch.setattr(sys.modules["fcn_jax.commands.train"], "run", run)
    assert launch("--config=camvid_fcn8s") == (130, "", "interrupted\n")


def test_every_command_of_the_table_keeps_the_contract():
    for name in door.COMMANDS:
        command = door.importlib.import_module(f"fcn_jax.commands.{name}")
        assert door._help_line(name) == command.HELP
        assert "\n" not in command.HELP
        assert f"launch.py {name}" in command.EXAMPLES
        assert callable(command.run)
        door._make_parser(name, command).format_help()  # a stray % in a help text fails here


def test_overview_lists_every_command(launch):
    code, out, _ = launch()
    assert code == 0
    assert all(f"\n  {name} " in out for name in door.COMMANDS)
    assert launch("--help") == (0, out, "")


def test_help_and_list_import_nothing_heavy(experiments_dir):
    source = (
        "import sys; from pathlib import Path; from fcn_jax.commands.door import main;"
        f"codes = [main([word], experiments_dir=Path({str(experiments_dir)!r}))"
        " for word in ('--help', 'list')];"
        "heavy = {'jax', 'flax', 'tensorflow_datasets', 'grain', 'matplotlib'};"
        "print(codes, sorted(heavy & set(sys.modules)))"
    )
    done = run_python("-c", source, cwd=ROOT)
    assert done.stdout.splitlines()[-1] == "[0, 0] []", done.stderr


def test_launch_lists_the_experiments_from_any_folder(tmp_path):
    done = run_python("-P", str(ROOT / "launch.py"), "list", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    names = [p.stem for p in (ROOT / "experiments").glob("*.py") if not p.name.startswith("_")]
    assert names
    assert all(f"  {name} " in done.stdout for name in names)


PRINTS_ONCE = "print('begins', flush=True); import runpy; "


@pytest.mark.parametrize(
    "words",
    [
        ["-c", f"{PRINTS_ONCE}runpy.run_path({str(ROOT / 'launch.py')!r}, run_name='__main__')"],
        ["-m", "pdb", "-c", "p 'begins'", "-c", "c", "-c", "q", str(ROOT / "launch.py"), "list"],
    ],
    ids=["runpy", "pdb"],
)
def test_launch_does_not_start_over_what_only_runs_it(words, monkeypatch):
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    done = run_python(*words, cwd=ROOT)
    assert done.stdout.count("begins") == 1, done.stdout + done.stderr
    assert "camvid_fcn8s" in done.stdout or "usage: " in done.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has huge pages")
@pytest.mark.parametrize("options", [[], ["-P"], ["-X", "dev", "-W", "ignore"]])
def test_launch_starts_itself_over_with_huge_pages(options, tmp_path, monkeypatch):
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    script = tmp_path / "launch.py"
    script.write_text(
        f"import os, sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "from fcn_jax.commands.start import use_huge_pages\n"
        "print('before', flush=True); use_huge_pages(); print(os.environ['GLIBC_TUNABLES'])"
    )
    done = run_python(*options, str(script), "list", cwd=tmp_path)
    assert done.stdout.split() == ["before", "before", "glibc.malloc.hugetlb=1"], done.stderr
    monkeypatch.setenv("GLIBC_TUNABLES", "mine")
    assert run_python(*options, str(script), cwd=tmp_path).stdout.split() == ["before", "mine"]


def test_launch_answers_a_typo(tmp_path):
    done = run_python(str(ROOT / "launch.py"), "evalute", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("error: unknown command 'evalute'; did you mean evaluate?")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("word", ["list", "--help"])  # rich writes the one, print the other
def test_reader_that_leaves_early_is_not_an_error(word, experiments_dir):
    source = (
        "import sys; from pathlib import Path; from fcn_jax.commands.door import main;"
        "sys.stdin.read();"  # until nobody reads what is written below
        f"sys.exit(main([{word!r}], experiments_dir=Path({str(experiments_dir)!r})))"
    )
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", source]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, cwd=ROOT) as writer:
        writer.stdout.close()
        writer.stdin.close()
        assert writer.stderr.read() == b""
