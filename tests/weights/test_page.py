"""The commands of docs/weights.md, on made-up files of the networks that they name."""

from pathlib import Path

import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from PIL import Image
from safetensors.numpy import save_file

from fcn_jax.commands import door
from fcn_jax.models.zoo import get_model
from fcn_jax.weights.backbone_names import mobilenet_v2
from fcn_jax.weights.whole_networks import WHOLE_NETWORKS, export_network
from tests.conftest import shapes_of
from tests.test_documents import commands_of
from tests.weights.conftest import draw_caffe_resnet, draw_vgg16, write_caffemodel
from tests.weights.test_exchange import draw
from tests.weights.test_torch_file import make_tensor, write_pth

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


def write_state_dict(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Writes a `.pth` file; its tensors lie one after the other in one storage."""
    tensors, offset = {}, 0
    count = sum(array.size for array in arrays.values())
    for name, array in arrays.items():
        strides = tuple(stride // array.itemsize for stride in array.strides)
        tensors[name] = make_tensor(count, offset, array.shape, strides)
        offset += array.size
    numbers = b"".join(array.tobytes() for array in arrays.values())
    write_pth(path.parent, tensors, a=numbers).rename(path)


@pytest.fixture
def home(tmp_path, monkeypatch, rng):
    """A folder with the files that the page takes for given."""
    monkeypatch.chdir(tmp_path)
    write_caffemodel(Path("VGG_ILSVRC_16_layers.caffemodel"), draw_vgg16(rng, fc_channels=16))
    layers = draw_caffe_resnet(rng, 101, conv1_bias=False)
    write_caffemodel(Path("ResNet-101-model.caffemodel"), layers)
    save_file(draw(mobilenet_v2(first_expand=False), rng), "mobilenet_v2.safetensors")
    name = "resnet50_deeplabv3_torchvision"
    model = get_model(**WHOLE_NETWORKS[name].model, num_classes=21)
    shapes = flatten_dict(shapes_of(model), sep="/")
    arrays = {leaf: np.full(shape.shape, 0.01, "float32") for leaf, shape in shapes.items()}
    theirs = {of: np.ascontiguousarray(array) for of, array in export_network(arrays, name).items()}
    write_state_dict(tmp_path / "deeplabv3_resnet50_coco-cd0a2569.pth", theirs)
    Path("photos").mkdir()
    Image.fromarray(rng.integers(0, 256, (33, 40, 3), np.uint8)).save("photos/a.png")
    return tmp_path


@pytest.mark.usefixtures("plain_conv")
def test_commands_of_the_page(home):
    for words in commands_of("docs/weights.md"):
        if words[0] == "predict":
            words.append("--size_multiple=8")  # or it would be padded to that of a photo
        assert door.main(words, experiments_dir=EXPERIMENTS) == 0, words
    assert len(list((home / "weights").iterdir())) == 5
    assert {file.parent.name for file in (home / "masks").rglob("a.*")} == {"masks", "overlays"}
