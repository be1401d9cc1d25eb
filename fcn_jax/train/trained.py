"""A trained network: the variables, the network that they belong to, and the classes that it tells.

`load` makes one of a run folder or of a single file, `Trained.save` writes that file. Neither needs
the data set.
"""

import contextlib
import dataclasses
import difflib
import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import scipy.special
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Float, UInt8
from PIL import Image

from fcn_jax.atomic_file import local_path
from fcn_jax.data.batches.transforms import pad_to
from fcn_jax.data.files.pictures import check_opened, read_image_file
from fcn_jax.data.labels import LabelSet
from fcn_jax.errors import MissingError, UserError
from fcn_jax.models.padded import apply_padded
from fcn_jax.models.zoo import MODELS, get_model, get_weight_options
from fcn_jax.train import sections
from fcn_jax.train.checkpoint import Checkpoints
from fcn_jax.train.run_folder import RunFolder
from fcn_jax.train.state import init_variables
from fcn_jax.weights.files import write_safetensors
from fcn_jax.weights.network_file import halve_kernels, load_weights, make_metadata

# An array [h, w, 3] of RGB, [h, w] of grey levels or [h, w, 4] of RGBA, all uint8; a picture of
# Pillow; or the path of a picture file.
Picture = np.ndarray | Image.Image | str | Path


@dataclasses.dataclass(frozen=True, eq=False)
class Trained:
    """A network with its variables and its classes.

    Attributes:
        model: The network: images `[b, h, w, 3]` in 0..255 RGB to logits `[b, h, w, k]`.
        variables: What `model.apply` takes: `params`, and `batch_stats` if there is batch norm.
        labels: Names and colours of the classes, and the value of void pixels.
        section: Keywords of `get_model` that make the network, less `num_classes`.
        size_multiple: Images are padded to multiples of this at the bottom and at the right, as the
            evaluations of the run are, so that few shapes are compiled; 1 pads nothing.
        origin: Where the variables come from: experiment, step and data, as JSON holds them.
    """

    model: nn.Module = dataclasses.field(repr=False)
    variables: Mapping[str, Any] = dataclasses.field(repr=False)
    labels: LabelSet
    section: Mapping[str, Any]
    size_multiple: int = 32
    origin: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def predict(self, image: Picture) -> UInt8[np.ndarray, "h w"]:
        """Returns the class of every pixel: what `evaluate` counts for this image.

        A picture is read as training reads it: grey becomes RGB, alpha is dropped, the orientation
        that EXIF asks for is not applied.
        """
        return self._run(image)[1]

    def logits(self, image: Picture) -> Float[np.ndarray, "h w k"]:
        """Returns the scores of every class at every pixel, before the softmax."""
        return self._run(image)[0]

    def probabilities(self, image: Picture) -> Float[np.ndarray, "h w k"]:
        """Returns the probability of every class at every pixel."""
        return scipy.special.softmax(self.logits(image), axis=-1)

    def save(self, path: str | Path, *, float16: bool = False) -> None:
        """Writes everything into one `.safetensors` file; `load` makes the same network of it.

        Args:
            path: The file to write.
            float16: Whether kernels are rounded to float16, for a file of half the size.
        """
        if Path(path).suffix != ".safetensors":
            raise UserError(f"{path} must end in .safetensors")
        backbone = self.model.backbone
        metadata = make_metadata(
            backbone.weights_name,
            model=self.section,
            labels=self.labels.to_dict(),
            preprocess=dataclasses.asdict(backbone.preprocess),
            requires=get_weight_options(self.model),
            origin={**self.origin, "size_multiple": self.size_multiple},
        )
        arrays = halve_kernels(self.arrays) if float16 else self.arrays
        write_safetensors(path, arrays, metadata)

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """The variables by path, such as `params/backbone/conv1_1/kernel`."""
        return {k: np.asarray(v) for k, v in flatten_dict(self.variables, sep="/").items()}

    def _run(self, image: Picture) -> tuple[np.ndarray, np.ndarray]:
        pixels = to_rgb(image)
        height, width = pixels.shape[:2]
        padded, _ = pad_to(
            pixels,
            np.zeros((height, width), np.uint8),
            height=-(-height // self.size_multiple) * self.size_multiple,
            width=-(-width // self.size_multiple) * self.size_multiple,
        )
        logits, preds = self._apply(padded, np.array((height, width), np.int32))
        return np.asarray(logits)[:height, :width], np.asarray(preds)[:height, :width]

    @functools.cached_property
    def _apply(self) -> Callable[[np.ndarray, np.ndarray], tuple[jax.Array, jax.Array]]:
        """One image through the network; a program is compiled for each padded shape."""

        @jax.jit
        def apply(variables, image, size):
            [logits] = apply_padded(self.model, variables, image[None], size[None])
            return logits, jnp.argmax(logits, axis=-1).astype(jnp.uint8)

        return functools.partial(apply, jax.device_put(dict(self.variables)))


def load(path: str | Path, *, step: str | int = "best", labels: LabelSet | None = None) -> Trained:
    """Loads a trained network, without its data set.

    Args:
        path: A run folder, or a file that `export_weights` or `Trained.save` wrote.
        step: Checkpoint of the run folder: `best` (by mean IoU), `last`, or the number of its step.
        labels: Classes of the run, where its data set is at hand; None for those that it notes.
    Raises:
        UserError: If there is no trained network; the message says what there is.
    """
    path = local_path(path)
    if path.is_dir():
        return _load_run(RunFolder(path), str(step), labels)
    if not path.exists():
        raise MissingError(
            f"there is nothing at {path}: give a run folder of `python launch.py train`, or a file "
            f"of `python launch.py export_weights`{_nearest(path)}"
        )
    return _load_file(path)


def _nearest(path: Path) -> str:
    """Asks whether another thing of the folder was meant; empty if there is nothing like it."""
    beside = path.parent
    names = [each.name for each in beside.iterdir()] if beside.is_dir() else []
    near = difflib.get_close_matches(path.name, names, n=1)
    return f"; did you mean {beside / near[0]}?" if near else ""


def _load_run(folder: RunFolder, step: str, labels: LabelSet | None) -> Trained:
    config = sections.resolve(folder.read_config(), where=str(folder.path / "config.json"))
    run, labels = folder.read_run(), labels or folder.read_labels()
    checkpoints = Checkpoints(folder.path / "checkpoints", read_only=True)
    with contextlib.closing(checkpoints):
        number, variables = checkpoints.read_variables(step)
    launches = run.get("launches") or [{}]
    origin = {
        "run": folder.path.absolute().name,
        "experiment": run.get("experiment"),
        "step": number,
        "dataset": config["data"]["name"],
        "data_fingerprint": run.get("data_fingerprint"),
        "git_commit": launches[-1].get("git_commit"),
    }
    return _make_trained(
        folder.path,
        variables,
        labels=labels,
        section=config["model"],
        size_multiple=config["eval"]["size_multiple"],
        origin={key: value for key, value in origin.items() if value is not None},
    )


def _load_file(path: Path) -> Trained:
    weights = load_weights(path)
    if not weights.model:
        name = next((name for name in MODELS if name.startswith(weights.network)), "NETWORK")
        raise UserError(
            f"{path} holds weights for {weights.network} and has no head: "
            f'fcn_jax.make("{name}", num_classes=..., weights="{path}") puts one on it'
        )
    try:
        origin = dict(weights.origin)
        size_multiple, labels = origin.pop("size_multiple"), LabelSet.from_dict(weights.labels)
    except (KeyError, TypeError) as error:
        raise UserError(f"{path}: its metadata are broken ({error}); export it again") from error
    return _make_trained(
        path,
        unflatten_dict(weights.arrays, sep="/"),
        labels=labels,
        section=sections.resolve_section("model", weights.model),
        size_multiple=size_multiple,
        origin=origin,
    )


def _make_trained(
    path: Path,
    variables: Mapping[str, Any],
    *,
    labels: LabelSet,
    section: Mapping[str, Any],
    **facts: Any,
) -> Trained:
    """Makes the network of a section, and finds that the variables are those that it has."""
    model = get_model(**section, num_classes=labels.num_classes)
    variables = {name: variables.get(name) or {} for name in ("params", "batch_stats")}
    there = {k: v.shape for k, v in flatten_dict(variables, sep="/").items()}
    wanted = jax.eval_shape(lambda: init_variables(jax.random.key(0), model))
    here = {k: v.shape for k, v in flatten_dict(wanted, sep="/").items()}
    for leaf in sorted(there | here):
        if there.get(leaf) != here.get(leaf):
            raise UserError(
                f"{path} does not fit its own network {section['name']}: {leaf} is "
                f"{there.get(leaf, 'missing')} there, and {here.get(leaf, 'nothing')} in the "
                "network; it is of another version, or was changed by hand: export it again"
            )
    return Trained(model, variables, labels, section, **facts)


def to_rgb(image: Picture) -> UInt8[np.ndarray, "h w 3"]:
    """Reads a picture as training reads it, and refuses what training refuses."""
    if isinstance(image, str | Path):
        return read_image_file(Path(image).expanduser()).pixels
    if isinstance(image, Image.Image):
        # Of the same modes as a file.
        if image.mode not in ("RGB", "L", "P", "RGBA"):
            raise UserError(f"a picture of mode {image.mode} is not supported; convert it to RGB")
        check_opened(image)
        return np.asarray(image.convert("RGB"))
    array = np.asarray(image)
    channels = array.shape[2:]
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or channels not in ((), (3,), (4,)):
        raise UserError(
            f"an image is uint8 [h, w, 3] in 0..255 RGB, or [h, w], or [h, w, 4]; this one is "
            f"{array.dtype} {list(array.shape)}"
        )
    if not array.size:
        raise UserError(f"an image of {list(array.shape)} has no pixel")
    return array if channels == (3,) else np.asarray(Image.fromarray(array).convert("RGB"))
