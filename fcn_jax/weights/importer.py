"""Import of a foreign file of weights into the names and the order of axes of this project.

Every array of the file is accounted for: it goes into a leaf here, becomes an option that the
network must have, or is listed as unused because there is no place for it (the layer that scores
ImageNet's classes, a head that was not asked for, and what is not part of the network). A missing
layer, a layer of another shape or a layer too many means that the file holds another network, and
it is refused.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fcn_jax.errors import UserError
from fcn_jax.ops.papers import PREPROCESS, make_preprocess
from fcn_jax.weights.axes import Arrays, format_layers, format_names
from fcn_jax.weights.backbone_names import NAMINGS
from fcn_jax.weights.caffe import read_binaryproto
from fcn_jax.weights.collector import Collector
from fcn_jax.weights.files import check_file, read_metadata, read_weights
from fcn_jax.weights.heads import AS_STORED, BACKBONE_ALONE, HEADS, find_head, find_skip_scales
from fcn_jax.weights.naming import COUNTER, check_known
from fcn_jax.weights.network_file import make_metadata, read_preprocess, read_requires
from fcn_jax.weights.recognition import PREPARATION, Found, explain_other, find_network
from fcn_jax.weights.releases import Release, find_release
from fcn_jax.weights.requirements import REQUIRED_OPTIONS, find_requires
from fcn_jax.weights.transplant import UNUSED, Report, Row
from fcn_jax.weights.whole_networks import WHOLE_NETWORKS, import_network

SIZE_MULTIPLE = 32  # pads pictures as section `eval` does by default


class Imported(NamedTuple):
    """What `import_weights` makes of a file.

    Attributes:
        arrays: Float32 arrays by path.
        metadata: Metadata of the file to be saved.
        report: What became of every array, and what the file is.
    """

    arrays: dict[str, np.ndarray]
    metadata: dict[str, str]
    report: Report


def import_weights(
    path: str | Path,
    network: str,
    *,
    head: str = "none",
    seed: int = 0,
    preprocess: str | None = None,
    mean: str | Path | None = None,
) -> Imported:
    """Reads a foreign file and converts it.

    Args:
        path: Path of a file that `files.read_weights` reads.
        network: One of `backbone_names.NAMINGS`.
        head: One of `HEADS`. `fcn`, `largefov` and `4x4` make fc6 and fc7 of such a network out of
            ImageNet's; `own` takes the head of a segmentation network as it is stored, released or
            exported.
        seed: Seed of the choice of filters where the head keeps only some.
        preprocess: How the weights expect an image: `caffe`, `torchvision`, `tensorflow`,
            `efficientnet_lite`, or `caffe:R,G,B` with another mean colour. None for what the
            metadata of the file say, as `export_weights` writes them, or else for what its names
            suggest. Weights from Caffe that somebody gave torchvision's names need this, and so do
            those that were trained with the mean of another data set than ImageNet.
        mean: Path of a `.binaryproto` whose mean colour the weights expect instead.
    Raises:
        MissingError: There is no such file.
        UserError: The file does not hold this network.
    """
    check_known("network", network, NAMINGS)
    check_known("head", head, HEADS)
    path = check_file(path)
    source = read_weights(path)
    try:
        found = find_network(network, source)
        release = find_release(found.arrays)
        image = _find_preprocess(path, preprocess, mean, found=found, release=release)
        if mean is not None:
            image = _with_mean(image, mean, preprocess=preprocess, title=found.title)
        if release and head == AS_STORED:
            found = found._replace(arrays=release.take_branch(found.arrays))
        naming = found.naming
        convs = find_head(np.random.default_rng(seed), found.arrays, naming, head)
        if not convs and head == AS_STORED:
            raise UserError(_refuse_head(found))
        collector = Collector(found.arrays, epsilon=naming.epsilon)
        for layer in naming.layers:
            collector.add(layer, found.arrays[f"{layer.name}.weight"])
        for conv in convs:
            collector.add(
                conv.layer, conv.weights, action=conv.action, ins=conv.ins, outs=conv.outs
            )
        requires = _find_requires(path, network, collector.arrays, origin=naming.origin)
        if head == AS_STORED:
            backbone = {name for layer in naming.layers for name in layer.vectors.values()}
            factors = find_skip_scales(
                {name: array for name, array in found.arrays.items() if name not in backbone}
            )
            collector.add_options("skip_scales", factors)
            requires |= {"skip_scales": tuple(factors.values())} if factors else {}
            collector.check_head_is_whole(classifier=naming.classifier)
    except ValueError as error:
        raise UserError(f"{path}: {error}") from error
    metadata = make_metadata(
        network,
        model={},
        labels=None,
        preprocess=image,
        requires=requires,
        origin={
            "names": naming.origin,
            "head": head,
            "seed": seed,
            **_name_source(path),
        },
    )
    used = [_rename(row, found, release) for row in collector.rows]
    names = {row.source for row in used}
    unused = [
        Row("", UNUSED, name, array.shape, ())
        for name, array in source.items()
        if name not in names
    ]
    expected = naming.preprocess
    by_names = not preprocess and mean is None and "preprocess" not in read_metadata(path)
    left_out = [row.source for row in unused if not COUNTER.fullmatch(row.source)]
    is_whole, scales = head == AS_STORED, requires.get("skip_scales")
    notes = {
        f"it is {found.title}": True,
        naming.note: naming.note,
        f"its images are taken to be prepared as {expected}'s (by its names); if not, give "
        "--preprocess": by_names,
        release.note if release else "": is_whole and release and release.note,
        f"its network has model.skip_scales={scales}": is_whole and scales,
        f"left out of the file: {format_layers(left_out)}": left_out,
    }
    said = tuple(note for note, holds in notes.items() if holds)
    return Imported(collector.arrays, metadata, Report((*used, *unused), said))


def import_whole(
    path: str | Path, network: str, *, find_labels: Callable[[int], Mapping[str, Any]]
) -> Imported:
    """Reads a segmentation network of others, head and all, that is a network of the zoo.

    Args:
        path: Path of a file that `files.read_weights` reads.
        network: One of `WHOLE_NETWORKS`.
        find_labels: Returns the label set, as a dict, of so many classes.
    Raises:
        MissingError: There is no such file.
        UserError: The file does not hold this network.
    """
    check_known("network", network, WHOLE_NETWORKS)
    path = check_file(path)
    source = read_weights(path)
    try:
        found = import_network(source, network)
    except ValueError as error:
        raise UserError(f"{path}: {explain_other(source, network) or error}") from error
    whole = found.whole
    metadata = make_metadata(
        whole.backbone,
        model=found.model,
        labels=find_labels(found.num_classes),
        preprocess=json.loads(json.dumps(PREPROCESS[whole.preprocess])),
        requires=whole.requires,
        origin={
            "names": whole.title,
            "size_multiple": SIZE_MULTIPLE,
            **_name_source(path),
        },
    )
    notes = tuple(filter(None, (f"it is {whole.title}", whole.note)))
    return Imported(found.arrays, metadata, Report(found.rows, notes))


def _name_source(path: Path) -> dict[str, str]:
    with open(path, "rb") as file:
        return {"source": path.name, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def _find_preprocess(
    path: Path,
    preprocess: str | None,
    mean: str | Path | None,
    *,
    found: Found,
    release: Release | None,
) -> dict[str, Any]:
    metadata = read_metadata(path)
    if not preprocess and "preprocess" in metadata:
        try:
            return read_preprocess(metadata["preprocess"])
        except ValueError as error:
            raise UserError(f"its metadata are broken ({error}); give --preprocess") from error
    if not preprocess and mean is None:
        if release and release.mean_question:
            raise UserError(release.mean_question)
        for name, array in found.others.items():
            if PREPARATION.fullmatch(name) and array.size == 3:
                raise UserError(
                    f"{name} ({', '.join(f'{value:g}' for value in array.ravel())}) is how it "
                    f"prepares images; give --preprocess ({', '.join(PREPROCESS)}, caffe:R,G,B)"
                )
    expected = make_preprocess(preprocess or found.naming.preprocess, option="preprocess")
    return json.loads(json.dumps(expected))


def _with_mean(
    image: Mapping[str, Any], mean: str | Path, *, preprocess: str | None, title: str
) -> dict[str, Any]:
    """Puts the mean of a file in the place of the one that images are prepared with."""
    if preprocess and ":" in preprocess:
        raise UserError(f"--preprocess={preprocess} and --mean={mean} are two means; give one")
    if not image["bgr"]:
        raise UserError(
            f"{mean} is a mean of Caffe's, and images for {title} are scaled as well; give "
            "--preprocess=caffe if its weights are Caffe's"
        )
    return {**image, "mean_rgb": _read_mean_rgb(mean)}


def _refuse_head(found: Found) -> str:
    heads = [name for name, array in found.others.items() if array.ndim == 4]
    if not heads:
        return f"it has no head; {BACKBONE_ALONE}"
    return f"no head here is like its own ({format_names(heads)}); {BACKBONE_ALONE}"


def _rename(row: Row, found: Found, release: Release | None) -> Row:
    """Gives the source of a row the name that it has in the file."""
    name = release.name_there(row.source) if release else row.source
    return row._replace(source=found.prefix + name)


def _find_requires(path: Path, network: str, arrays: Arrays, *, origin: str) -> dict[str, Any]:
    metadata = read_metadata(path)
    if "requires" in metadata:
        return read_requires(metadata["requires"])
    requires = find_requires(network, arrays, origin=origin)
    if "step" in metadata:
        # Exported before exports said it. The only option that a network had then is one that the
        # arrays show; it had the values of today's defaults for the others.
        expand = {key: value for key, value in requires.items() if key == "first_expand"}
        return REQUIRED_OPTIONS.get(network, {}) | expand
    return requires


def _read_mean_rgb(path: str | Path) -> list[float]:
    image = read_binaryproto(path)
    if len(image) != 3:
        raise UserError(f"{path} is a mean of {len(image)} channels, and not of blue, green, red")
    return image.mean(axis=(1, 2), dtype=np.float64)[::-1].tolist()
