"""The flags of commands that run a trained network: which one, and how it looks at pictures."""

import argparse
import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fcn_jax.atomic_file import local_path
from fcn_jax.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from fcn_jax.train.trained import Trained

PUBLISHED_CRF = "published"


def add_network_arguments(parser: argparse.ArgumentParser, *, default_step: str) -> None:
    """Adds the flags that name a trained network."""
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--workdir", metavar="FOLDER", help="a run folder")
    which.add_argument("--network", metavar="FILE", help="a .safetensors file of export_weights")
    parser.add_argument(
        "--step",
        metavar="WHICH",
        help=f"of the run folder: best, last or a number ({default_step})",
    )
    parser.set_defaults(default_step=default_step)


def load_network(args: argparse.Namespace) -> "Trained":
    """Loads the network that the flags name."""
    from fcn_jax.train.trained import load

    if args.network is None:
        return load(args.workdir, step=args.step or args.default_step)
    check_network(args)
    return load(args.network)


def check_network(args: argparse.Namespace) -> None:
    """Raises UserError unless `--network` can be a file of a network."""
    if args.step:
        raise UserError("--step is of a run folder: leave it out, or give --workdir")
    if local_path(args.network).is_dir():
        raise UserError(f"{args.network} is a folder: a run folder is given as --workdir")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags that say how pictures are looked at."""
    group = parser.add_argument_group("how pictures are looked at")
    group.add_argument(
        "--scales", metavar="LIST", help="sizes that are averaged, such as 0.75,1,1.25 (1)"
    )
    group.add_argument(
        "--flip", action="store_true", help="average with what is seen of the mirrored picture"
    )
    group.add_argument(
        "--max_size",
        type=int,
        metavar="PIXELS",
        help="shrink pictures with a longer side to this for the network; outputs keep their size",
    )
    group.add_argument(
        "--window",
        type=int,
        metavar="PIXELS",
        help="cut pictures with a longer side into windows (of 1024, beyond 2048x2048 pixels)",
    )
    group.add_argument(
        "--canvas",
        type=int,
        metavar="PIXELS",
        help="see each picture with this longer side on a square of it that counts as image, as "
        "DeepLab's releases for TensorFlow do (513)",
    )
    group.add_argument(
        "--crf",
        nargs="?",
        const=PUBLISHED_CRF,
        metavar="KEY=VALUE,...",
        help="DeepLab's fully connected CRF behind the network, with its published parameters or "
        "others: bi_w, bi_xy_std, bi_rgb_std, pos_w, pos_xy_std, num_iterations, normalization",
    )


def read_looks(args: argparse.Namespace) -> dict[str, Any]:
    """Returns the keywords of `Inference` that the flags say, without those of their default."""
    looks: dict[str, Any] = {}
    if args.scales:
        try:
            looks["scales"] = tuple(float(word) for word in args.scales.split(","))
        except ValueError:
            raise UserError(f"--scales={args.scales} must be numbers such as 0.75,1,1.25") from None
    if args.flip:
        looks["flip"] = True
    for name in ("max_size", "window", "canvas"):
        if getattr(args, name) is not None:
            looks[name] = getattr(args, name)
    return looks


def read_crf(args: argparse.Namespace) -> dict[str, Any] | None:
    """Returns the keywords of `dense_crf` that `--crf` says; None without that flag."""
    from fcn_jax.ops.dense_crf import check_parameters

    if args.crf is None:
        return None
    known = _list_crf_parameters()
    said: dict[str, Any] = {}
    for word in () if args.crf == PUBLISHED_CRF else args.crf.split(","):
        key, equals, value = word.partition("=")
        if not equals:
            raise UserError(
                f"--crf={args.crf} must be KEY=VALUE,...; what follows --crf is taken for that: "
                f"write --crf={PUBLISHED_CRF} for the published parameters"
            )
        if key not in known:
            raise UserError(
                f"--crf: there is no {key!r}{did_you_mean(key, known)} (KEY=VALUE,..., of "
                f"{', '.join(known)})"
            )
        try:
            said[key] = type(known[key])(value)
        except ValueError:
            raise UserError(f"--crf: {key}={value} must be like {known[key]}") from None
    check_parameters(**{**known, **said})
    return said


def format_crf(parameters: Mapping[str, Any]) -> str:
    """Writes keywords of `dense_crf` as `--crf` takes them, less those that are published."""
    known = _list_crf_parameters()
    return ",".join(
        f"{key}={format_value(value)}" for key, value in parameters.items() if value != known[key]
    )


def format_value(value: Any) -> str:
    """Writes a value of a flag."""
    if isinstance(value, tuple):
        return ",".join(map(format_value, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _list_crf_parameters() -> dict[str, Any]:
    from fcn_jax.ops.dense_crf import dense_crf

    parameters = inspect.signature(dense_crf).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}
