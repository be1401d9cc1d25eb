"""Which network a foreign file holds, by the names and the shapes of its arrays.

Frameworks wrap networks, and every wrapper puts a word in front of all names (`module.`,
`_orig_mod.`, `backbone.`, `mobilenet_v2.`). So the network is looked for wherever its first kernel
lies: what is before the name of this kernel is the prefix of the network, and what does not have
the prefix is not part of it.
"""

import re
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from fcn_jax.errors import UserError
from fcn_jax.weights.axes import Arrays, format_names, format_shape
from fcn_jax.weights.backbone_names import NAMINGS, TITLES
from fcn_jax.weights.naming import CAFFE, COUNTER, HEAD_LAYER, OWNERS, Naming
from fcn_jax.weights.whole_networks import WHOLE_NETWORKS, find_whole

# A file comes near to a network of whose kernels it has half, by name and by shape.
MIN_LIKENESS = 0.5

# A prefix of a moving average of the weights, which some keep beside them.
AVERAGED = re.compile(r"(.*[._])?(ema|swa|averaged?|teacher|target|momentum)([._].*)?")

# What wrappers that prepare images themselves call the mean and the deviation.
PREPARATION = re.compile(r"(.*[._])?(mean|std)")

# Networks that there are no namings of: what the name and the shape of an array that only they have
# begin with, and why they are of no use.
NOT_HERE = "there is no such network here"
STRANGERS: tuple[tuple[str, str, str], ...] = (
    (
        r"conv1_1_bgrd\.weight",
        "NYUDv2's FCN of colour and depth",
        "its first layer takes four channels, and the networks here read RGB",
    ),
    (
        r"conv1_1hha\.weight",
        "NYUDv2's FCN of colour and HHA images",
        "it is two networks whose scores are summed, and the networks here read RGB alone",
    ),
    (
        r"MobilenetV2/.*weights",
        "a MobileNetV2 in TF-slim's names",
        "of those only DeepLab v3's without atrous layers in ASPP is known here, batch norm folded",
    ),
    (r"(.*\.)?blocks\.\d\.\d\.se\.", "an EfficientNet or MobileNetV3 in timm's names", NOT_HERE),
    (
        r"(.*\.)?blocks\.2\.0\.conv_dw\.weight \d+x1x5x5",
        "an EfficientNet-lite in timm's names",
        "they do not say how it prepares images: see init.weights=efficientnet_lite0",
    ),
    (r"(.*\.)?features\.1\.0\.block\.", "an EfficientNet in torchvision's names", NOT_HERE),
    (r"(.*\.)?1\.block\.0\.0\.weight", "a MobileNetV3 in torchvision's names", NOT_HERE),
    (r"(.*\.)?features\.3\.squeeze\.", "a SqueezeNet", NOT_HERE),
    (r"(.*\.)?denseblock1\.", "a DenseNet", NOT_HERE),
    (r"(.*\.)?(cls_token|patch_embed|.*attention|.*attn)", "a transformer", NOT_HERE),
)


class Found(NamedTuple):
    """A network in a file.

    Attributes:
        network: Name of the network; one of `backbone_names.NAMINGS`.
        naming: Names that its layers have there.
        prefix: What is before these names in the file.
        arrays: Arrays of the network by the names without the prefix.
        others: All other arrays of the file.
    """

    network: str
    naming: Naming
    prefix: str
    arrays: dict[str, np.ndarray]
    others: dict[str, np.ndarray]

    @property
    def title(self) -> str:
        """The network in words, with whose names it has."""
        return name_network(self.network, self.naming)


def name_network(network: str, naming: Naming) -> str:
    """Names a network and whose names it has: VGG16 in Caffe's names."""
    title = TITLES[network]
    if network == "vgg16" and naming.layers[0].norm:
        title += " with batch norm"
    if network == "alexnet" and naming.origin == CAFFE:
        title = "CaffeNet (AlexNet)"
    return f"{title} in {OWNERS[naming.origin]} names"


def find_network(network: str, source: Arrays) -> Found:
    """Finds a network in the arrays of a file.

    Raises:
        UserError: It is not in them, or several times; the message says what they are instead.
    """
    found = [each for naming in NAMINGS[network] for each in _find_copies(network, naming, source)]
    # Namings of one network differ in an option, and a file fits only one of them. What fits twice
    # is there twice.
    plain = [each for each in found if not AVERAGED.fullmatch(each.prefix)] or found
    if len({each.prefix for each in plain}) > 1:
        prefixes = " and ".join(sorted(repr(each.prefix) for each in plain))
        raise UserError(
            f"it holds {plain[0].title} several times, under {prefixes}; save one of them alone"
        )
    if plain:
        return plain[0]
    raise UserError(_explain(network, source))


def recognise(source: Arrays) -> tuple[str, str]:
    """Says in words what the arrays of a file are, and the name of the network if it is one here.

    Returns:
        The words, and the network; both empty if nothing is known about the arrays.
    """
    if whole := find_whole(source):
        return WHOLE_NETWORKS[whole].title, whole
    for network, namings in NAMINGS.items():
        for naming in namings:
            if _find_copies(network, naming, source):
                return name_network(network, naming), network
    described = [f"{name} {format_shape(array.shape)}" for name, array in source.items()]
    for pattern, title, reason in STRANGERS:
        if any(re.match(pattern, each) for each in described):
            return f"{title}, and {reason}", ""
    return "", ""


def find_misfit(naming: Naming, source: Arrays) -> str:
    """Says why the arrays of a network do not have this naming; empty if they do."""
    known = set()
    for layer in naming.layers:
        names = dict.fromkeys([*layer.vectors.values(), *layer.folded.values()], layer.shape[:1])
        for name, shape in {layer.kernel[1]: layer.shape, **names}.items():
            known.add(name)
            if name not in source:
                return f"it has no {name}"
            if source[name].shape != shape:
                shapes = format_shape(source[name].shape), format_shape(shape)
                return f"{name} is {shapes[0]} where {shapes[1]} is expected"
    surplus = [
        name
        for name in source
        if name not in known
        and not COUNTER.fullmatch(name)
        and not name.startswith(tuple(f"{layer}." for layer in naming.classifier))
        and not HEAD_LAYER.fullmatch(name.partition(".")[0])
    ]
    return f"there is no place for {format_names(surplus)}" if surplus else ""


def _find_copies(network: str, naming: Naming, source: Arrays) -> list[Found]:
    """Finds every copy of a network that a file has."""
    prefixes = _find_prefixes(naming, source)
    copies = [
        Found(network, naming, prefix, *_split(source, prefix, prefixes)) for prefix in prefixes
    ]
    return [copy for copy in copies if not find_misfit(naming, copy.arrays)]


def _find_prefixes(naming: Naming, source: Arrays) -> list[str]:
    stem, shape = naming.stem
    return [
        name.removesuffix(stem)
        for name, array in source.items()
        if array.shape == shape and (name == stem or name.endswith(f".{stem}"))
    ]


def _split(
    source: Arrays, prefix: str, prefixes: Iterable[str]
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Parts a network from what does not have its prefix, or has that of another copy."""
    copies = tuple(each for each in prefixes if len(each) > len(prefix))
    inside, outside = {}, {}
    for name, array in source.items():
        if name.startswith(prefix) and not name.startswith(copies):
            inside[name.removeprefix(prefix)] = array
        else:
            outside[name] = array
    return inside, outside


def explain_other(source: Arrays, network: str) -> str:
    """Says which other network here a file holds, if it is known; otherwise nothing."""
    if any(name.startswith("params/") for name in source):
        return "it has been imported already: use it as it is, with --config.init.weights"
    words, other = recognise(source)
    if not other or other == network:
        return ""
    return f"this is {words}, and no {_title(network)}; give --network={other}"


def _title(network: str) -> str:
    return TITLES[network] if network in TITLES else WHOLE_NETWORKS[network].title


def _explain(network: str, source: Arrays) -> str:
    """Says why a file does not hold a network, and what it holds."""
    if told := explain_other(source, network):
        return told
    words, _ = recognise(source)
    if words:
        return f"this is {words}\ntake a file of a network that is here: {', '.join(NAMINGS)}"
    near = {name: _find_nearest(name, source) for name in NAMINGS}
    nearest = max(near, key=lambda name: near[name].score)
    if near[nearest].score[0] < MIN_LIKENESS:
        return (
            f"this is no {TITLES[network]}: {near[network].misfit}; it holds "
            f"{format_names(source)}\n"
            f"--network says which network the file is of: {', '.join(NAMINGS)}"
        )
    if nearest == network:
        return f"this is no {TITLES[network]}: {near[network].misfit}"
    title, misfit = near[nearest].title, near[nearest].misfit
    return f"this is no {TITLES[network]}; it comes near to {title}, but {misfit}"


class _Near(NamedTuple):
    """How near a file comes to a network: from 0 to 1, to which naming, and what it lacks."""

    score: tuple[float, int]  # of two that are as near, the larger network is meant
    title: str
    misfit: str


def _find_nearest(network: str, source: Arrays) -> _Near:
    """Finds the naming of a network that a file comes nearest to."""
    near = []
    for naming in NAMINGS[network]:
        for prefix in _find_prefixes(naming, source) or [""]:
            arrays, _ = _split(source, prefix, ())
            kernels = {layer.kernel[1]: layer.shape for layer in naming.layers}
            same = [arrays[name].shape == kernels[name] for name in kernels if name in arrays]
            score = (len(same) + sum(same)) / (2 * len(kernels))
            title = name_network(network, naming)
            near.append(_Near((score, len(kernels)), title, find_misfit(naming, arrays)))
    return max(near, key=lambda each: each.score[0])
