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
    "list --config.seed=3": "list takes no experiment: --config.seed is refused",
    "list --config=camvid_fcn8s": "unknown flag --config of list",
    "--config=camvid_fcn8": "unknown experiment 'camvid_fcn8'; nearest: camvid_fcn8s",
    "--config=no/such/file.py": "unknown experiment 'no/such/file.py'",
    "--config=camvid_fcn8s --config.train.num_step=3": "did you mean train.num_steps? (known in "
    "train: batch_size, num_steps)",
    "--config=camvid_fcn8s --config.num_steps=3": "did you mean train.num_steps?",
    "--config=camvid_fcn8s --config.trian.num_steps=3": "did you mean train.num_steps? (known: ",
    "--config=camvid_fcn8s --config.seed.x=3": "unknown key seed.x in experiment camvid_fcn8s",
    "--config=camvid_fcn8s --config.train=3": "train is a section of experiment camvid_fcn8s; "
    "override one of its keys: train.batch_size, train.num_steps",
    "--config=camvid_fcn8s --config.train.num_steps=many": "train.num_steps=many does not fit: "
    "wanted a whole number; experiment camvid_fcn8s has 2000",
}


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


USERS = {
    "raise ValueError('no such split')": "error: no such split\n",
    "raise FileNotFoundError('put it in data/')": "error: put it in data/\n",
    "open('/no/such/file')": "error: No such file or directory: /no/such/file\n",
    "from pathlib import Path\nPath('/no/such/file').read_text()": "error: No such file or "
    "directory: /no/such/file\n",
    "try:\n  raise ValueError(\n    'long')\nfinally:\n  print(end='')": "error: long\n",
    "def make_optimizer(*, power): pass\nmake_optimizer(**{'pwer': 1})": "unexpected keyword "
    "argument 'pwer'",
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
        "raise KeyError('x')",
    ],
)
def test_bug_keeps_its_traceback(source, launch, train_calls, monkeypatch):
    monkeypatch.setattr(sys.modules["fcn_jax.commands.train"], "run", fail(source))
    code, _, err = launch("--config=camvid_fcn8s")
    assert code == 1
    assert err.startswith("Traceback")


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
