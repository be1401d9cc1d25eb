"""Event files for TensorBoard: what they hold, and what is said where they cannot be written."""

import struct
import sys

import numpy as np
import pytest

from fcn_jax.data.labels import LabelSet
from fcn_jax.errors import UserError
from fcn_jax.reports.tensorboard import TensorBoard, draw_confusion
from fcn_jax.train.tally import Prediction

LABELS = LabelSet(names=("road", "sky"), colors=((10, 20, 30), (40, 50, 60)))
COUNTS = np.array([[3, 1], [0, 0]])


def _read_events(folder):
    """Reads all events: a record is its length, a checksum, the bytes, and another checksum."""
    from tensorboardX.proto.event_pb2 import Event

    events = []
    for path in sorted(folder.iterdir()):
        with open(path, "rb") as file:
            while head := file.read(12):
                events.append(Event.FromString(file.read(struct.unpack("<Q", head[:8])[0])))
                file.read(4)
    return events


def _picture(value):
    from io import BytesIO

    from PIL import Image

    return np.asarray(Image.open(BytesIO(value.image.encoded_image_string)))


def test_event_files_hold_curves_scores_and_pictures(tmp_path, rng):
    pytest.importorskip("tensorboardX")
    board = TensorBoard(tmp_path / "tensorboard")
    assert not (tmp_path / "tensorboard").exists()  # nothing to write yet
    board.on_log(20, {"loss": 0.5, "learning_rate": 0.25})
    image = rng.integers(0, 256, (4, 5, 3), np.uint8)
    label, pred = np.full((4, 5), 255, np.uint8), np.ones((4, 5), np.uint8)
    report = {"split": "val", "step": 20, "num_images": 1, "mean_iou": 0.75, "counts": COUNTS}
    report["class_iou"] = np.array([0.75, np.nan])
    board.on_eval(report, [Prediction("a/b", image, label, pred)], LABELS)
    board.close()
    _, *events = _read_events(tmp_path / "tensorboard")
    values = {value.tag: value for event in events for value in event.summary.value}
    print(list(values))
    scalars = {tag: v.simple_value for tag, v in values.items() if v.HasField("simple_value")}
    expected = {"train/loss": 0.5, "train/learning_rate": 0.25}
    assert scalars == expected | {"val/mean_iou": 0.75, "val/class_iou/road": 0.75}
    assert {event.step for event in events} == {20}
    sample = np.concatenate([image, np.full_like(image, (224, 224, 192))], axis=1)
    sample = np.concatenate([sample, np.full_like(image, (40, 50, 60))], axis=1)
    np.testing.assert_array_equal(_picture(values["val/a/b"]), sample)
    np.testing.assert_array_equal(_picture(values["val/confusion"]), draw_confusion(COUNTS))


def test_confusion_is_the_share_of_the_row():
    picture = draw_confusion(COUNTS)
    corners = picture[:: len(picture) - 1, :: len(picture) - 1, 0]
    np.testing.assert_array_equal(corners, [[64, 191], [255, 255]])
    assert picture.shape[0] == picture.shape[1] and picture.shape[2] == 3


def test_without_the_package_it_is_said_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(UserError, match="needs the package .*\npip install tensorboardX$"):
        TensorBoard(tmp_path)
