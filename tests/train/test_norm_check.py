"""Statistics of photos against those that batch norms have stored."""

import dataclasses

import jax
import numpy as np
import pytest
from PIL import Image

from fcn_jax.models.layers import NormSpec
from fcn_jax.models.preprocess import TORCHVISION
from fcn_jax.models.resnet import ResNet
from fcn_jax.models.vgg import VGG16
from fcn_jax.train.norm_check import LayerCheck, NormCheck, check_norms, measure_norms, read_photos

pytestmark = pytest.mark.usefixtures("plain_conv")
FROZEN = NormSpec(frozen=True)


def trained_on(make, variables, photos):
    """The variables with the statistics that the layers have on these photos."""
    run = jax.jit(
        lambda variables, images: make(norm=NormSpec(momentum=0.0)).apply(
            variables, images, train=True, mutable=["batch_stats"]
        )
    )
    return variables | run(variables, photos)[1]


def vgg16(**options):
    return VGG16(width=1 / 8, preprocess=TORCHVISION, **options)


def resnet(**options):
    return ResNet(width=1 / 8, **options)


@pytest.fixture
def photos(rng):
    """Noise of several scales and brightnesses: photos that differ."""
    coarse = rng.integers(0, 256, (4, 8, 8, 3)).repeat(8, 1).repeat(8, 2)
    return ((coarse + rng.integers(0, 256, (4, 64, 64, 3))) // 2).astype(np.uint8)


@pytest.mark.parametrize(("make", "layers"), [(vgg16, 13), (resnet, 20)])
def test_a_network_agrees_with_the_photos_that_it_was_trained_on(
    draw_variables, photos, make, layers
):
    variables = trained_on(make, draw_variables(make(norm=FROZEN)), photos)
    check = check_norms(make(norm=FROZEN), variables, photos)
    assert len(check.layers) == layers and check.first_disagreement is None
    assert (
        check.verdict
        == f"the batch norms agree in all of the first {layers - 4} of {layers} layers"
    )
    for row in check.layers:
        assert row.var_ratio == pytest.approx(1, rel=1e-3), row
        assert min(row.var_correlation, row.mean_correlation) > 0.999, row


def test_other_preprocessing_is_seen_in_the_first_layer(draw_variables, photos):
    variables = trained_on(vgg16, draw_variables(vgg16(norm=FROZEN)), photos)
    wrong = dataclasses.replace(TORCHVISION, std_rgb=(1.0, 1.0, 1.0))
    check = check_norms(VGG16(width=1 / 8, norm=FROZEN, preprocess=wrong), variables, photos)
    assert check.first_disagreement.layer == "conv1_1"
    assert check.first_disagreement.var_ratio == pytest.approx(58**2, rel=0.1)
    assert "disagree: conv1_1 is the first layer where they do" in check.verdict


def test_statistics_of_many_photos_are_those_of_all_their_pixels(draw_variables, photos):
    model = resnet(norm=FROZEN)
    variables = draw_variables(model)
    stats = measure_norms(model, variables, photos)
    assert list(stats)[:4] == ["conv1", "layer1_0/conv1", "layer1_0/conv2", "layer1_1/conv1"]
    # The statistics of one batch of all, which a norm with no memory stores of the first layer.
    batch = trained_on(resnet, variables, photos)["batch_stats"]["conv1"]["norm"]
    np.testing.assert_allclose(stats["conv1"][0], batch["mean"], atol=1e-5)
    np.testing.assert_allclose(stats["conv1"][1], batch["var"], rtol=1e-4)


def check_of(*rows):
    return NormCheck(tuple(LayerCheck(f"conv{n}", *row) for n, row in enumerate(rows, start=1)))


@pytest.mark.parametrize(
    ("row", "agrees"),
    [
        ((0.67, 1.9, 0.0, True), True),
        ((0.67, 0.51, 0.0, True), True),
        ((0.67, 1.0, 1.0, True), True),  # as low as noise takes it
        ((0.65, 1.0, 1.0, True), False),
        ((0.9, 2.1, 1.0, True), False),
        ((0.9, 0.49, 1.0, True), False),
        ((np.nan, 1.0, 1.0, True), False),
    ],
)
def test_variances_decide(row, agrees):
    assert (check_of(row).first_disagreement is None) == agrees


def test_table_names_what_disagrees_and_what_does_not_count():
    check = check_of((0.9, 1, 0.9, True), (0.7, 1, 1, True), (0.5, 1, 1, True), (0.1, 1, 1, False))
    lines = str(check).splitlines()
    assert lines[0].split() == ["layer", "log", "var", "r", "var", "ratio", "mean", "r"]
    assert lines[1].split() == ["conv1", "0.90", "1.00", "0.90"]
    assert lines[2].endswith("  agrees less")
    assert lines[3].endswith("  disagrees") and lines[4].endswith("(does not count)")
    # Where one disagrees, the trouble begins with the first that agrees less.
    assert lines[5].startswith("the batch norms disagree: conv2 is the first layer")


# --- photos -----------------------------------------------------------------------------------


def test_photos_are_the_middles_of_resized_pictures_spread_over_the_folder(tmp_path):
    for number in range(5):
        # Bright in the middle half of the long side, which alone is left of a picture of 1 : 2.
        pixels = np.full((100, 200, 3), 10 * number, np.uint8)
        pixels[:, 50:150] += 100
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    (tmp_path / "notes.txt").write_text("no photo")
    photos = read_photos(tmp_path, num_photos=3)
    assert photos.shape == (3, 224, 224, 3)
    assert [photo[112, 112, 0] for photo in photos] == [100, 120, 140]
    # Of 512 columns the bright half is 128..384, and the middle 224 are 144..368.
    assert [np.unique(photo).tolist() for photo in photos] == [[100], [120], [140]]
    assert len(read_photos(tmp_path, num_photos=9)) == 5


def test_read_photos_rejects_a_folder_without_any(tmp_path):
    with pytest.raises(ValueError, match="no folder; give one that holds photos"):
        read_photos(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="holds no photos"):
        read_photos(tmp_path)
