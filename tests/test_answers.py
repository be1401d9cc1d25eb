"""What users ran into, and how it is answered now: a row for each entry of their report.

The entries are A (exit code 0 and wrong numbers, or lost work), B (a running system), C (weights)
and D (a newcomer with data of their own). A row says what was found; what makes it so here, out of
a folder `mine`, its build and a run that is complete; the command line as it is typed after `python
launch.py`; the exit code; and what the answer says, with anything in place of `...`. The laws of
all rows are in `test_answer`. What is no answer to a command line is in the table `ELSEWHERE`.
"""

import ast
import contextlib
import errno
import io
import json
import os
import re
import resource
import shlex
import shutil
import signal
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import safetensors.numpy
from flax.traverse_util import flatten_dict
from PIL import Image

import fcn_jax
from fcn_jax.commands import door
from fcn_jax.models.zoo import get_model
from fcn_jax.ops.upsample import bilinear_kernel
from fcn_jax.train import parallel
from fcn_jax.train.evaluation import Evaluator
from fcn_jax.train.lock import lock_folder
from fcn_jax.weights.backbone_names import mobilenet_v2
from fcn_jax.weights.files import write_safetensors
from fcn_jax.weights.naming import PREPROCESS
from tests.conftest import shapes_of
from tests.data.conftest import write_custom, write_matlab_set
from tests.data.picture_writers import png, tiff
from tests.weights.conftest import draw_vgg16, write_caffemodel
from tests.weights.test_exchange import draw

ROOT = Path(__file__).parents[1]
RUN = Path("runs [v2]/tiny")

EXPERIMENTS = {
    "tiny": '''"""A network of two thousand parameters on the folder `mine`, for two steps."""

from ml_collections import ConfigDict


def get_config():
    return ConfigDict(
        {
            "data": {"name": "custom", "source_dir": "mine", "data_dir": "built"},
            "augment": {"crop_size": 16},
            "model": {"name": "tiny_fcn4s", "fc_channels": 8},
            "optim": {"name": "adamw", "learning_rate": 1e-3, "schedule": "constant"},
            "train": {"num_steps": 2, "batch_size": 4, "log_every": 1},
            "eval": {"size_multiple": 16, "num_samples": 1},
        }
    )
''',
    "_shared": '"""What experiments have in common."""\n',
}

CHECK = "check_data --config=tiny"
TRAIN = "train --config=tiny --workdir=new"
RESUME = f"train --config=tiny --workdir='{RUN}'"  # the command of the run that is there
EVALUATE = f"evaluate --workdir='{RUN}'"
COMPARE = f"compare '{RUN}' second"
IMPORT = "import_weights net --output=ours.safetensors"


class Row(NamedTuple):
    """What was found, and how it is answered."""

    entry: str
    found: str
    given: object
    line: str
    code: int
    says: str


# --- what is done before a command is given -----------------------------------------------------
# Functions of a pytest.MonkeyPatch, in the folder of `place`; some return a context to be in.


def nothing(patch):
    """Leaves everything as it is."""


def do(*steps):
    def do(patch):
        for step in steps:
            step(patch)

    return do


def write(name, content):
    def write(patch):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(content if isinstance(content, bytes) else content.encode())

    return write


def write_classes(*lines):
    return write("mine/classes.txt", "\n".join(lines))


def instead_of(kind, name, content):
    """Removes a picture of `mine`, and writes bytes in its place, or what `pillow` saves."""

    def replace(patch):
        (old,) = Path("mine", kind).glob(f"{Path(name).stem}.*")
        old.unlink()
        save = content if callable(content) else lambda file: file.write_bytes(content)
        save(old.with_name(name))

    return replace


def pillow(array, *, palette=None, **options):
    def save(file):
        picture = Image.fromarray(array)
        if palette:
            picture.putpalette(palette)
        picture.save(file, **options)

    return save


def every_label(function):
    """Changes the label maps of `mine`: `function(label, number of the image)`."""

    def change(patch):
        for number, file in enumerate(sorted(Path("mine/labels").iterdir())):
            Image.fromarray(function(np.asarray(Image.open(file)), number)).save(file)

    return change


def small_pictures(patch):
    for file in sorted(Path("mine").glob("*/*.*")):
        picture = Image.open(file).crop((0, 0, 8, 6))
        picture.save(file)


def rename_pairs(names):
    """Gives images and labels other names: {old: new}, which may be paths."""

    def rename(patch):
        for kind in ("images", "labels"):
            for old, new in names.items():
                (file,) = Path("mine", kind).glob(f"{old}.*")
                there = Path("mine", kind, new + file.suffix)
                there.parent.mkdir(parents=True, exist_ok=True)
                file.rename(there)

    return rename


def lists(train, val):
    return do(
        write("mine/train.txt", "\n".join(train)),
        write("mine/val.txt", "\n".join(val)),
    )


def remove(*names):
    def remove(patch):
        for name in names:
            shutil.rmtree(name) if Path(name).is_dir() else Path(name).unlink()

    return remove


def change(folder, pattern, function):
    """Changes the bytes of a file that is found below a folder."""

    def change(patch):
        file = min(file for file in Path(folder).rglob(pattern) if file.is_file())
        file.write_bytes(function(file.read_bytes()))

    return change


def flip(share):
    """Flips a bit there, as a share of all bytes."""
    return lambda data: flip_at(int(len(data) * share))(data)


def flip_at(place):
    return lambda data: data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :]


def cut_in_half(data):
    return data[: len(data) // 2]


def nothing_of(data):
    return b""


def empty_the_build(patch):
    for file in Path("built").rglob("*"):
        if file.is_file():
            file.unlink()


def replaced_in_the_same_second(patch):
    file = Path("mine/images/a.jpg")
    before = file.stat()
    file.write_bytes(flip_at(before.st_size - 20)(file.read_bytes()))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def other_folder(patch):
    shutil.copytree("mine", "other")
    Path("other/classes.txt").write_text("wall 0 0 0\nroof 128 0 0\ndoor 0 128 0\n")


def second_run(patch):
    shutil.copytree(RUN, "second")


def edit_json(name, function):
    """Changes what a JSON file holds in its place."""

    def edit(patch):
        value = json.loads(Path(name).read_text())
        function(value)
        Path(name).write_text(json.dumps(value))

    return edit


def name_classes(*names):
    """Gives the run other names of classes, wherever they stand."""
    return do(
        edit_json(RUN / "run.json", lambda run: run["labels"].update(names=names)),
        edit_json(RUN / "eval/val-2.json", lambda report: report.update(class_names=names)),
    )


def without(*keys):
    return lambda values: [values.pop(key) for key in keys]


def trained_by_another(patch):
    return lock_folder(Path("new"), say=print)


@contextlib.contextmanager
def _files_up_to(num_bytes):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def files_up_to(num_bytes):
    return lambda patch: _files_up_to(num_bytes)


def refused(function, name, code):
    """Lets a function of the system refuse whatever has this name."""

    def refuse(patch):
        original = getattr(os, function)

        def call(path, *args, **options):
            if name in str(path):
                raise OSError(code, os.strerror(code), str(path))
            return original(path, *args, **options)

        patch.setattr(os, function, call)

    return refuse


def signal_in_evaluation(number):
    def given(patch):
        original = Evaluator.score

        def score(self, variables, *, on_batch):
            def stop(num_images):
                os.kill(os.getpid(), number)
                on_batch(num_images)

            return original(self, variables, on_batch=stop)

        patch.setattr(Evaluator, "score", score)

    return given


class _NoReader(io.StringIO):
    def write(self, text):
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")


def reader_left(patch):
    """As after `train | tee log` and Ctrl-C, which ends tee first."""
    patch.setattr(sys, "stdout", _NoReader())
    patch.setattr(sys, "stderr", _NoReader())


def unscored(patch):
    """The run as a kill during its evaluation leaves it."""
    shutil.rmtree(RUN / "eval")
    (RUN / "checkpoints/2/metrics/metrics").unlink()


RNG = np.random.default_rng(0)
LABEL = RNG.integers(0, 3, (12, 16), np.uint8)
IMAGE = RNG.integers(0, 256, (12, 16, 3), np.uint8)
GREYS = [0, 0, 0, 2, 2, 2, 1, 1, 1]  # a palette in which numbers and levels are exchanged


def net(naming):
    """Writes a file of these names and shapes."""
    return lambda patch: safetensors.numpy.save_file(draw(naming, RNG), "net")


def fcn_of_caffe(**layers):
    """Writes a caffemodel of VGG16's convolutions and what is after them: {layer: shape}."""

    def write(patch):
        vgg16 = draw_vgg16(RNG, fc_channels=4)
        blobs = {name: arrays for name, arrays in vgg16.items() if name.startswith("conv")}
        shapes = {"fc6": (4, 512, 7, 7), "fc7": (4, 4, 1, 1), **layers}
        for name, shape in shapes.items():
            if isinstance(shape, np.ndarray):
                blobs[name] = [shape]
                continue
            blobs[name] = [np.zeros(shape, np.float32), np.zeros(shape[:1], np.float32)]
        write_caffemodel(Path("net"), blobs)

    return write


def learned_upsampling(patch):
    """Writes weights as import_weights does, with kernels that are 1 % larger than bilinear."""
    shapes = flatten_dict(shapes_of(get_model("tiny_fcn4s", num_classes=3)), sep="/")
    arrays = {path: np.zeros(leaf.shape, np.float32) for path, leaf in shapes.items()}
    taps, classes = 1.01 * bilinear_kernel(7), np.eye(3)
    arrays["params/upscore/kernel"] = np.einsum("y,x,io->yxio", taps, taps, classes).astype("f4")
    metadata = {"preprocess": json.dumps(PREPROCESS["caffe"]), "requires": "{}"}
    write_safetensors("net", arrays, {"format": "fcn_jax", "network": "tiny", **metadata})


AT_ONCE = {
    "score_fr": (21, 4, 1, 1),
    "score_pool4": (21, 512, 1, 1),
    "score_pool3": (21, 256, 1, 1),
    "scale_pool4": np.full(512, 0.01, "f4"),
    "scale_pool3": np.full(256, 1e-4, "f4"),
}
SIFT_FLOW = {
    "score_fr_sem": (33, 4, 1, 1),
    "score_pool4_sem": (33, 512, 1, 1),
    "score_fr_geo": (3, 4, 1, 1),
    "score_pool4_geo": (3, 512, 1, 1),
}


ROWS = [
    # --- A: exit code 0 and wrong numbers, or lost work
    Row("A1", "a run below brackets is complete, and can be read",
        nothing, RESUME, 0, "tiny is complete: nothing to do"),
    Row("A1", "its checkpoint can be scored",
        nothing, EVALUATE, 0, "mean IoU 0 ... counts in runs [v2]/tiny/eval/val-2.json"),
    Row("A1", "an address in place of a folder",
        nothing, "train --config=tiny --workdir=gs://bucket/run", 2,
        "gs://bucket/run is no path of this machine: ... give the path of a local folder"),
    Row("A2", "another folder, as many other classes",
        other_folder, f"{RESUME} --config.data.source_dir=other", 2,
        "class 0 is 'background' in runs [v2]/tiny and 'wall' in the data ... --workdir"),
    Row("A2", "two lines of classes.txt exchanged",
        write_classes("background 0 0 0", "dog 0 128 0", "cat 128 0 0"), EVALUATE, 2,
        "class 1 is 'cat' in runs [v2]/tiny and 'dog' in the data ... restore them"),
    Row("A2", "the same, and a run that begins at the old one",
        write_classes("background 0 0 0", "dog 0 128 0", "cat 128 0 0"),
        f"{TRAIN} '--config.init.workdir={RUN}'", 2,
        "class 1 is 'cat' in runs [v2]/tiny and 'dog' in this network ... --config.init.skip="),
    Row("A2", "a label edited, and trained on",
        instead_of("labels", "a.png", pillow(LABEL)), f"{RESUME} --config.train.num_steps=3", 2,
        "the data of runs [v2]/tiny have changed: fingerprint ... --accept_data"),
    Row("A2", "a label edited, and scored",
        instead_of("labels", "c.png", pillow(LABEL)), EVALUATE, 0,
        "warning: the data of runs [v2]/tiny have changed since it was trained, those of val"),
    Row("A3", "a palette of greys that an optimiser of PNG files made",
        instead_of("labels", "a.png", pillow(LABEL, palette=GREYS)), CHECK, 1,
        "a.png: number 1 is shown as grey level 2, and nothing tells which ... Save it again"),
    Row("A3", "a TIFF label that JPEG compressed",
        instead_of("labels", "a.tif", pillow(LABEL, compression="jpeg")), CHECK, 1,
        "a.tif: this TIFF holds a JPEG, and its compression (jpeg) may change the numbers ... "
        "save labels as PNG"),
    Row("A3", "a grey TIFF label of 4 bits",
        instead_of("labels", "a.tif", tiff(LABEL[:, :, None], 4, photometric=1)), CHECK, 1,
        "a.tif: a grey label must have 8 bits per pixel, got 4 ... save it again"),
    Row("A3", "a label of colours of 16 bits",
        instead_of("labels", "a.png", png(np.repeat(LABEL[:, :, None], 3, 2), 16)), CHECK, 1,
        "a.png: a label must store the numbers themselves, got ... more than 8 bits"),
    Row("A3", "an image of colours of 16 bits",
        instead_of("images", "a.png", png(IMAGE.astype(int) * 257, 16)), CHECK, 1,
        "a.png: image mode RGB is not supported (more than 8 bits per sample); convert it"),
    Row("A3", "a TIFF image on its head, its label upright",
        instead_of("images", "a.tif", pillow(IMAGE, tiffinfo={274: 3})), CHECK, 1,
        "a.tif: EXIF says that the image is shown turned (orientation 3) ... save both upright"),
    Row("A3", "a TIFF image of four bands, colours multiplied by alpha",
        instead_of("images", "a.tif", tiff(IMAGE[:, :, [0, 1, 2, 0]].astype(int), 8, photometric=2,
                                           tags={338: [1]})), CHECK, 1,
        "a.tif: image mode RGBA is not supported (colours multiplied by alpha); convert it"),
    Row("A4", "lists with a capital",
        do(write("mine/Train.txt", "a\nb\nc\nd\n"), write("mine/Val.txt", "e\nf\n")), CHECK, 0,
        "split by Train.txt and Val.txt"),
    Row("A4", "a list as CSV, without the other one",
        write("mine/train.csv", "image\na.jpg\n"), CHECK, 1,
        "val.txt is missing ... lists go together: train.txt and val.txt"),
    Row("A4", "a file that seems to be a list",
        write("mine/folds.txt", "a 1\nb 2\n"), CHECK, 1,
        "folds.txt seems to say how images are split, and is not understood: write train.txt"),
    Row("A4", "no list at all",
        nothing, "prepare --config=tiny", 0,
        "split by chance: 20% of the images to val ... write train.txt and val.txt to choose"),
    Row("A5", "labelme's first line",
        write_classes("__ignore__", "background", "cat", "dog"), CHECK, 0,
        "read as labelme's, where __ignore__ is 255: 0 background, 1 cat, 2 dog"),
    Row("A5", "numbered lines, and labels that begin at 1",
        do(write_classes("1 wall", "2 building", "3 roof"),
           every_label(lambda label, _: label + (label < 255))), CHECK, 0,
        "read as numbers before names: 1 wall, 2 building, 3 roof"),
    Row("A5", "void with a capital",
        write_classes("background", "cat", "Void"), CHECK, 1,
        "classes.txt, line 3: 'Void' is 255 and no class; remove the line"),
    Row("A6", "one class selected",
        nothing, f"{TRAIN} --config.data.classes=cat", 2,
        "name one class, and no score could be wrong ... Name a second one"),
    Row("A6", "a split of one class",
        every_label(lambda label, number: label * 0 if number in (2, 5) else label), CHECK, 1,
        "all labels of val (2) hold only class 'background' ... move images"),
    Row("A6", "masks of 0 and 1 among those of 0 and 255",
        do(write_classes("no", "yes"), every_label(
            lambda label, number: np.uint8(label > 0) * np.uint8(1 if number == 2 else 255))),
        CHECK, 1, "a.png holds 255 beside one class, and ... c.png several classes and no 255"),
    Row("A7", "an image replaced by one of the same size in the same second",
        replaced_in_the_same_second, f"{RESUME} --config.train.num_steps=3", 2,
        "the data of runs [v2]/tiny have changed"),
    Row("A9", "a learning rate beyond all bounds",
        nothing, f"{TRAIN} --config.optim.learning_rate=1e38", 2,
        "step 2 of new is not finite: loss nan, gradient norm nan, learning rate 1e+38 ... "
        "there is no checkpoint yet ... replay --workdir=new"),
    Row("A10", "upsampling kernels that are not the network's",
        learned_upsampling,
        f"{TRAIN} --config.init.weights=net", 2,
        "holds upsampling kernels that are not the network's fixed bilinear ones ... "
        "set --config.model.upsampling=learned"),
    # --- B: a running system
    Row("B1", "the same command twice on one folder",
        trained_by_another, TRAIN, 2,
        "new is being trained by process ... wait for it or stop it, or choose another --workdir"),
    Row("B2", "a closed ssh in the middle of an evaluation",
        signal_in_evaluation(signal.SIGHUP), TRAIN, 130,
        "SIGHUP: stopping after this step: saving ... (a second one ends it at once, unsaved)"),
    Row("B2", "and the evaluation is made up for",
        unscored, RESUME, 0, "going on from step 2 ... step 2: val mean IoU"),
    Row("B2", "the reader of the output gone",
        reader_left, TRAIN, 0, ""),
    Row("B4", "a file system that takes no larger files",
        files_up_to(10_000), TRAIN, 2,
        "File too large: new/checkpoints ... what was written before is whole"),
    Row("B4", "a full disk",
        refused("mkdir", "new", errno.ENOSPC), TRAIN, 2,
        "No space left on device: ... free some space (df -h) and give the same command again"),
    Row("B4", "a read-only mount",
        refused("mkdir", "new", errno.EROFS), TRAIN, 2,
        "Read-only file system: ... choose another folder"),
    Row("B5", "a checkpoint cut in half",
        change(RUN / "checkpoints/2", "d/*", cut_in_half), EVALUATE, 2,
        "checkpoint 2 in runs [v2]/tiny/checkpoints is damaged: ... rm -r 'runs [v2]/tiny/check"),
    Row("B5", "a bit flipped in a checkpoint, which would train on",
        change(RUN / "checkpoints/2", "d/*", flip(0.5)), EVALUATE, 2,
        "checkpoint 2 in runs [v2]/tiny/checkpoints is damaged: ... is not what was saved"),
    Row("B5", "a file of scores of 0 bytes beside a checkpoint that is whole",
        write(RUN / "checkpoints/2/metrics/metrics", ""), EVALUATE, 0, "mean IoU"),
    Row("B6", "a picture of 0 bytes",
        do(second_run, change(RUN / "samples", "*pred-2.png", nothing_of)), COMPARE, 2,
        "c.pred-2.png is damaged: it is no picture ... "
        "evaluate --workdir='runs [v2]/tiny' --step=2 writes it anew"),
    Row("B7", "a build that was emptied",
        empty_the_build, "prepare --config=tiny", 0,
        "building custom (6 images) ... train: 4 images"),
    Row("B7", "a bit flipped in a record",
        change("built", "custom-train.array_record*", flip(0.5)), TRAIN, 2,
        "custom-train.array_record-00000-of-00001: ... remove it (rm -r "),
    Row("B7", "the same, found without training",
        change("built", "custom-train.array_record*", flip(0.5)), "prepare --config=tiny", 2,
        "is damaged: custom-train.array_record-00000-of-00001"),
    Row("B9", "a config.json that is no UTF-8",
        write(RUN / "config.json", b"\xff"), EVALUATE, 2,
        "config.json is damaged: ... restore it"),
    Row("B9", "a config.json that is a list",
        write(RUN / "config.json", "[]"), EVALUATE, 2,
        "config.json is damaged: it holds [], wanted keys and values ... restore it"),
    Row("B9", "a config.json without a section",
        edit_json(RUN / "config.json", without("augment")), EVALUATE, 2,
        "config.json lacks augment.crop_size ... say it in section 'augment'"),
    Row("B9", "a run from before a key was added",
        edit_json(RUN / "config.json", lambda config: config["eval"].pop("boundary_px")),
        EVALUATE, 0, "mean IoU"),
    Row("B9", "what a launch leaves that failed or was killed before its first step",
        do(write("new/config.tmp", "{"), write("new/config.json", "{}"), write("new/lock", "")),
        TRAIN, 0, "new: val mean IoU"),
    Row("B10", "one changed byte in a label of MATLAB",
        do(lambda patch: write_matlab_set(Path("nyud"), "nyud"),
           change("nyud/segmentation", "*.mat", flip_at(129))),
        f"{CHECK} --config.data.name=nyud --config.data.source_dir=nyud", 1,
        "img_5010.mat: cannot read segmentation from this file (damaged: "),
    Row("B11", "names of classes with $, | and <",
        do(name_classes("a$b^", "c|d", "e<f"), second_run), COMPARE, 0,
        "wrote report/class_iou.png"),
    Row("B11", "names of classes that a terminal would obey",
        write_classes("back\x1b[2Jground", "cat", "dog"), CHECK, 1,
        r"classes.txt, line 1: the name 'back\x1b[2Jground' ... remove them"),
    Row("B11", "names of images of 250 bytes",
        rename_pairs({"c": 246 * "x"}), EVALUATE, 0, "mean IoU"),
    # --- C: weights
    Row("C1", "FCN-8s at once with the blobs of its Scale layers",
        fcn_of_caffe(**AT_ONCE), f"{IMPORT} --network=vgg16 --head=own", 0,
        "skip_scales=(0.01, 0.0001) ... wrote ours.safetensors"),
    Row("C2", "a trained network used without its data",
        nothing, f"export_weights --workdir='{RUN}' --output=a.safetensors", 0,
        'use it: fcn_jax.load("a.safetensors")'),
    Row("C2", "a network of a file, scored on the data of an experiment",
        lambda patch: fcn_jax.load(RUN).save("net.safetensors"),
        "evaluate --network=net.safetensors --config=tiny", 0, "mean IoU"),
    Row("C2", "a network of a file on pictures",
        lambda patch: fcn_jax.load(RUN).save("net.safetensors"),
        "predict mine/images --network=net.safetensors", 0, "pictures segmented"),
    Row("C3", "SIFT Flow's release: the semantic branch",
        fcn_of_caffe(**SIFT_FLOW),
        f"{IMPORT} --network=vgg16 --head=own --preprocess=caffe:108.353,115.294,114.578", 0,
        "geometric one (3) is left out ... wrote ours.safetensors"),
    Row("C3", "NYUD's release of depth",
        lambda patch: safetensors.numpy.save_file(
            {"conv1_1_bgrd.weight": np.zeros((64, 4, 3, 3), "f4")}, "net"),
        f"{IMPORT} --network=vgg16", 2, "NYUDv2's FCN of colour and depth"),
    Row("C4", "a release with a mean of its own",
        fcn_of_caffe(score_fr=(40, 4, 1, 1)), f"{IMPORT} --network=vgg16 --head=own", 2,
        "40 classes as NYUDv2's, ... --preprocess=caffe:92.318,97.203,116.190 for nyud"),
    Row("C5", "what a wrapper puts before names",
        lambda patch: safetensors.numpy.save_file(
            {f"_orig_mod.{name}": array
             for name, array in draw(mobilenet_v2(first_expand=False), RNG).items()}, "net"),
        f"{IMPORT} --network=mobilenetv2", 0, "260 copied"),
    Row("C5", "a .pth that is no state dict, read without torch",
        write("net.pth", b"\x80\x02}q\x00."), "import_weights net.pth --network=vgg16 "
        "--output=ours.safetensors", 2, "net.pth"),
    Row("C6", "a network of another name",
        net(mobilenet_v2(first_expand=False)), f"{IMPORT} --network=resnet34", 2,
        "this is MobileNetV2 in torchvision's names, and no ResNet-34; give --network=mobilenetv2"),
    Row("C6", "a file that was not imported, in an experiment on another network",
        net(mobilenet_v2(first_expand=False)), f"{TRAIN} --config.init.weights=net", 2,
        "net is MobileNetV2 in torchvision's names, and is to be imported first: ... "
        "import_weights net --network=mobilenetv2 --output=weights/net.safetensors"),
    # --- D: a newcomer with data of their own
    Row("D4", "what a training says first",
        nothing, TRAIN, 0,
        "devices ... data     custom, 3 classes ... images   4 of train to train on, 2 of val to "
        "score ... split    by chance ... network  tiny_fcn4s, 1,753 parameters ... "
        "steps    2, each of 4 crops of 16 x 16 ... compiling ... elapsed"),
    Row("D4", "what an evaluation shows in a pipe",
        nothing, EVALUATE, 0, "2 images of custom val; compiling for each size ... val 2/2"),
    Row("D5", "the source folder is gone",
        remove("mine"), EVALUATE, 0, "is gone: what was built of it is read instead"),
    Row("D5", "the build as well",
        remove("mine", "built"), EVALUATE, 2,
        "the data of runs [v2]/tiny are gone: ... say where they are now: --source_dir=FOLDER"),
    Row("D6", "another network by a flag",
        nothing, "config --config=tiny --config.model.name=mobilenetv2_fcn8s", 0,
        "mobilenetv2_fcn8s does not take fc_channels of experiment tiny: left out"),
    Row("D6", "another rate on a run",
        nothing, f"{RESUME} --config.optim.learning_rate=0.1", 2,
        "learning_rate is 0.001 there and 0.1 here ... "
        "--workdir=NEW --config.init.workdir='runs [v2]/tiny'"),
    Row("D7", "a crop that no memory holds",
        nothing, f"{TRAIN} --config.augment.crop_size=100000", 2,
        "augment.crop_size=100000 need more than ... take smaller crops"),
    Row("D7", "evaluation that no memory holds, before training",
        nothing, f"{TRAIN} --config.eval.size_multiple=100000", 2,
        "padded to 100000 x 100000, need more than ... take smaller images"),
    Row("D7", "weights that are not there, before anything slow",
        nothing, f"{TRAIN} --config.init.weights=weights/vgg16.safetensors", 2,
        "init.weights=weights/vgg16.safetensors is not there: ... import_weights"),
    Row("D7", "a crop that is mostly padding",
        small_pictures, TRAIN, 0,
        "remark   81% of a crop is padding ... --config.augment.crop_size=32 has less of it"),
    Row("D8", "what experiments share, as an experiment",
        nothing, "train --config=experiments/_shared.py --workdir=new", 2,
        "_shared.py is no experiment but what some share ... list"),
    Row("D8", "a key as others call it",
        nothing, f"{TRAIN} --config.optim.lr=1", 2, "did you mean optim.learning_rate?"),
    Row("D9", "one unit for scores everywhere",
        second_run, COMPARE, 0, "mean IoU ... tiny      0.1"),
    Row("D12", "a hidden folder with pictures",
        write("mine/images/.ipynb_checkpoints/a.jpg", ""), CHECK, 0,
        "hidden, and passed over with the pictures there: images/.ipynb_checkpoints"),
    Row("D12", "images to test on, without labels",
        do(rename_pairs({"a": "train/a", "b": "train/b", "c": "val/c", "d": "val/d", "e": "test/e",
                         "f": "test/f"}), remove("mine/labels/test")), CHECK, 0,
        "test is left out: the images of mine/images/test have no labels"),
    Row("D12", "one name in two spellings of Unicode",
        do(rename_pairs({"a": "caf\u00e9"}), lambda patch: os.rename(
            "mine/labels/caf\u00e9.png", "mine/labels/cafe\u0301.png")), CHECK, 0, "all is well"),
    Row("D12", "names with spaces in lists",
        do(rename_pairs({"a": "my first"}), lists(["my first", "b", "d"], ["c", "e", "f"])),
        CHECK, 0, "split by train.txt and val.txt ... all is well"),
    Row("D12", "names that are paths",
        do(rename_pairs({"a": "videoA/00000", "b": "videoB/00000"}),
           lists(["videoA/00000", "d"], ["videoB/00000", "e"])), CHECK, 0, "all is well"),
    Row("D12", "a picture over the size limit",
        write("mine/images/c.jpg", "P6 40000 10000 255\n"), CHECK, 1,
        "c.jpg: this picture is too large to be read at once ... cut it into tiles"),
]  # fmt: skip

# Entries that no command line in this process shows: a test with processes of its own, or a text.
ELSEWHERE = {
    "B2": "train/test_stops.py::test_signal_is_answered_at_once_and_a_second_one_ends",
    "B3": "train/test_stops.py::test_workers_leave_signals_to_their_parent_and_end_with_it",
    "B4": "commands/test_door.py::test_platform_that_is_not_there_is_told",
    "B6": "train/test_run_folder.py::test_files_outlive_a_full_disk",
    "B8": "train/test_checkpoint.py::test_reader_looks_again_where_a_training_saved",
    "B11": "commands/test_compare.py::test_a_long_legend_takes_no_room_from_the_pictures",
    "B12": "commands/test_door.py::test_launch_does_not_start_over_what_only_runs_it",
    "A3": "data/test_storage.py::test_every_picture_is_read_as_it_was_written_or_refused",
    "A8": "commands/test_compare.py::"
    "test_pictures_of_another_palette_are_shown_in_the_colours_of_the_first",
    "C5": "weights/test_recognition.py::test_names_and_shapes_are_those_that_the_libraries_make",
    "D4": "train/test_progress.py::"
    "test_time_left_is_that_of_recent_steps_and_of_what_comes_in_between",
}
ENTRIES = [
    f"{kind}{number}"
    for kind, last in (("A", 10), ("B", 13), ("C", 6))
    for number in range(1, last + 1)
] + [f"D{number}" for number in (4, 5, 6, 7, 8, 9, 12)]

# What an answer that names a way on holds: a flag, a command, or what to do.
WAY_ON = re.compile(
    r"--\w|python launch\.py|\b(choose|convert|cut|free|give|keep|lower|move|name|put|remove|"
    r"rename|restore|save|say|set|take|wait|write)\b",
    re.IGNORECASE,
)


def launch(line):
    return door.main(shlex.split(line), experiments_dir=Path("experiments"))


@pytest.fixture(scope="module")
def place(tmp_path_factory, plain_conv, tiny_network):
    """A folder with experiments, a user's pictures, their build and a run; look, do not touch."""
    folder = tmp_path_factory.mktemp("place")
    first = parallel.get_devices(count=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parallel, "get_devices", lambda count=None: first)
        patch.chdir(folder)
        write_custom(Path("mine"))
        for name, text in EXPERIMENTS.items():
            write(f"experiments/{name}.py", text)(patch)
        assert launch(RESUME) == 0
        yield folder


@pytest.fixture
def here(place, tmp_path, monkeypatch):
    """Makes a copy of it the working folder."""
    folder = shutil.copytree(place, tmp_path / "here")
    monkeypatch.chdir(folder)
    for name in ("config.json", "run.json"):
        text = (RUN / name).read_text()
        (RUN / name).write_text(text.replace(str(place), str(folder)))


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.entry}: {row.found}")
def test_answer(row, monkeypatch, capsys):
    """The exit code and the words; no traceback; an error is short and names a way on."""
    with monkeypatch.context() as patch, row.given(patch) or contextlib.nullcontext():
        capsys.readouterr()
        code = launch(row.line)
    out, err = capsys.readouterr()
    assert code == row.code, out + err
    told = (err + out).replace(f"{Path.cwd()}/", "")
    assert re.search(".*".join(map(re.escape, row.says.split(" ... "))), told, re.DOTALL), told
    assert "Traceback" not in out + err
    lines = err[err.index("error: ") :].splitlines() if "error: " in err else []
    assert bool(lines) == (code == 2)
    if code == 2:
        assert len(lines) <= 2 + ("is not finite" in err), err
        assert WAY_ON.search(" ".join(lines)), err
    if code == 1:  # of check_data: each kind of problem
        _, *problems = re.split(r"^  (?! )", out[out.index("Problems, ") :], flags=re.MULTILINE)
        assert problems and all(map(WAY_ON.search, problems)), out


def test_every_entry_is_answered():
    assert {row.entry for row in ROWS} | set(ELSEWHERE) == {*ENTRIES} - {"B13"}
    for test in ELSEWHERE.values():
        file, _, name = test.partition("::")
        body = ast.parse((ROOT / "tests" / file).read_text()).body
        assert name in {getattr(node, "name", None) for node in body}, test


def test_b13_what_a_number_of_devices_does_not_promise_is_said():
    text = " ".join((ROOT / "docs/correctness.md").read_text().split())
    assert "loss and gradients of a step on 1, 2, 4 devices | agree to 1e-5" in text
    assert "parameters under AdamW do not" in text and "one core instead of two" in text
