"""From a command line to a command, and from an exception to an exit code.

Exit codes: 0 done, 1 a bug of ours (with its traceback) or problems that a command was asked to
look for, 2 a mistake of the user's (one or two lines that start with `error: `; `--debug` adds the
traceback), 130 interrupted.

Command modules are imported only when they run: `list` and `--help` must not wait for jax.
"""

import argparse
import ast
import dis
import importlib
import os
import shlex
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from fcn_jax.commands import experiments
from fcn_jax.errors import UserError

# The table of commands, in the order of the help. `NAME` is the module `fcn_jax.commands.NAME`.
COMMANDS = (
    "list",
    "summary",
    "check_data",
    "prepare",
    "preview",
    "train",
    "evaluate",
    "compare",
    "benchmark",
    "import_weights",
    "export_weights",
)

DEFAULT_COMMAND = "train"

_COMMANDS_DIR = Path(__file__).resolve().parent
_PACKAGE_DIR = _COMMANDS_DIR.parent
_FILE_ERRORS = (
    FileNotFoundError,
    FileExistsError,
    NotADirectoryError,
    IsADirectoryError,
    PermissionError,
)


def main(argv: Sequence[str], *, experiments_dir: Path) -> int:
    """Runs one command line and returns its exit code.

    Args:
        argv: the words after `launch.py`.
        experiments_dir: where experiment names are looked up.
    """
    debug = "--debug" in argv
    try:
        code = _run(list(argv), experiments_dir=Path(experiments_dir))
        sys.stdout.flush()
        return code
    except SystemExit as exit_:  # argparse, after --help
        return int(exit_.code or 0)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader left (`| head`): nobody is there to be told
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:  # noqa: BLE001 (the last stop: it is printed, never lost)
        if not is_users_mistake(error):
            traceback.print_exc()
            return 1
        if debug:
            traceback.print_exc()
        print(f"error: {_message(error)}", file=sys.stderr)
        return 2


def is_users_mistake(error: BaseException) -> bool:
    """Says whether an exception is an answer to the user, rather than a bug.

    An answer is a ValueError (or a file error) that a `raise` statement of this package made, a
    file error that carries a file name, or the TypeError of a call that unpacks a section of an
    experiment, such as `make_optimizer(**config.optim)`. A ValueError out of a library, or out
    of a slip of our own (`int("")`, `a, b = c`), is a bug and deserves its traceback.
    """
    filename, opname = _origin(error)
    ours = _PACKAGE_DIR in Path(filename).parents
    if isinstance(error, _FILE_ERRORS):
        return error.filename is not None or (ours and opname == "RAISE_VARARGS")
    if isinstance(error, ValueError):
        return ours and opname == "RAISE_VARARGS"
    if isinstance(error, TypeError):
        signature = "unexpected keyword argument" in str(error) or "missing" in str(error)
        return ours and opname == "CALL_FUNCTION_EX" and signature
    return False


def _origin(error: BaseException) -> tuple[str, str]:
    """Returns the source file and the bytecode instruction that an exception came out of."""
    tb = error.__traceback__
    if tb is None:
        return "", ""
    while tb.tb_next is not None:
        tb = tb.tb_next
    code = tb.tb_frame.f_code
    return code.co_filename, dis.opname[code.co_code[tb.tb_lasti]]


def _message(error: BaseException) -> str:
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.strerror}: {error.filename}"
    if isinstance(error, TypeError):
        return f"{error} (a section of an experiment is the keyword arguments of one function)"
    return str(error)


def _run(argv: list[str], *, experiments_dir: Path) -> int:
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(_overview())
        return 0
    if argv[0].startswith("-"):
        name, words = DEFAULT_COMMAND, argv
    else:
        name, words = argv[0], argv[1:]
    if name not in COMMANDS:
        hint = experiments.did_you_mean(name, COMMANDS)
        if name in experiments.experiment_names(experiments_dir):
            hint = f"; did you mean {DEFAULT_COMMAND} --config={name}?"
        raise UserError(f"unknown command {name!r}{hint} (known: {', '.join(COMMANDS)})")

    command = importlib.import_module(f"fcn_jax.commands.{name}")
    parser = _make_parser(name, command)
    words, overrides = experiments.split_overrides(words)
    if overrides and not parser.get_default("takes_config"):
        raise UserError(f"{name} takes no experiment: --config.{overrides[0][0]} is refused")
    args, unknown = parser.parse_known_intermixed_args(words)
    if unknown:
        _refuse(unknown, name, parser)
    args.command_line = shlex.join(["python", "launch.py", *argv])
    args.experiments_dir = experiments_dir
    _resolve_config(args, overrides)
    return command.run(args) or 0


def _make_parser(name: str, command) -> argparse.ArgumentParser:
    parser = _Parser(
        prog=f"python launch.py {name}",
        description=command.HELP,
        epilog=f"examples:\n{_indented(command.EXAMPLES)}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,  # `--conf` must not become `--config` and `--config.x` stay unknown
    )
    command.add_arguments(parser)
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


class _Parser(argparse.ArgumentParser):
    """argparse without the wall of usage in front of an error."""

    def error(self, message: str):
        raise UserError(f"{message}; see {self.prog} --help")


def _refuse(unknown: list[str], name: str, parser: argparse.ArgumentParser):
    word = unknown[0].split("=")[0]
    if word in COMMANDS:
        raise UserError(f"the command goes first: python launch.py {word} ...")
    if not word.startswith("-"):
        raise UserError(f"{name} does not know what to do with {word!r}; see {parser.prog} --help")
    if "." in word:  # --train.num_steps or --cfg.train.num_steps
        head, key = word.lstrip("-").split(".", 1)
        key = key if experiments.did_you_mean(head, ["config"]) else f"{head}.{key}"
        raise UserError(f"unknown flag {word}; overrides are written --config.{key}=VALUE")
    flags = [flag for action in parser._actions for flag in action.option_strings]
    hint = experiments.did_you_mean(word, flags)
    raise UserError(f"unknown flag {word} of {name}{hint}; see {parser.prog} --help")


def _resolve_config(args: argparse.Namespace, overrides: list[tuple[str, str]]):
    """Puts the ConfigDict of `--config` and its overrides in place of the word."""
    chosen = getattr(args, "config", None)
    args.config = args.experiment = None
    if chosen is not None:
        path = experiments.find_experiment(chosen, args.experiments_dir)
        config = experiments.load_recipe(path, args.experiments_dir).config
        experiments.apply_overrides(config, overrides, experiment=path.stem)
        args.config, args.experiment = config, path.stem
    elif overrides:
        raise UserError(f"--config.{overrides[0][0]} needs --config=EXPERIMENT as well")


def _overview() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {_help_line(name)}" for name in COMMANDS]
    return "\n".join(
        [
            "Fully convolutional networks in JAX.",
            "",
            f"usage: python launch.py COMMAND [flags]     (no command means {DEFAULT_COMMAND})",
            "",
            "commands:",
            *lines,
            "",
            "example:",
            "  python launch.py train --config=camvid_fcn8s --workdir=runs/camvid_fcn8s",
            "",
            "python launch.py COMMAND --help shows the flags of a command.",
        ]
    )


def _help_line(name: str) -> str:
    """Reads HELP out of a command's text: importing every command for it would import jax."""
    for node in ast.parse((_COMMANDS_DIR / f"{name}.py").read_text()).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "HELP":
            return ast.literal_eval(node.value)
    raise LookupError(f"fcn_jax/commands/{name}.py has no HELP")


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.strip().splitlines())
