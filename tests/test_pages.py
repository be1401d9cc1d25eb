"""The commands of the pages of docs/, one after the other, on drawn pictures and a tiny network.

README's are in test_documents.py, those of docs/weights.md in weights/test_page.py, and those
of several processes in tests/train/test_world.py and tests/test_clusters.py.
"""

import glob
import importlib.util
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import fcn_jax
from fcn_jax.commands import benchmark, door
from fcn_jax.data import datasets
from fcn_jax.data.sets.camvid import LABELS as CAMVID
from fcn_jax.data.sets.voc import LABELS as VOC
from tests.test_documents import commands_of

ROOT = Path(__file__).parent.parent
# What makes a training of a page small.
SMALL = (
    "--config.model.name=tiny_fcn4s",
    "--config.model.norm=batch",
    "--config.init.weights=",
    "--config.augment.crop_size=32",
    "--config.train.num_steps=2",
    "--config.train.batch_size=4",
    "--config.train.iter_size=1",
    "--config.eval.size_multiple=8",
)
# What takes long, and may be less of it here.
LESS = {
    "--step=40": "--step=2",
    "--tune_crf=50": "--tune_crf=1",
    "runs/*": "runs/camvid_*",
    # test_networks.py predicts with it.
    "--network=networks/camvid_mobilenetv2_fcn8s.safetensors": "--network=fcn8s.safetensors",
}
PICTURES = ("0016E5_07959", "0016E5_08011", "0016E5_08020")  # ids that a page names, and another


class Drawn:
    """Pictures of a class on another, which can be told apart."""

    def source(self, split):
        rng = np.random.default_rng(len(split))
        records = []
        for number, name in enumerate(PICTURES):
            label = np.zeros((40, 48), np.uint8)
            label[8 : 20 + number, 9:30] = 8  # VOC's cats
            image = rng.integers(0, 60, (40, 48, 3)) + 20 * label[..., None]
            records.append({"id": name, "image": image.astype(np.uint8), "label": label})
        return records


def make_opener(name, labels):
    """Makes what opens a data set of drawn pictures."""
    splits = ("train", "val", "train_aug", "sbd_train", "seg11valid")
    dataset = datasets.Dataset(name, labels, splits, builder=Drawn())
    return lambda source_dir, data_dir: dataset


@pytest.fixture(scope="module")
def home(tmp_path_factory, plain_conv, tiny_network):
    """A folder with the photos, runs and files of networks that the pages take for given."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        patch.setenv("TFDS_DATA_DIR", str(home / "tfds"))
        patch.setattr(benchmark, "_MATRIX_SIZE", 256)
        for name, labels in (("camvid", CAMVID), ("voc", VOC)):
            patch.setitem(datasets.DATASETS, name, make_opener(name, labels))
        for place in ("photos/a.png", "more/deep/b.png", "photo.jpg", "c.png"):
            Path(place).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(Drawn().source("val")[0]["image"]).save(place)
        Path("list.txt").write_text("c.png\n")
        Path("networks").mkdir()
        for record in Drawn().source("train"):
            for folder, array in (("images", record["image"]), ("labels", record["label"] // 8)):
                place = Path("my_folder", folder, f"{record['id']}.png")
                place.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(array).save(place)
        Path("my_folder/train.txt").write_text("\n".join(PICTURES[1:]))
        Path("my_folder/val.txt").write_text(PICTURES[0])
        Path("my_folder/classes.txt").write_text("background\ncat\n")
        for run, data in (
            ("camvid_fcn8s", "camvid"),
            ("camvid_fcn32s", "camvid"),
            ("voc_deeplab_largefov", "voc"),
        ):
            config = ["--config=camvid_fcn8s", f"--config.data.name={data}"]
            give(["train", *config, f"--workdir=runs/{run}", *SMALL])
        Path("runs/custom").symlink_to("camvid_fcn8s")
        Path("weights").mkdir()
        fcn_jax.load("runs/camvid_fcn8s").save("fcn8s.safetensors")
        fcn_jax.load("runs/voc_deeplab_largefov").save("weights/fcn8s.safetensors")
        yield home


def give(words: list[str]) -> None:
    """Gives a command, as a shell would."""
    code = door.main(words, experiments_dir=ROOT / "experiments")
    assert code == 0, words


def expand(word: str) -> list[str]:
    """Lists the paths that a shell makes of a word."""
    return sorted(glob.glob(word)) if "*" in word and "**" not in word else [word]


@pytest.mark.parametrize(
    "page",
    [
        "docs/recipes.md",
        "docs/evaluation.md",
        "docs/compare.md",
        "docs/prediction.md",
        "docs/export.md",
        "docs/benchmarks.md",
        "docs/own_data.md",
        "networks/README.md",
    ],
)
def test_commands_of_a_page(home, page):
    given = 0
    for words in commands_of(page):
        if "--format=onnx" in words and not importlib.util.find_spec("onnx"):
            continue
        words = [part for word in words for part in expand(LESS.get(word, word))]
        small = SMALL if words[0] in ("train", "benchmark", "summary") else ()
        give([*words, *small])
        given += 1
    assert given
    if page == "docs/prediction.md":
        assert len(list(Path("out/masks").rglob("*.png"))) == 3
    if page == "docs/compare.md":
        assert Path("report/index.html").exists() and Path("report/report.pdf").exists()
