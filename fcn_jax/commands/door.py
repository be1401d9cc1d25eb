"""From a command line to a command, and from an exception to an exit code.

Exit codes: 0 done, 1 what nobody foresaw (with its traceback) or problems that a command was asked
to look for, 2 a mistake of the user's (`UserError`) or a refusal of the system (one or two lines
that start with `error: `; `--debug` adds the traceback), 130 stopped by a signal: the same command
goes on from there.

Command modules are imported only when they run: `list` and `--help` must not wait for jax.
"""

import argparse
import ast
import contextlib
import errno
import importlib
import itertools
import os
import shlex
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path

from ml_collections import ConfigDict

from fcn_jax import __version__
from fcn_jax.commands import experiments
from fcn_jax.errors import UserError, did_you_mean
from fcn_jax.train.output import lossy_output

# The table of commands, in the order of the help. `NAME` is the module `fcn_jax.commands.NAME`.
COMMANDS = (
    "list",
    "config",
    "summary",
    "check_data",
    "prepare",
    "preview",
    "train",
    "predict",
    "evaluate",
    "replay",
    "compare",
    "benchmark",
    "import_weights",
    "export_weights",
    "export",
)

DEFAULT_COMMAND = "train"

PROGRAM = "python launch.py"  # as all texts call it

_COMMANDS_DIR = Path(__file__).resolve().parent

_FREE_SPACE = "free some space (df -h) and give the same command again"
_OTHER_FOLDER = "choose another path, or ask for the right to read and write there"
# What to do about what the system refuses. Files are written beside their place and moved there.
_ADVICE: Mapping[int, str] = {
    errno.ENOSPC: f"what was written before is whole: {_FREE_SPACE}",
    errno.EDQUOT: f"what was written before is whole: {_FREE_SPACE}",
    errno.EFBIG: "what was written before is whole: raise the limit (ulimit -f unlimited), or take "
    "a file system for larger files",
    errno.EROFS: "nothing can be written there: choose another folder",
    errno.EACCES: _OTHER_FOLDER,
    errno.EPERM: _OTHER_FOLDER,
    errno.EMFILE: "raise the limit (ulimit -n 4096) and give the same command again",
    errno.ENFILE: "close other programs and give the same command again",
    errno.ENAMETOOLONG: "choose a shorter path",
    errno.EIO: "what was written before is whole: check the disk, or the network that it is on",
    errno.ENOMEM: "what was written before is whole: close other programs, or take smaller batches",
}
# Libraries that write (tensorstore) put the system's words into errors of their own.
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


def main(argv: Sequence[str], *, experiments_dir: Path, program: str = PROGRAM) -> int:
    """Runs one command line and returns its exit code.

    Args:
        argv: The words after `launch.py`.
        experiments_dir: Folder in which experiment names are looked up.
        program: What the user types to get here; help and answers say it.
    """
    with contextlib.ExitStack() as streams:
        return _answer(list(argv), Path(experiments_dir), program, streams)


def _answer(
    argv: list[str], experiments_dir: Path, program: str, streams: contextlib.ExitStack
) -> int:
    debug = "--debug" in argv
    try:
        code = _run(argv, streams, experiments_dir=experiments_dir, program=program)
        sys.stdout.flush()
        return code
    except SystemExit as exit_:  # argparse, after --help
        return exit_.code if isinstance(exit_.code, int) else int(exit_.code is not None)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader left (`| head`): nobody is there to be told
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:  # noqa: BLE001 (the last stop: it is printed, never lost)
        answer = answer_to(error)
        if answer is None or debug:
            traceback.print_exc()
        if answer is None:
            print(
                "the lines above say where it happened: if that is code of your own, mend it "
                "there; "
                f"if not, it is a bug of fcn_jax {__version__}: please report it with these lines",
                file=sys.stderr,
            )
            return 1
        print(_printable(f"error: {answer}").replace(PROGRAM, program), file=sys.stderr)
        return 2


def answer_to(error: Exception) -> str | None:
    """Returns what to tell the user in a line or two; None for a bug, which wants its traceback."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, OSError) and error.errno is not None:
        names = [str(name) for name in (error.filename, error.filename2) if name is not None]
        said = ": ".join([error.strerror or os.strerror(error.errno), " -> ".join(names)])
        return "\n".join(filter(None, [said.removesuffix(": "), _ADVICE.get(error.errno)]))
    for code in _DISK_FULL:
        if os.strerror(code) in str(error):
            return f"{os.strerror(code)}\n{_ADVICE[code]}"
    if _is_from_backends(error):
        chosen = os.environ.get("JAX_PLATFORMS", "")
        return (
            f"jax finds no device here of what JAX_PLATFORMS={chosen} asks for\n"
            "leave JAX_PLATFORMS out, or install the right jax: "
            "pip install 'jax[cuda12]', 'jax[tpu]'"
        )
    return None


def _printable(text: str) -> str:
    """Spells out what a terminal would obey or could not encode, as names of files may have it."""
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)


def _is_from_backends(error: Exception) -> bool:
    """Says whether jax failed to start the devices that JAX_PLATFORMS asks for."""
    frames = traceback.extract_tb(error.__traceback__)
    in_backends = bool(frames) and Path(frames[-1].filename).name == "xla_bridge.py"
    return in_backends and bool(os.environ.get("JAX_PLATFORMS"))


def _run(
    argv: list[str], streams: contextlib.ExitStack, *, experiments_dir: Path, program: str
) -> int:
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(_overview().replace(PROGRAM, program))
        return 0
    if argv[0].startswith("-"):
        name, words = DEFAULT_COMMAND, argv
    else:
        name, words = argv[0], argv[1:]
    if name not in COMMANDS:
        hint = did_you_mean(name, COMMANDS)
        if name in experiments.experiment_names(experiments_dir):
            hint = f"; did you mean {DEFAULT_COMMAND} --config={name}?"
        raise UserError(f"unknown command {name!r}{hint} (known: {', '.join(COMMANDS)})")

    command = importlib.import_module(f"fcn_jax.commands.{name}")
    if getattr(command, "KEEPS_GOING", False):
        streams.enter_context(lossy_output())
    parser = _make_parser(name, command, program=program)
    words, overrides = experiments.split_overrides(words)
    if overrides and not parser.get_default("takes_config"):
        raise UserError(
            f"{name} takes no experiment: leave --config.{overrides[0][0]} out; see "
            f"{program} {name} --help"
        )
    # A flag that is mistyped explains why another one, which has to be there, is missing.
    flags = {flag for action in parser._actions for flag in action.option_strings}
    given = itertools.takewhile(lambda word: word != "--", words)
    mistyped = [w for w in given if w.startswith("--") and w.partition("=")[0] not in flags]
    if mistyped:
        _refuse(mistyped, name, parser)
    args, unknown = parser.parse_known_intermixed_args(words)
    if unknown:
        _refuse(unknown, name, parser)
    args.command_line = f"{program} {shlex.join(argv)}"
    args.experiments_dir = experiments_dir
    _resolve_config(args, overrides)
    return command.run(args) or 0


def _make_parser(name: str, command, *, program: str = PROGRAM) -> argparse.ArgumentParser:
    parser = _Parser(
        prog=f"{program} {name}",
        description=command.HELP,
        epilog=f"examples:\n{_indented(command.EXAMPLES)}".replace(PROGRAM, program),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,  # `--conf` must not become `--config` and `--config.x` stay unknown
    )
    command.add_arguments(parser)
    for action in parser._actions:
        action.help = action.help and action.help.replace(PROGRAM, program)
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
        key = key if did_you_mean(head, ["config"]) else f"{head}.{key}"
        raise UserError(f"unknown flag {word}; overrides are written --config.{key}=VALUE")
    flags = [flag for action in parser._actions for flag in action.option_strings]
    hint = did_you_mean(word, flags)
    raise UserError(f"unknown flag {word} of {name}{hint}; see {parser.prog} --help")


def _resolve_config(args: argparse.Namespace, overrides: list[tuple[str, str]]):
    """Puts the ConfigDict of `--config` and its overrides in place of the word."""
    chosen = getattr(args, "config", None)
    args.config = args.experiment = args.sources = None
    if chosen is not None:
        path = experiments.find_experiment(chosen, args.experiments_dir)
        experiment = experiments.load_experiment(path, args.experiments_dir)
        config, args.sources = experiments.resolve(experiment, overrides=overrides)
        args.config, args.experiment = ConfigDict(config), experiment.name
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
