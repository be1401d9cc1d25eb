"""`config`: each key of an experiment, its value, where the value comes from, and what it means."""

import argparse
import json
import shutil
import sys
import textwrap

from fcn_jax.commands import experiments

HELP = "show every key of an experiment: its value, where that comes from, what it means"
EXAMPLES = """\
python launch.py config --config=camvid_fcn8s
python launch.py config --config=camvid_fcn8s --config.model.upsampling=learned | grep command
python launch.py config --config=camvid_fcn8s --json
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    experiments.add_config_argument(parser)
    parser.add_argument("--json", action="store_true", help="print what config.json would hold")


def run(args: argparse.Namespace) -> None:
    from fcn_jax.train import annotations, sections

    said = args.config.to_dict()
    keys = {section: sections.keys_of_section(section, said) for section in sections.SECTIONS}
    config = {section: {name: said[section][name] for name in keys[section]} for section in keys}
    config["seed"] = said["seed"]
    if args.json:
        print(json.dumps(config, indent=1))
        return
    meanings = {
        f"{section}.{name}": key.meaning for section in keys for name, key in keys[section].items()
    }
    meanings["seed"] = sections.SEED.meaning
    rows = [
        (key, annotations.write(value), args.sources.get(key, "default"), meanings[key])
        for key, value in sections.flatten(config).items()
    ]
    # A pipe has no width: there a key stays on one line, for grep.
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    print(_format(rows, width=width))


def _format(rows: list[tuple[str, str, str, str]], *, width: int | None) -> str:
    key_width, value_width, source_width = (
        max(len(row[column]) for row in rows) for column in range(3)
    )
    value_width = min(value_width, 24)  # a few are longer, and push what follows to the right
    lines, section = [], None
    for key, value, source, meaning in rows:
        if width and (group := key.partition(".")[0]) != section:
            lines += [""] * bool(lines) + [group]
            section = group
        facts = f"{key:{key_width}}  {value:{value_width}}  {source:{source_width}}"
        if not width:
            lines.append(f"{facts}  {meaning}".rstrip())
            continue
        lines.append(f"  {facts.rstrip()}")
        lines += textwrap.wrap(meaning, width, initial_indent=" " * 6, subsequent_indent=" " * 6)
    return "\n".join(lines)
