"""Where training starts: at the stage before, or at imported weights, and never silently elsewhere."""

import dataclasses

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from fcn_jax.models.preprocess import CAFFE, make_preprocess
from fcn_jax.train import loop, parallel
from fcn_jax.train.setup import make_setup
from fcn_jax.train.warm_start import init_from
from fcn_jax.weights.files import write_safetensors
from tests.train.conftest import make_config
from tests.train.test_loop import last_state, one_device, run  # noqa: F401

pytestmark = pytest.mark.usefixtures("plain_conv")

STAGES = {"vgg16_fcn32s": 1e-2, "vgg16_fcn16s": 1e-3, "vgg16_fcn8s": 1e-3}


def stage(name, **init):
    config = make_config()
    config["model"]["name"] = name
    config["optim"]["learning_rate"] = STAGES[name]
    config["train"].update(num_steps=2, eval_every=0, checkpoint_every=0)
    config["init"] = init
    return config


@pytest.fixture(scope="module")
def coarse(tmp_path_factory, one_device):  # noqa: F811
    """The run folder of a trained FCN-32s; look, do not touch."""
    folder = tmp_path_factory.mktemp("stages") / "shapes_fcn32s"
    run(stage("vgg16_fcn32s"), folder)
    return folder


def scores_of(setup, state):
    """The scores of a picture, without its edge, where nothing lies beyond to come down to."""
    images = np.random.default_rng(0).integers(0, 256, (1, 192, 160, 3), np.uint8)
    apply = jax.jit(lambda *inputs: setup.model.apply(*inputs, train=False))
    return np.asarray(apply(state.variables, images))[:, 32:-32, 32:-32]


def test_three_stages_each_begin_where_the_one_before_ended(coarse, tmp_path, capsys):
    finer = tmp_path / "shapes_fcn16s"
    config = stage("vgg16_fcn16s", workdir=str(coarse))
    run(config, finer)
    assert "left as initialised: score_pool4/bias, score_pool4/kernel" in capsys.readouterr().out
    finest = stage("vgg16_fcn8s", workdir=str(finer))
    setup = make_setup(finest)
    state = init_from(setup.state, CAFFE, **finest["init"])
    ours, theirs = flatten_dict(state.params, sep="/"), last_state(config, finer).params
    theirs = flatten_dict(theirs, sep="/")
    assert set(ours) - set(theirs) == {"score_pool3/kernel", "score_pool3/bias"}
    for path, leaf in theirs.items():
        np.testing.assert_array_equal(ours[path], leaf, path)
    assert not np.any(ours["score_pool3/kernel"]) and not np.any(ours["score_pool3/bias"])
    run(finest, tmp_path / "shapes_fcn8s")


def test_finer_network_begins_close_to_the_coarser_one(coarse):
    config = stage("vgg16_fcn32s")
    coarser = make_setup(config)
    before = scores_of(coarser, last_state(config, coarse))
    finer = make_setup(stage("vgg16_fcn16s"))
    after = scores_of(finer, init_from(finer.state, CAFFE, workdir=str(coarse)))
    # Twice bilinear, by 2 and by 16, is not quite once by 32.
    assert 0 < np.abs(before - after).max() < 0.1 * np.abs(before).max()


def test_stopped_run_does_not_need_its_first_stage_again(coarse, tmp_path):
    config = stage("vgg16_fcn16s", workdir=str(coarse))
    config["train"].update(checkpoint_every=1)
    whole = tmp_path / "whole"
    run(config, whole)
    coarse.rename(coarse.with_name("moved"))
    try:
        assert loop.train(config, whole, experiment="tiny", command="") is None
    finally:
        coarse.with_name("moved").rename(coarse)


def test_missing_stage_is_told_with_the_command_that_makes_it(tmp_path):
    workdir = tmp_path / "fcn16s"
    before = tmp_path / "runs" / "voc_fcn32s_seed1"
    config = stage("vgg16_fcn16s", workdir=str(before))
    with pytest.raises(FileNotFoundError) as error:
        run(config, workdir)
    command = f"train --config=voc_fcn32s --workdir={before}"
    assert "train the stage before this one first" in str(error.value)
    assert command in str(error.value) and len(str(error.value).splitlines()) == 2
    assert not workdir.exists()


def test_init_rejects_two_sources():
    setup = make_setup(stage("vgg16_fcn32s"))
    with pytest.raises(ValueError, match="init.workdir=a and init.weights=b: give one"):
        init_from(setup.state, CAFFE, workdir="a", weights="b")


@pytest.fixture
def weights_file(tmp_path, random_variables):
    """Makes a saved file of the backbone's weights, for images prepared like this."""

    def write(setup, preprocess):
        import json

        variables = flatten_dict(random_variables(setup.model), sep="/")
        arrays = {path: np.asarray(leaf) for path, leaf in variables.items() if "backbone" in path}
        metadata = {
            "format": "fcn_jax",
            "network": "vgg16",
            "preprocess": json.dumps(
                {key: getattr(preprocess, key) for key in ("mean_rgb", "std_rgb", "bgr")}
            ),
        }
        write_safetensors(tmp_path / "weights.safetensors", arrays, metadata)
        return tmp_path / "weights.safetensors", arrays

    return write


def test_imported_weights_go_where_their_names_say(weights_file):
    setup = make_setup(stage("vgg16_fcn16s"))
    path, arrays = weights_file(setup, CAFFE)
    state = init_from(setup.state, CAFFE, weights=str(path))
    leaves = flatten_dict(state.variables, sep="/")
    for name, leaf in flatten_dict(setup.state.variables, sep="/").items():
        np.testing.assert_array_equal(leaves[name], arrays.get(name, leaf), name)
    devices = parallel.get_devices(1)
    parallel.replicate(state, devices)  # host arrays and device arrays alike


def test_leave_keeps_the_initial_values(weights_file):
    setup = make_setup(stage("vgg16_fcn16s"))
    path, _ = weights_file(setup, CAFFE)
    state = init_from(setup.state, CAFFE, weights=str(path), leave=("params/backbone/conv5.*",))
    ours, initial = state.params["backbone"], setup.state.params["backbone"]
    np.testing.assert_array_equal(ours["conv5_3"]["kernel"], initial["conv5_3"]["kernel"])
    assert np.any(np.asarray(ours["conv4_3"]["kernel"]) != initial["conv4_3"]["kernel"])


def test_weights_for_other_images_are_refused(weights_file):
    setup = make_setup(stage("vgg16_fcn32s"))
    other = dataclasses.replace(CAFFE, mean_rgb=(123.0, 116.5, 104.0))
    path, _ = weights_file(setup, other)
    message = "expects images prepared with .*\n.*--config.model.preprocess=caffe:123.0,116.5,104.0"
    with pytest.raises(ValueError, match=message):
        init_from(setup.state, CAFFE, weights=str(path))
    init_from(setup.state, make_preprocess("caffe:123.0,116.5,104.0"), weights=str(path))


def test_stage_for_other_images_is_refused(coarse):
    config = stage("vgg16_fcn16s", workdir=str(coarse))
    config["model"]["preprocess"] = "torchvision"
    setup = make_setup(config)
    with pytest.raises(ValueError, match="expects images .*\n.*model.preprocess=caffe$"):
        init_from(setup.state, setup.model.backbone.preprocess, **config["init"])


def test_missing_weights_are_told_with_the_command_that_makes_them():
    setup = make_setup(stage("vgg16_fcn32s"))
    with pytest.raises(
        FileNotFoundError, match="weights/no.safetensors is not there.*\n.*import_w"
    ):
        init_from(setup.state, CAFFE, weights="weights/no.safetensors")
