"""Values to begin at, and whether they mean in a network what they meant where they are from."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np
from flax.traverse_util import flatten_dict

from fcn_jax.data.labels import LabelSet
from fcn_jax.errors import UserError
from fcn_jax.models.preprocess import Preprocess, name_preprocess
from fcn_jax.models.zoo import MODELS, get_weight_options
from fcn_jax.ops.upsample import bilinear_kernel
from fcn_jax.train.run_data import find_difference
from fcn_jax.train.run_folder import RunFolder
from fcn_jax.train.state import make_key
from fcn_jax.train.trained import Trained, load
from fcn_jax.weights.axes import format_names
from fcn_jax.weights.backbone_names import TITLES
from fcn_jax.weights.importer import import_weights
from fcn_jax.weights.network_file import load_weights, read_preprocess, read_requires
from fcn_jax.weights.sources import PACKAGES, find_package_file

# Leaves whose meaning depends on an option of the head: a skip's kernel on `skip_scales`, that of a
# learned upsampling on `upsampling`.
SCORED_SKIP = r"params/score_(?!fr/)\w+/kernel"
UPSCORE = r"params/upscore\w*/kernel"


class Pretrained(NamedTuple):
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
    def of(cls, trained: Trained, path: str) -> "Pretrained":
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
                raise UserError(
                    f"{self.path} expects images prepared as no network here does: "
                    f"{self.preprocess}; "
                    "import it anew, with --preprocess"
                )
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


def read_stage(workdir: Path, step: str) -> Pretrained:
    """Reads a checkpoint of a run: `last`, `best` or the number of a step."""
    run = RunFolder(workdir)
    labels, num_classes = run.find_labels(), run.read_run().get("num_classes")
    if labels is None and num_classes:  # an old run, which says no more
        numbered = LabelSet.in_voc_colors(list(map(str, range(num_classes))))
        return Pretrained.of(load(workdir, step=step, labels=numbered), str(workdir))._replace(
            labels=None
        )
    return Pretrained.of(load(workdir, step=step), str(workdir))


def read_weights(path: str) -> Pretrained:
    """Reads a file that `import_weights` or `export_weights` wrote, or that of a package.

    Args:
        path: Path of the file; or one of `weights.sources.PACKAGES`.
    """
    if path in PACKAGES:
        package = PACKAGES[path]
        arrays, metadata, _ = import_weights(find_package_file(path), package.network)
        preprocess = _make_preprocess(read_preprocess(metadata["preprocess"]))
        requires = read_requires(metadata["requires"])
        return Pretrained(path, package.network, arrays, preprocess, requires)
    weights = load_weights(path)
    if weights.model:
        return Pretrained.of(load(path), path)
    preprocess = _make_preprocess(weights.preprocess)
    return Pretrained(path, weights.network, weights.arrays, preprocess, weights.requires)


def _make_preprocess(values: Mapping[str, Any]) -> Preprocess:
    return Preprocess(tuple(values["mean_rgb"]), tuple(values["std_rgb"]), values["bgr"])


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
