"""One file is one command; `door` finds it, parses its flags and answers its errors.

A command module has `HELP` (one line), `EXAMPLES`, `add_arguments(parser)` and `run(args)`, which
returns an exit code or None for 0. One that makes files has `KEEPS_GOING = True`: it goes on when
nobody can take what it prints. `run` finds in `args`, besides the command's own flags:

    config           resolved ConfigDict, or None (see `experiments.add_config_argument`)
    experiment       name of the experiment, or None
    sources          where its values come from, or None (see `experiments.Resolved`)
    command_line     what was typed, quoted for a shell
    experiments_dir  folder of the experiment files
"""
