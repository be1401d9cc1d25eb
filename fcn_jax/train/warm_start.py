"""Where a network begins: at random values, at the stage before, or at imported weights.

What is carried over is found by name. A finer FCN takes everything that the coarser one has; its
new score layers are not there, and stay at the zero that they are initialised with.

Source: voc-fcn16s/solve.py in shelhamer/fcn.berkeleyvision.org, which copies by layer name.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from fcn_jax.data.labels import LabelSet
from fcn_jax.errors import MissingError, UserError
from fcn_jax.models.preprocess import Preprocess, name_preprocess
from fcn_jax.models.zoo import get_model, get_weight_options
from fcn_jax.train import sections
from fcn_jax.train.checkpoint import has_checkpoint
from fcn_jax.train.state import TrainState, init_variables, make_key
from fcn_jax.train.trained import Trained, load
from fcn_jax.weights.network_file import load_weights
from fcn_jax.weights.transplant import SKIPPED, Report, transplant


def init_from(
    state: TrainState,
    model: nn.Module,
    *,
    workdir: str = "",
    step: str = "last",
    weights: str = "",
    skip: tuple[str, ...] = (),
) -> TrainState:
    """Returns a state before the first step with the values that it is to start from.

    Args:
        state: State as the network is initialised; what the source lacks is kept.
        model: Network, which has to read images, and to be laid out, as that of the source.
        workdir: Run folder of the stage before; empty for none.
        step: Checkpoint of that run: `last`, `best` or the number of a step.
        weights: File that `import_weights` or `export_weights` wrote; empty for none.
        skip: Patterns of paths, such as `params/fc8/.*`, that are kept as initialised.

    Raises:
        MissingError: If the source is not there; the message says how to make it.
        UserError: If it is of another network.
    """
    if workdir and weights:
        raise UserError(f"init.workdir={workdir} and init.weights={weights}: give one of them")
    if workdir:
        source = _read_stage(Path(workdir).expanduser(), step)
    elif weights:
        source = _read_weights(weights)
    else:
        return state
    if differing := source.find_differing(model):
        flags = (f"--config.model.{key}={_as_flag(value)}" for key, value in differing.items())
        raise UserError(f"{source.describe(model)}\nset {' '.join(flags)}")
    variables, report = _carry_over(state.variables, source, skip=skip)
    kept = [row.leaf.removeprefix("params/") for row in report.rows if row.action == SKIPPED]
    print(f"init from {source.path}: {report.summary}")
    print(f"kept as initialised: {', '.join(kept) or 'nothing'}")
    return state.replace(params=variables["params"], batch_stats=variables.get("batch_stats", {}))


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
        weights: File that `import_weights` or `export_weights` wrote. How it prepares an image, and
            what else its values depend on, is taken from it; `options` that differ are refused.
        skip: Patterns of paths, such as `params/score_.*`, that are not taken from the file.
        seed: Seed of the random values.
        options: Keys of section `model`, such as `width=0.5` or `norm="frozen"`.

    Raises:
        UserError: If the weights are of another network, or it is not said which classes there are.
    """
    source = _read_weights(str(weights)) if weights is not None else None
    labels = _find_labels(num_classes, labels, source)
    section = sections.resolve_section("model", {"name": name, **options})
    model = get_model(**section, num_classes=labels.num_classes)
    origin = {}
    if source:
        unsaid = {k: v for k, v in source.find_differing(model).items() if k not in options}
        section = sections.resolve_section("model", {**section, **unsaid})
        model = get_model(**section, num_classes=labels.num_classes)
        if said := source.find_differing(model):
            raise UserError(
                f"{source.describe(model)}\nleave {', '.join(said)} out: the file says it"
            )
        origin = {"weights": Path(source.path).name}
    variables = jax.device_get(init_variables(make_key(seed), model))
    if source:
        variables, _ = _carry_over(variables, source, skip=skip)
    return Trained(model, variables, labels, section, origin=origin)


class Source(NamedTuple):
    """Values to begin at, and what they mean.

    Attributes:
        path: Where they were read.
        arrays: Arrays by the paths of a network's variables.
        preprocess: How an image has to be prepared for them.
        requires: Options of the backbone that they depend on.
        labels: Classes that they tell apart; None if the source does not say.
    """

    path: str
    arrays: Mapping[str, np.ndarray]
    preprocess: Preprocess
    requires: Mapping[str, Any]
    labels: LabelSet | None = None

    @classmethod
    def of(cls, trained: Trained, path: str) -> "Source":
        """Makes a source of a trained network."""
        preprocess, requires = trained.model.backbone.preprocess, get_weight_options(trained.model)
        return cls(path, trained.arrays, preprocess, requires, trained.labels)

    def find_differing(self, model: nn.Module) -> dict[str, Any]:
        """Returns the options of `get_model` in which a network differs, as they are here."""
        theirs, ours = self.requires, model.backbone
        differing = {k: v for k, v in theirs.items() if getattr(ours, k, v) != v}
        if not self.preprocess.is_close(ours.preprocess):
            differing["preprocess"] = name_preprocess(self.preprocess)
            if differing["preprocess"] is None:
                raise UserError(f"{self.path} prepares images as no network: {self.preprocess}")
        return differing

    def describe(self, model: nn.Module) -> str:
        """Says in what the values and a network differ."""
        words = [
            f"was trained with {key}={value}, the network has {getattr(model.backbone, key)}"
            for key, value in self.find_differing(model).items()
            if key != "preprocess"
        ]
        if not self.preprocess.is_close(model.backbone.preprocess):
            words.append(
                f"expects images prepared with {self.preprocess}, the network prepares them with "
                f"{model.backbone.preprocess}"
            )
        return f"{self.path} {'; it '.join(words)}"


def _read_stage(workdir: Path, step: str) -> Source:
    if not has_checkpoint(workdir / "checkpoints"):
        # Run folders are called after their experiments, and perhaps their seeds.
        experiment = re.sub(r"[-_.]?seed[-_]?\d+$", "", workdir.name)
        raise MissingError(
            f"init.workdir={workdir} has no checkpoint: train the stage before this one first\n"
            f"python launch.py train --config={experiment} --workdir={workdir}"
        )
    return Source.of(load(workdir, step=step), str(workdir))


def _read_weights(path: str) -> Source:
    if not Path(path).expanduser().exists():
        raise MissingError(
            f"init.weights={path} is not there: make it from a released file, or start at random "
            f"values with --config.init.weights=''\n"
            f"python launch.py import_weights RELEASED_FILE --output={path} --help"
        )
    weights = load_weights(path)
    if weights.model:
        return Source.of(load(path), path)
    mean, std, bgr = (weights.preprocess[key] for key in ("mean_rgb", "std_rgb", "bgr"))
    preprocess = Preprocess(tuple(mean), tuple(std), bgr)
    return Source(path, weights.arrays, preprocess, weights.requires)


def _carry_over(
    variables: Mapping[str, Any], source: Source, *, skip: Sequence[str]
) -> tuple[dict[str, Any], Report]:
    target = flatten_dict(variables, sep="/")
    leaves, report = transplant(target, source.arrays, skip=skip)
    return unflatten_dict({**target, **leaves}, sep="/"), report


def _find_labels(
    num_classes: int | None, labels: LabelSet | Sequence[str] | None, source: Source | None
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


def _as_flag(value: Any) -> str:
    """Writes a value as it is typed on a command line."""
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
