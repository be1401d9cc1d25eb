"""Where a network begins: at random values, at the stage before, or at imported weights.

What is carried over is found by name. A finer FCN takes everything that the coarser one has; its
new score layers are not there, and stay at the zero that they are initialised with.

Source: voc-fcn16s/solve.py in shelhamer/fcn.berkeleyvision.org, which copies by layer name.
"""

import math
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from fcn_jax.atomic_file import local_path
from fcn_jax.data.labels import LabelSet
from fcn_jax.errors import MissingError, UserError
from fcn_jax.models.preprocess import Preprocess, name_preprocess
from fcn_jax.models.zoo import MODELS, get_model, get_weight_options
from fcn_jax.ops.upsample import bilinear_kernel
from fcn_jax.train import sections
from fcn_jax.train.checkpoint import has_checkpoint
from fcn_jax.train.run_data import find_difference
from fcn_jax.train.run_folder import RunFolder
from fcn_jax.train.state import TrainState, init_variables, make_key
from fcn_jax.train.trained import Trained, load
from fcn_jax.weights.axes import format_layers, format_names
from fcn_jax.weights.naming import TITLES
from fcn_jax.weights.network_file import load_weights
from fcn_jax.weights.transplant import SKIPPED, UNUSED, Report, transplant

# Leaves whose meaning depends on an option of the head: a skip's kernel on `skip_scales`, that of a
# learned upsampling on `upsampling`.
SCORED_SKIP = r"params/score_(?!fr/)\w+/kernel"
UPSCORE = r"params/upscore\w*/kernel"


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
        weights: File that `import_weights` or `export_weights` wrote; empty for none.
        skip: Patterns of paths, such as `params/fc8/.*`, that are kept as initialised.

    Raises:
        MissingError: If the source is not there; the message says how to make it.
        UserError: If it is of another network.
    """
    check_source(workdir=workdir, weights=weights)
    if workdir:
        source = _read_stage(local_path(workdir), step)
    elif weights:
        source = _read_weights(weights)
    else:
        if model.backbone.norm and model.backbone.norm.frozen:
            print(
                "model.norm=frozen, but no init.weights and no init.workdir: the statistics are 0 "
                "and 1, of no images, and stay so; model.norm=batch measures them",
                file=sys.stderr,
            )
        return state
    source.check_network(model)
    if differing := source.find_differing(model, skip=skip):
        flags = (sections.as_flag(f"model.{key}", value) for key, value in differing.items())
        raise UserError(f"{source.describe(model, skip=skip)}\nset {' '.join(flags)}")
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
            f"python launch.py train --config={experiment} --workdir={workdir}"
        )
    if weights and not local_path(weights).exists():
        raise MissingError(
            f"init.weights={weights} is not there: make it from a released file, or start at "
            "random values with --config.init.weights=''\n"
            f"python launch.py import_weights RELEASED_FILE --output={weights} --help"
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
        weights: File that `import_weights` or `export_weights` wrote. How it prepares an image, and
            what else its values depend on, is taken from it; `options` that differ are refused.
        skip: Patterns of paths, such as `params/score_.*`, that are not taken from the file.
        seed: Seed of the random values.
        options: Keys of section `model`, such as `width=0.5` or `norm="frozen"`.

    Raises:
        UserError: If the weights are of another network, or it is not said which classes there are.
    """
    check_source(weights=str(weights or ""))
    source = _read_weights(str(weights)) if weights is not None else None
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


class Source(NamedTuple):
    """Values to begin at, and what they mean.

    Attributes:
        path: Where they were read.
        network: Name of the backbone.
        arrays: Arrays by the paths of a network's variables.
        preprocess: How an image has to be prepared for them.
        requires: Options of the network that they depend on.
        labels: Classes that they tell apart; None if the source does not say.
    """

    path: str
    network: str
    arrays: Mapping[str, np.ndarray]
    preprocess: Preprocess
    requires: Mapping[str, Any]
    labels: LabelSet | None = None

    @classmethod
    def of(cls, trained: Trained, path: str) -> "Source":
        """Makes a source of a trained network."""
        backbone, requires = trained.model.backbone, get_weight_options(trained.model)
        return cls(
            path,
            backbone.weights_name,
            trained.arrays,
            backbone.preprocess,
            requires,
            trained.labels,
        )

    def check_network(self, model: nn.Module) -> None:
        """Raises UserError unless the network has the backbone that the values are of."""
        ours = model.backbone.weights_name
        if self.network != ours:
            fitting = [name for name in MODELS if name.partition("_")[0] == self.network]
            raise UserError(
                f"{self.path} holds {TITLES.get(self.network, self.network)}, the network is on "
                f"{TITLES.get(ours, ours)}\ntake weights of {TITLES.get(ours, ours)}, or another "
                f"network: --config.model.name={format_names(fitting)}"
            )

    def find_differing(self, model: nn.Module, *, skip: Sequence[str] = ()) -> dict[str, Any]:
        """Returns the options of `get_model` in which a network differs, as they are here.

        Args:
            model: Network that is to have the values.
            skip: Patterns of paths that are not taken; an option that matters to nothing else is
                not looked at.
        """
        theirs, ours = self.requires, model.backbone
        differing = {k: v for k, v in theirs.items() if getattr(ours, k, v) != v}
        taken = {path for path in self.arrays if not any(re.fullmatch(p, path) for p in skip)}
        if self.scales_differ(model, taken):
            differing["skip_scales"] = theirs.get("skip_scales", ())
        if getattr(model, "upsampling", "") == "bilinear" and self.find_learned(model, taken):
            differing["upsampling"] = "learned"
        if not self.preprocess.is_close(ours.preprocess):
            differing["preprocess"] = name_preprocess(self.preprocess)
            if differing["preprocess"] is None:
                raise UserError(f"{self.path} prepares images as no network: {self.preprocess}")
        return differing

    def check_classes(
        self,
        model: nn.Module,
        labels: LabelSet,
        *,
        skip: Sequence[str],
        as_option: Callable[[tuple[str, ...]], str],
    ) -> None:
        """Refuses layers that would be taken though they tell other classes apart.

        They are those whose shapes depend on the number of classes.

        Args:
            model: Network that is to have the values.
            labels: Its classes.
            skip: Patterns of paths that are not taken.
            as_option: Writes patterns as the user gives them.

        Raises:
            UserError: If there are such layers, and the source says which classes it has.
        """
        if self.labels is None or self.labels.names == labels.names:
            return
        here, more = (
            list_shapes(net) for net in (model, model.clone(num_classes=model.num_classes + 1))
        )
        misnamed = {
            re.escape(path.rpartition("/")[0]) + "/.*"
            for path, array in self.arrays.items()
            if path in here
            and here[path] == array.shape != more[path]
            and not any(re.fullmatch(pattern, path) for pattern in skip)
        }
        if misnamed:
            difference = find_difference(
                self.labels.names, labels.names, there=self.path, here="this network"
            )
            raise UserError(
                f"{difference}: the layers that depend on the classes would mean others\n"
                f"leave them out with {as_option((*skip, *sorted(misnamed)))}, or give the same "
                "classes in the same order"
            )

    def scales_differ(self, model: nn.Module, taken: AbstractSet[str]) -> bool:
        """Says whether a network scores scaled features by kernels that are for others.

        Skips go from coarse to fine, so that the first of both sides are the same.
        """
        scored = [path for path in taken if re.fullmatch(SCORED_SKIP, path)]
        theirs = self.requires.get("skip_scales") or (1.0,) * len(scored)
        ours = getattr(model, "skip_scales", ()) or (1.0,) * len(getattr(model, "skips", ()))
        pairs = zip(theirs, ours, strict=False)
        return bool(scored) and not all(math.isclose(*pair, rel_tol=1e-5) for pair in pairs)

    def find_learned(self, model: nn.Module, taken: AbstractSet[str]) -> list[str]:
        """Finds kernels that are not those of a network's fixed upsampling at the same places."""
        kernels = [path for path in taken if re.fullmatch(UPSCORE, path)]
        if not kernels:
            return []
        places = list_shapes(model.clone(upsampling="learned"))
        return [
            path
            for path in kernels
            if path in places and not is_bilinear(self.arrays[path], places[path])
        ]

    def describe(self, model: nn.Module, *, skip: Sequence[str] = ()) -> str:
        """Says in what the values and a network differ."""
        differing = self.find_differing(model, skip=skip)
        words = [
            f"was trained with {key}={value}, the network has {_get_option(model, key)}"
            for key, value in differing.items()
            if key not in ("preprocess", "upsampling")
        ]
        if "upsampling" in differing:
            words.append("holds upsampling kernels that are not the network's fixed bilinear ones")
        if not self.preprocess.is_close(model.backbone.preprocess):
            words.append(
                f"expects images prepared with {self.preprocess}, the network prepares them with "
                f"{model.backbone.preprocess}"
            )
        return f"{self.path} {'; it '.join(words)}"


def list_shapes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    """Lists the shapes of a network's variables by path; computes none."""
    images = jax.ShapeDtypeStruct((1, 64, 64, 3), np.float32)
    shapes = jax.eval_shape(partial(model.init, train=False), make_key(0), images)
    return {path: leaf.shape for path, leaf in flatten_dict(shapes, sep="/").items()}


def is_bilinear(kernel: np.ndarray, shape: tuple[int, ...]) -> bool:
    """Says whether a kernel is, to 1e-4, the fixed one of a layer whose kernel has this shape."""
    if kernel.shape != shape:
        return False
    taps = bilinear_kernel(shape[0])
    fixed = np.einsum("y,x,io->yxio", taps, taps, np.eye(shape[2]))
    return np.allclose(kernel, fixed, rtol=0, atol=1e-4)


def _get_option(model: nn.Module, option: str) -> Any:
    return getattr(model if hasattr(model, option) else model.backbone, option)


def _read_stage(workdir: Path, step: str) -> Source:
    run = RunFolder(workdir)
    labels, num_classes = run.find_labels(), run.read_run().get("num_classes")
    if labels is None and num_classes:  # an old run, which says no more
        numbered = LabelSet.in_voc_colors(list(map(str, range(num_classes))))
        return Source.of(load(workdir, step=step, labels=numbered), str(workdir))._replace(
            labels=None
        )
    return Source.of(load(workdir, step=step), str(workdir))


def _read_weights(path: str) -> Source:
    weights = load_weights(path)
    if weights.model:
        return Source.of(load(path), path)
    mean, std, bgr = (weights.preprocess[key] for key in ("mean_rgb", "std_rgb", "bgr"))
    preprocess = Preprocess(tuple(mean), tuple(std), bgr)
    return Source(path, weights.network, weights.arrays, preprocess, weights.requires)


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
