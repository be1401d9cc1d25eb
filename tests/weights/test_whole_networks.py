"""Segmentation networks of others, head and all: in, and back under their owners' names."""

import os
from pathlib import Path

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

from fcn_jax.commands import door
from fcn_jax.errors import UserError
from fcn_jax.models.zoo import get_model
from fcn_jax.train.trained import load
from fcn_jax.weights.files import read_weights
from fcn_jax.weights.importer import import_whole
from fcn_jax.weights.recognition import recognise
from fcn_jax.weights.whole_networks import WHOLE_NETWORKS, export_network, import_network
from tests.conftest import shapes_of

pytestmark = pytest.mark.usefixtures("plain_conv")

NAMES = sorted(WHOLE_NETWORKS)
EXPERIMENTS = Path(__file__).parents[2] / "experiments"


def _draw(name, rng, **options):
    """Arrays of a network by path, and its section `model`."""
    section = {**WHOLE_NETWORKS[name].model, **options}
    shapes = flatten_dict(shapes_of(get_model(**section, num_classes=21)), sep="/")
    return {k: 2 * rng.random(v.shape, np.float32) - 1 for k, v in shapes.items()}, section


@pytest.mark.parametrize(
    "name",
    ["mobilenetv2_deeplabv3", "resnet50_deeplabv3_torchvision", "resnet101_fcn_torchvision"],
)
def test_a_network_goes_to_its_owner_and_back(rng, name):
    arrays, _ = _draw(name, rng)
    theirs = export_network(arrays, name)
    assert recognise(theirs)[1] == name
    imported = import_network(theirs, name)
    assert imported.num_classes == 21
    assert imported.arrays.keys() == arrays.keys()
    for leaf, array in arrays.items():
        np.testing.assert_array_equal(imported.arrays[leaf], array)
    assert {row.source for row in imported.rows} == theirs.keys()


def test_a_file_without_auxiliary_scores_is_a_network_without_them(rng):
    name = "resnet50_fcn_torchvision"
    arrays, _ = _draw(name, rng, aux="")
    imported = import_network(export_network(arrays, name), name)
    assert imported.model["aux"] == ""
    assert imported.arrays.keys() == arrays.keys()


def test_what_is_another_network_is_refused(rng):
    arrays, _ = _draw("resnet50_fcn_torchvision", rng, aux="")
    theirs = export_network(arrays, "resnet50_fcn_torchvision")
    with pytest.raises(UserError, match=r"no deeplabv3_resnet50 .* has no classifier\.0\.convs"):
        import_network(theirs, "resnet50_deeplabv3_torchvision")
    with pytest.raises(UserError, match=r"no place for its classifier\.9\.weight"):
        import_network(theirs | {"classifier.9.weight": np.zeros(3)}, "resnet50_fcn_torchvision")
    kernel = theirs["backbone.layer1.0.conv2.weight"][:, :, :1]
    with pytest.raises(UserError, match=r"64x64x1x3 where 64x64x3x3 is expected"):
        import_network(
            theirs | {"backbone.layer1.0.conv2.weight": kernel}, "resnet50_fcn_torchvision"
        )


def test_a_file_of_another_network_is_named(rng, tmp_path):
    from fcn_jax.weights.files import write_safetensors

    arrays, _ = _draw("resnet50_fcn_torchvision", rng, aux="")
    files = {
        "give --network=resnet50_fcn_torchvision": export_network(
            arrays, "resnet50_fcn_torchvision"
        ),
        "imported already": arrays,
    }
    for words, content in files.items():
        write_safetensors(tmp_path / "file.safetensors", content, {})
        with pytest.raises(UserError, match=words):
            import_whole(
                tmp_path / "file.safetensors",
                "resnet101_deeplabv3_torchvision",
                find_labels=lambda num_classes: {},
            )


def test_an_imported_network_predicts(rng, tmp_path, capsys):
    from fcn_jax.weights.files import write_safetensors

    name = "mobilenetv2_deeplabv3"
    arrays, _ = _draw(name, rng)
    arrays = {leaf: array / 20 for leaf, array in arrays.items()}
    file, output = tmp_path / "slim.safetensors", tmp_path / "ours.safetensors"
    write_safetensors(file, export_network(arrays, name), {})
    command = ["import_weights", str(file), f"--network={name}", f"--output={output}"]
    assert door.main(command, experiments_dir=EXPERIMENTS) == 0
    assert "513" in capsys.readouterr().out
    net = load(output)
    assert net.labels.names[:2] == ("background", "aeroplane")
    assert net.model.backbone.preprocess.mean_rgb == (127.5,) * 3
    assert net.model.head_activation == "relu6"
    image = rng.integers(0, 256, (40, 33, 3)).astype(np.uint8)
    assert net.predict(image).shape == (40, 33)


def test_classes_are_named_or_asked_for(rng, tmp_path, capsys):
    from fcn_jax.weights.files import write_safetensors

    name = "mobilenetv2_deeplabv3"
    section = WHOLE_NETWORKS[name].model
    shapes = flatten_dict(shapes_of(get_model(**section, num_classes=3)), sep="/")
    arrays = {leaf: np.zeros(shape.shape, np.float32) for leaf, shape in shapes.items()}
    file, output = tmp_path / "slim.safetensors", tmp_path / "ours.safetensors"
    write_safetensors(file, export_network(arrays, name), {})
    command = ["import_weights", str(file), f"--network={name}", f"--output={output}"]
    assert door.main(command, experiments_dir=EXPERIMENTS) == 2
    assert "tells 3 classes, and VOC2012 has 21; --classes=FILE" in capsys.readouterr().err
    assert not output.exists()
    classes = tmp_path / "classes.txt"
    classes.write_text("ground\nroad\ntree\n")
    assert door.main([*command, f"--classes={classes}"], experiments_dir=EXPERIMENTS) == 0
    assert load(output).labels.names == ("ground", "road", "tree")


@pytest.mark.parametrize("size", [(225, 225), (333, 487)])
@pytest.mark.parametrize("name", [name for name in NAMES if name.endswith("torchvision")])
def test_torchvisions_networks_are_those_of_torch(rng, name, size):
    torch = pytest.importorskip("torch")
    segmentation = pytest.importorskip("torchvision.models.segmentation")
    backbone, kind, _ = name.split("_")
    torch.manual_seed(0)
    make = getattr(segmentation, f"{kind}_{backbone}")
    theirs = make(weights=None, weights_backbone=None, aux_loss=True, num_classes=21).eval()
    for module in theirs.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.uniform_(-0.1, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    imported = import_network({k: v.numpy() for k, v in theirs.state_dict().items()}, name)
    model = get_model(**imported.model, num_classes=21)
    images = rng.integers(0, 256, (1, *size, 3)).astype(np.uint8)
    variables = unflatten_dict(imported.arrays, sep="/")
    ours = jax.jit(lambda v, x: model.apply(v, x, train=False))(variables, images)
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    prepared = ((images / 255 - mean) / std).transpose(0, 3, 1, 2).astype(np.float32)
    with torch.no_grad():
        expected = theirs(torch.tensor(prepared))["out"].numpy().transpose(0, 2, 3, 1)
    assert np.abs(ours - expected).max() < 1e-4 * np.abs(expected).max()


@pytest.mark.skipif("FCN_JAX_WEIGHTS" not in os.environ, reason="needs the real file")
def test_the_real_file_of_tf_slim():
    path = Path(os.environ["FCN_JAX_WEIGHTS"]) / "deeplabv3_mobilenetv2_voc.safetensors"
    source = read_weights(path)
    imported = import_network(source, "mobilenetv2_deeplabv3")
    back = export_network(imported.arrays, "mobilenetv2_deeplabv3")
    assert back.keys() == source.keys()
    for name, array in source.items():
        np.testing.assert_array_equal(back[name], array)
