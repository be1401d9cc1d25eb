"""What is said of a picture depends on that picture and on how it is looked at, on nothing else."""

from types import SimpleNamespace
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from PIL import Image

from fcn_jax.errors import UserError
from fcn_jax.inference.inference import Inference
from fcn_jax.models.preprocess import make_preprocess
from fcn_jax.train.parallel import get_devices
from fcn_jax.train.trained import Trained
from tests.inference.conftest import LABELS

# They run for longer than they are compiled.
pytestmark = pytest.mark.usefixtures("compile_well")


@pytest.fixture(scope="module", params=[1, 3], ids=["one device", "three devices"])
def devices(request):
    return get_devices(count=request.param)


def test_it_is_what_the_trained_network_says(net, draw, devices):
    inference = Inference(net, devices, size_multiple=32)
    sure = Inference(net, devices, size_multiple=32, probabilities=True)
    for size in ((40, 70), (64, 33)):
        image = draw(*size)
        pred = inference.predict(image)
        assert pred.dtype == np.uint8 and len(np.unique(pred)) > 2
        np.testing.assert_array_equal(pred, net.predict(image))
        expected = scipy.special.softmax(net.logits(image), axis=-1)
        np.testing.assert_allclose(sure.predict(image), expected, atol=1e-6)
    assert inference.shapes == {(64, 96), (64, 64)}


def test_a_picture_does_not_depend_on_its_neighbours(net, draw, devices):
    sizes = [(100, 90), (380, 500), (40, 40), (500, 380), (101, 7), (1, 1), (333, 500), (600, 90)]
    images = [draw(*size) for size in sizes]
    inference = Inference(net, devices)
    alone = [inference.predict(image) for image in images]
    assert inference.shapes <= {(384, 384), (384, 512), (512, 384), (768, 384)}
    together = dict(inference.predict_all(enumerate(images)))
    assert sorted(together) == list(range(len(images)))
    for key, pred in together.items():
        assert pred.shape == sizes[key]
        np.testing.assert_array_equal(pred, alone[key])


def test_windows_say_what_the_whole_says_where_they_see_enough(net, draw, devices):
    image = draw(500, 610)
    whole = Inference(net, devices, window=4000)
    for options in ({}, {"probabilities": True}, {"flip": True, "scales": (1.0, 1.25)}):
        windows = Inference(net, devices, window=128, **options)
        pred, expected = windows.predict(image), Inference(net, devices, **options).predict(image)
        if options.get("scales"):  # a window is resized by itself: its pixels lie elsewhere
            assert (pred == expected).mean() > 0.98
        else:
            np.testing.assert_array_equal(pred, expected)
        assert windows.shapes <= {(128, 128), (160, 160)}
    assert whole.find_window(500, 610) == 0 and windows.find_window(500, 128) == 128
    assert windows.find_window(128, 128) == 0
    unsaid = Inference(net, devices)
    assert [unsaid.find_window(*size) for size in ((2048, 2048), (2048, 2049))] == [0, 1024]


class Brightness(nn.Module):
    """Scores how bright the whole image is, padding included."""

    backbone: Any

    @nn.compact
    def __call__(self, images, *, train):
        mean = jnp.broadcast_to(images.mean((1, 2, 3), keepdims=True) / 255, images.shape)
        return self.param("gain", lambda _: jnp.float32(9)) * mean * jnp.arange(3)


def test_a_canvas_is_a_square_that_counts_as_image(draw, devices):
    backbone = SimpleNamespace(preprocess=make_preprocess("tensorflow"))
    net = Trained(
        Brightness(backbone), {"params": {"gain": np.float32(9)}}, LABELS, {"name": "brightness"}
    )
    inference = Inference(net, devices, canvas=96, probabilities=True)
    for size in ((60, 120), (40, 20), (96, 96)):
        image = draw(*size)
        scale = 96 / max(size)
        height, width = (round(side * scale) for side in size)
        canvas = np.full((96, 96, 3), 128, np.uint8)  # of 127.5
        canvas[:height, :width] = Image.fromarray(image).resize(
            (width, height), Image.Resampling.BILINEAR
        )
        output = inference.predict(image)
        assert output.shape == (*size, 3)
        expected = scipy.special.softmax(net.logits(canvas), axis=-1)[0, 0]
        np.testing.assert_allclose(output, np.broadcast_to(expected, output.shape), atol=1e-5)
    assert inference.shapes == {(96, 96)}


def test_rows_are_read_once_and_few_of_them_are_held(net, draw, devices):
    image = draw(900, 300)

    class Rows:
        height, width = 900, 300
        given = 0

        def read(self, num_rows):
            self.given += num_rows
            return image[self.given - num_rows : self.given]

    rows, done, ahead = Rows(), 0, []
    inference = Inference(net, devices, window=128)
    for stripe in inference.predict_rows(rows):
        np.testing.assert_array_equal(
            stripe, Inference(net, devices, window=128).predict(image)[done : done + len(stripe)]
        )
        done += len(stripe)
        ahead.append(rows.given - done)
    assert done == rows.given == 900 and max(ahead) < 128


def test_a_mirrored_picture_has_the_mirrored_prediction(net, draw, devices):
    image = draw(60, 70)
    inference = Inference(net, devices, flip=True, scales=(0.75, 1.5), probabilities=True)
    there, back = inference.predict(image), inference.predict(image[:, ::-1])
    np.testing.assert_allclose(there, back[:, ::-1], atol=1e-6)
    np.testing.assert_allclose(there.sum(axis=-1), 1, atol=1e-5)


def test_views_are_averaged(net, draw, devices):
    image = draw(60, 70)
    one, two = (Inference(net, devices, scales=(s,), probabilities=True) for s in (0.5, 2.0))
    both = Inference(net, devices, scales=(0.5, 2.0), probabilities=True)
    mean = (one.predict(image) + two.predict(image)) / 2
    np.testing.assert_allclose(both.predict(image), mean, atol=1e-6)
    classes = Inference(net, devices, scales=(0.5, 2.0)).predict(image)
    np.testing.assert_array_equal(classes, both.predict(image).argmax(axis=-1))


def test_a_large_picture_is_seen_shrunk_and_answered_at_its_size(net, draw, devices):
    image = draw(900, 1200, cell=200)
    inference = Inference(net, devices, max_size=384)
    pred = inference.predict(image)
    assert pred.shape == (900, 1200) and inference.shapes == {(384, 384)}
    assert (pred == Inference(net, devices).predict(image)).mean() > 0.95
    small = draw(50, 60)
    np.testing.assert_array_equal(inference.predict(small), Inference(net, devices).predict(small))


@pytest.mark.parametrize(
    "options, words",
    [
        ({"scales": ()}, "scales"),
        ({"scales": (0.0,)}, "scales=(0.0,)"),
        ({"scales": (1.0, float("nan"))}, "scales"),
        ({"window": 20}, "window=20"),
        ({"max_size": -1}, "max_size=-1"),
        ({"size_multiple": -32}, "size_multiple=-32"),
        ({"canvas": -1}, "canvas=-1"),
        ({"canvas": 513, "scales": (1.0, 1.25)}, "leave out scales"),
    ],
)
def test_options_are_checked(net, options, words):
    with pytest.raises(UserError, match=words.replace("(", r"\(").replace(")", r"\)")):
        Inference(net, get_devices(count=1), **options)
