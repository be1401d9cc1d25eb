"""VGG16: its features, and the hole algorithm."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fcn_jax.models.preprocess import CAFFE
from fcn_jax.models.vgg import POOL_STRIDES, VGG16, deeplab_pools, fcn_pools, noup_pools
from fcn_jax.ops.geometry import hole_algorithm

pytestmark = pytest.mark.usefixtures("plain_conv")

WIDTH = 1 / 32


def _features(model, variables, images):
    run = jax.jit(
        lambda variables, images: {
            name: blob.maps for name, blob in model.apply(variables, images, train=False).items()
        }
    )
    return run(variables, images)


def test_features_are_the_image_and_the_pools_coarse_last():
    model = VGG16(width=WIDTH)
    blobs = {}

    def run(images):
        blobs.update(model.init_with_output(jax.random.key(0), images, train=False)[0])

    jax.eval_shape(run, jax.ShapeDtypeStruct((2, 64, 96, 3), "float32"))
    assert [(name, blob.stride, blob.maps.shape) for name, blob in blobs.items()] == [
        ("data", 1, (2, 64, 96, 3)),
        ("pool1", 2, (2, 32, 48, 2)),
        ("pool2", 4, (2, 16, 24, 4)),
        ("pool3", 8, (2, 8, 12, 8)),
        ("pool4", 16, (2, 4, 6, 16)),
        ("pool5", 32, (2, 2, 3, 16)),
    ]


def test_preprocessing_takes_the_mean_off_and_turns_rgb_to_bgr():
    images = jnp.asarray([[[CAFFE.mean_rgb, (255, 0, 0)]]], jnp.float32)
    actual = CAFFE(images, "float32")[0, 0]
    np.testing.assert_array_equal(actual[0], [0, 0, 0])
    expected = [-104.00699, -116.66877, 255 - 122.67892]
    np.testing.assert_allclose(actual[1], expected, rtol=1e-6)


def test_bytes_and_floats_are_the_same_image(rng, draw_variables):
    model = VGG16(width=WIDTH)
    images = jnp.asarray(rng.integers(0, 256, (1, 17, 20, 3)), jnp.uint8)
    variables = draw_variables(model)
    from_bytes = _features(model, variables, images)
    from_floats = _features(model, variables, images.astype(jnp.float32))
    np.testing.assert_array_equal(from_bytes["pool5"], from_floats["pool5"])


@pytest.mark.parametrize("size", [(65, 97), (97, 65)], ids=str)
@pytest.mark.parametrize("output_stride", [16, 8, 4])
def test_atrous_net_sampled_at_the_old_stride_equals_the_strided_net(
    rng, draw_variables, size, output_stride
):
    """The hole algorithm: the last pools lose their stride, what follows gets the rate."""
    strided = VGG16(width=WIDTH, pools=deeplab_pools(POOL_STRIDES))
    holes = hole_algorithm(POOL_STRIDES, output_stride)
    strides, rates = [hole.stride for hole in holes], tuple(hole.rate for hole in holes)
    atrous = VGG16(width=WIDTH, pools=deeplab_pools(strides, rates=rates), rates=rates)

    variables = draw_variables(strided)
    images = jnp.asarray(rng.integers(0, 256, (1, *size, 3)), jnp.float32)
    coarse, fine = (_features(model, variables, images) for model in (strided, atrous))
    for stage in range(1, 6):
        step = max(1, 2**stage // output_stride)
        expected, actual = coarse[f"pool{stage}"], fine[f"pool{stage}"][:, ::step, ::step]
        # The same products, in another order.
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6 * np.max(expected))


def test_pools_that_are_not_dilated_break_the_hole_algorithm(rng, draw_variables):
    """In the released nets the law holds but for the pools after the first removed stride."""
    strided = VGG16(width=WIDTH, pools=deeplab_pools(POOL_STRIDES))
    released = VGG16(width=WIDTH, pools=deeplab_pools((2, 2, 2, 1, 1)), rates=(1, 1, 1, 1, 2))
    variables = draw_variables(strided)
    images = jnp.asarray(rng.integers(0, 256, (1, 65, 65, 3)), jnp.float32)
    coarse, fine = (_features(model, variables, images) for model in (strided, released))
    # pool4 is the first of them, so that it is still right.
    np.testing.assert_allclose(fine["pool4"][:, ::2, ::2], coarse["pool4"], rtol=1e-5)
    assert np.max(np.abs(fine["pool5"][:, ::4, ::4] - coarse["pool5"])) > 0.1


def _starts(model, *, train=False):
    """Gives the image position of unit 0 of every feature."""
    starts = {}

    def run(images):
        blobs = model.init_with_output(jax.random.key(0), images, train=train)[0]
        starts.update({name: blob.start for name, blob in blobs.items()})

    jax.eval_shape(run, jax.ShapeDtypeStruct((1, 9, 9, 3), "float32"))
    return starts


def test_deeplab_pools_keep_unit_i_on_pixel_i_times_stride():
    model = VGG16(width=WIDTH, pools=deeplab_pools((2, 2, 2, 1, 1)), rates=(1, 1, 1, 1, 2))
    assert set(_starts(model).values()) == {0}


def test_first_deeplab_pads_pool4_at_test_alone():
    strides = (2, 2, 2, 1, 1)
    model = VGG16(
        width=WIDTH, pools=noup_pools(strides), train_pools=noup_pools(strides, pool4_pad=0)
    )
    starts = {"data": 0, "pool1": -0.5, "pool2": -1.5, "pool3": -3.5, "pool4": -7.5, "pool5": -7.5}
    assert _starts(model) == starts
    assert _starts(model, train=True) == starts | {"pool4": 0.5, "pool5": 0.5}


def test_fcn_pools_are_those_of_the_release():
    assert {tuple(pool) for pool in fcn_pools()} == {(2, 2, 0, 1, True)}


def test_vgg16_rejects_pools_for_other_than_five_stages():
    model = VGG16(width=WIDTH, pools=fcn_pools()[:4])
    with pytest.raises(ValueError, match="shorter"):
        jax.eval_shape(
            lambda images: model.init(jax.random.key(0), images, train=False),
            jax.ShapeDtypeStruct((1, 64, 64, 3), "float32"),
        )
