"""Where a network begins: at the stage before, or at imported weights, never silently elsewhere."""

import dataclasses
import json
import shutil

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from fcn_jax.data.labels import LabelSet
from fcn_jax.data.sets.shapes import LABELS as SHAPES
from fcn_jax.models.preprocess import CAFFE
from fcn_jax.models.zoo import get_model
from fcn_jax.ops.upsample import bilinear_kernel
from fcn_jax.train import loop, parallel, warm_start
from fcn_jax.train.pretrained import Pretrained, list_shapes, read_stage, read_weights
from fcn_jax.train.setup import make_setup
from fcn_jax.train.state import TrainState
from fcn_jax.train.trained import Trained, load
from fcn_jax.train.warm_start import init_from, make
from fcn_jax.weights.files import write_safetensors
from tests.conftest import shapes_of
from tests.train.conftest import NUM_CLASSES, last_state, make_config, run

pytestmark = pytest.mark.usefixtures("one_device", "plain_conv")

NOTHING = TrainState(step=0, params={}, batch_stats={}, opt_state=())
# The skips and the learning rate of each stage.
STAGES = {"fcn4s": ((), 1e-2), "fcn2s": ((2,), 1e-3), "fcn1s": ((2, 1), 1e-3)}


def stage(name, **init):
    config = make_config()
    config["model"]["skips"], config["optim"]["learning_rate"] = STAGES[name]
    config["train"].update(num_steps=2, eval_every=0, checkpoint_every=0)
    config["init"] = init
    return config


@pytest.fixture(scope="module")
def coarse(tmp_path_factory, one_device):
    """The run folder of a trained first stage; look, do not touch."""
    folder = tmp_path_factory.mktemp("stages") / "shapes_fcn4s"
    run(stage("fcn4s"), folder)
    return folder


def scores_of(setup, state):
    """The scores of a picture, without its edge, where nothing lies beyond to come down to."""
    images = np.random.default_rng(0).integers(0, 256, (1, 192, 160, 3), np.uint8)
    apply = jax.jit(lambda *inputs: setup.model.apply(*inputs, train=False))
    return np.asarray(apply(state.variables, images))[:, 32:-32, 32:-32]


def test_three_stages_each_begin_where_the_one_before_ended(coarse, tmp_path, capsys):
    finer = tmp_path / "shapes_fcn2s"
    config = stage("fcn2s", workdir=str(coarse))
    run(config, finer)
    assert "kept as initialised: score_conv1/bias, score_conv1/kernel" in capsys.readouterr().out
    finest = stage("fcn1s", workdir=str(finer))
    setup = make_setup(finest)
    state = init_from(setup.state, setup.model, **finest["init"])
    ours, theirs = flatten_dict(state.params, sep="/"), last_state(config, finer).params
    theirs = flatten_dict(theirs, sep="/")
    assert set(ours) - set(theirs) == {"score_data/kernel", "score_data/bias"}
    for path, leaf in theirs.items():
        np.testing.assert_array_equal(ours[path], leaf, path)
    assert not np.any(ours["score_data/kernel"]) and not np.any(ours["score_data/bias"])


def test_finer_network_begins_close_to_the_coarser_one(coarse):
    config = stage("fcn4s")
    coarser = make_setup(config)
    before = scores_of(coarser, last_state(config, coarse))
    finer = make_setup(stage("fcn2s"))
    after = scores_of(finer, init_from(finer.state, finer.model, workdir=str(coarse)))
    # Twice bilinear, by 2 and by 2, is not quite once by 4.
    assert 0 < np.abs(before - after).max() < 0.1 * np.abs(before).max()


def test_stopped_run_does_not_need_its_first_stage_again(coarse, tmp_path):
    config = stage("fcn2s", workdir=str(coarse))
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
    config = stage("fcn2s", workdir=str(before))
    with pytest.raises(FileNotFoundError) as error:
        run(config, workdir)
    command = f"train --config=voc_fcn32s --workdir={before}"
    assert "train the stage before this one first" in str(error.value)
    assert command in str(error.value) and len(str(error.value).splitlines()) == 2
    assert not workdir.exists()


def test_a_folder_without_a_run_is_no_stage(tmp_path):
    model = get_model("vgg16_fcn16s", num_classes=2)
    with pytest.raises(FileNotFoundError, match=f"^{tmp_path} is no run folder"):
        init_from(NOTHING, model, workdir=str(tmp_path))


def test_a_stage_that_was_cut_off_names_its_own_experiment(tmp_path):
    model = get_model("vgg16_fcn16s", num_classes=2)
    (tmp_path / "run.json").write_text('{"experiment": "voc_fcn32s", "launches": []}')
    with pytest.raises(FileNotFoundError, match=f"--config=voc_fcn32s --workdir={tmp_path}$"):
        init_from(NOTHING, model, workdir=str(tmp_path))


@pytest.mark.parametrize("norm", ["frozen", "batch", "none"])
def test_frozen_statistics_of_no_images_are_remarked_on(norm, capsys):
    model = get_model("vgg16_fcn32s", num_classes=2, norm=norm)
    assert init_from(NOTHING, model) is NOTHING
    assert ("of no images" in capsys.readouterr().err) == (norm == "frozen")


def test_parameters_beyond_memory_are_refused():
    with pytest.raises(
        ValueError, match=r"^the parameters .*need more .*GiB are free\n.*model\.width"
    ):
        make("resnet18_fcn32s", num_classes=2, width=1e6)


def test_init_rejects_two_sources():
    setup = make_setup(stage("fcn4s"))
    with pytest.raises(ValueError, match="init.workdir=a and init.weights=b: give one"):
        init_from(setup.state, setup.model, workdir="a", weights="b")


@pytest.fixture
def weights_file(tmp_path, random_variables):
    """Makes a saved file of the backbone's weights, for images prepared like this."""

    def write(setup, preprocess):
        variables = flatten_dict(random_variables(setup.model), sep="/")
        arrays = {path: np.asarray(leaf) for path, leaf in variables.items() if "backbone" in path}
        metadata = {
            "format": "fcn_jax",
            "network": "tiny",
            "preprocess": json.dumps(
                {key: getattr(preprocess, key) for key in ("mean_rgb", "std_rgb", "bgr")}
            ),
        }
        write_safetensors(tmp_path / "weights.safetensors", arrays, metadata)
        return tmp_path / "weights.safetensors", arrays

    return write


def test_imported_weights_go_where_their_names_say(weights_file):
    setup = make_setup(stage("fcn2s"))
    path, arrays = weights_file(setup, CAFFE)
    state = init_from(setup.state, setup.model, weights=str(path))
    leaves = flatten_dict(state.variables, sep="/")
    for name, leaf in flatten_dict(setup.state.variables, sep="/").items():
        np.testing.assert_array_equal(leaves[name], arrays.get(name, leaf), name)
    parallel.get_devices(count=1).replicate(state)  # host arrays and device arrays alike


def test_skip_keeps_the_initial_values(weights_file):
    setup = make_setup(stage("fcn2s"))
    path, _ = weights_file(setup, CAFFE)
    state = init_from(
        setup.state, setup.model, weights=str(path), skip=("params/backbone/conv2.*",)
    )
    ours, initial = state.params["backbone"], setup.state.params["backbone"]
    np.testing.assert_array_equal(ours["conv2"]["kernel"], initial["conv2"]["kernel"])
    assert np.any(np.asarray(ours["conv1"]["kernel"]) != initial["conv1"]["kernel"])


def test_weights_for_other_images_are_refused(weights_file):
    setup = make_setup(stage("fcn4s"))
    other = dataclasses.replace(CAFFE, mean_rgb=(123.0, 116.5, 104.0))
    path, _ = weights_file(setup, other)
    message = "expects images prepared with .*\n.*--config.model.preprocess=caffe:123.0,116.5,104.0"
    with pytest.raises(ValueError, match=message):
        init_from(setup.state, setup.model, weights=str(path))
    config = stage("fcn4s")
    config["model"]["preprocess"] = "caffe:123.0,116.5,104.0"
    init_from(setup.state, make_setup(config).model, weights=str(path))


def test_stage_for_other_images_is_refused(coarse):
    config = stage("fcn2s", workdir=str(coarse))
    config["model"]["preprocess"] = "torchvision"
    setup = make_setup(config)
    with pytest.raises(ValueError, match="expects images .*\n.*model.preprocess=caffe$"):
        init_from(setup.state, setup.model, **config["init"])


def test_missing_weights_are_told_with_the_command_that_makes_them():
    setup = make_setup(stage("fcn4s"))
    with pytest.raises(
        FileNotFoundError, match="weights/no.safetensors is not there.*\n.*import_w"
    ):
        init_from(setup.state, setup.model, weights="weights/no.safetensors")


def test_a_file_of_the_stage_before_is_the_stage_before(coarse, tmp_path):
    load(coarse, step="last").save(tmp_path / "fcn4s.safetensors")
    setup = make_setup(stage("fcn2s"))
    states = [
        init_from(setup.state, setup.model, **source)
        for source in ({"workdir": str(coarse)}, {"weights": str(tmp_path / "fcn4s.safetensors")})
    ]
    jax.tree.map(np.testing.assert_array_equal, states[0].variables, states[1].variables)


# --- whose classes the values tell apart ---------------------------------------------------------

EXCHANGED = LabelSet.in_voc_colors((SHAPES.names[1], SHAPES.names[0], *SHAPES.names[2:]))


@pytest.mark.parametrize("kind", ["workdir", "weights"])
def test_layers_of_other_classes_are_not_taken_in_silence(coarse, tmp_path, kind):
    source = {"workdir": str(coarse)}
    if kind == "weights":
        load(coarse, step="last").save(tmp_path / "net.safetensors")
        source = {"weights": str(tmp_path / "net.safetensors")}
    model = get_model(**stage("fcn2s")["model"], num_classes=NUM_CLASSES)
    with pytest.raises(ValueError) as error:
        init_from(NOTHING, model, labels=EXCHANGED, skip=("params/score_p.*",), **source)
    first, second = str(error.value).splitlines()
    assert f"class 0 is {SHAPES.names[0]!r} in {source[kind]} and {SHAPES.names[1]!r}" in first
    flag = "--config.init.skip='params/score_p.*,params/score_fr/.*'"
    assert f"leave them out with {flag}, or" in second


def test_upsampling_that_is_learned_belongs_to_its_classes():
    model = get_model("vgg16_fcn32s", num_classes=2, upsampling="learned", **TINY)
    arrays = {path: np.zeros(shape) for path, shape in list_shapes(model).items()}
    labels = LabelSet.in_voc_colors(("sky", "road"))
    source = Pretrained("net", "vgg16", arrays, CAFFE, {}, labels)
    other = LabelSet.in_voc_colors(("road", "sky"))
    option = "skip={}".format
    with pytest.raises(ValueError, match=r"params/score_fr/\.\*', 'params/upscore/\.\*'\)"):
        source.check_classes(model, other, skip=(), as_option=option)
    skip = ("params/(score|upscore).*",)
    source.check_classes(model, other, skip=skip, as_option=option)
    source.check_classes(model, labels, skip=(), as_option=option)
    source._replace(labels=None).check_classes(model, other, skip=(), as_option=option)


def test_stage_of_before_may_not_name_its_classes(coarse, tmp_path):
    old = shutil.copytree(coarse, tmp_path / "old")
    info = json.loads((old / "run.json").read_text())
    del info["labels"], info["data_fingerprint"]
    (old / "run.json").write_text(json.dumps(info))
    assert read_stage(old, "last").labels.names == SHAPES.names  # its evaluations name them
    shutil.rmtree(old / "eval")
    assert read_stage(old, "last").labels is None


def test_make_refuses_the_head_of_other_classes(mobilenet):
    with pytest.raises(ValueError, match=r"class 0 is 'sky' in .*\n.*skip=\('params/score_fr"):
        make("mobilenetv2_fcn32s", weights=mobilenet, width=1 / 8, labels=("road", "sky"))


# Of the files that have the fourth stride on the fifth stage.
PLAN = {"strides": (1, 2, 2, 1, 2, 2, 1), "activation": "relu", "first_expand": True}


@pytest.fixture(scope="module")
def mobilenet(tmp_path_factory, random_variables):
    """The file of a network whose options are not the paper's."""
    section = {"name": "mobilenetv2_fcn32s", "width": 1 / 8, "preprocess": "caffe", **PLAN}
    model, labels = get_model(**section, num_classes=2), LabelSet.in_voc_colors(("sky", "road"))
    file = tmp_path_factory.mktemp("mobilenet") / "net.safetensors"
    Trained(model, random_variables(model), labels, section).save(file)
    return file


FLAGS = "--config.model.strides=1,2,2,1,2,2,1 --config.model.activation=relu"


def test_weights_of_another_plan_are_refused_with_the_flags_to_set(mobilenet):
    """The arrays fit either plan, and mean something else in it."""
    model = get_model("mobilenetv2_fcn32s", num_classes=2, width=1 / 8, first_expand=True)
    with pytest.raises(ValueError) as error:
        init_from(NOTHING, model, weights=str(mobilenet))
    first, second = str(error.value).splitlines()
    assert "was trained with strides=(1, 2, 2, 1, 2, 2, 1), the network has (1, 2, 2, 2" in first
    assert "it was trained with activation=relu, the network has relu6" in first
    assert second == f"set {FLAGS} --config.model.preprocess=caffe"


def test_imported_weights_of_another_plan_are_refused_with_the_flags_to_set(tmp_path):
    preprocess = {"mean_rgb": [1, 2, 3], "std_rgb": [1, 1, 1], "bgr": True}
    requires = {"strides": PLAN["strides"], "activation": "relu", "first_expand": False}
    metadata = {"preprocess": json.dumps(preprocess), "requires": json.dumps(requires)}
    arrays = {"params/backbone/conv0/kernel": np.zeros((3, 3, 3, 8), np.float32)}
    file = tmp_path / "backbone.safetensors"
    write_safetensors(file, arrays, {"format": "fcn_jax", "network": "mobilenetv2", **metadata})
    model = get_model("mobilenetv2_fcn32s", num_classes=2, width=1 / 4, preprocess="caffe:1,2,3")
    with pytest.raises(ValueError, match=f"\nset {FLAGS}$"):
        init_from(NOTHING, model, weights=str(file))


@pytest.fixture
def drawn(monkeypatch, draw_variables):
    """Draws where `make` would initialise, which takes seconds to compile for a deep network."""
    monkeypatch.setattr(warm_start, "init_variables", lambda key, model: draw_variables(model))


@pytest.mark.usefixtures("drawn")
def test_make_takes_from_the_file_what_its_weights_depend_on(mobilenet):
    coarse = load(mobilenet)
    finer = make("mobilenetv2_fcn16s", weights=mobilenet, width=1 / 8)
    assert {key: finer.section[key] for key in PLAN} == PLAN
    assert finer.section["preprocess"] == "caffe" and finer.labels == coarse.labels
    there, here = coarse.arrays, finer.arrays
    assert set(there) < set(here)
    for path in there:
        np.testing.assert_array_equal(here[path], there[path], path)


def test_make_refuses_options_that_contradict_the_file(mobilenet):
    message = (
        r"safetensors was trained with activation=relu, the network has relu6\nleave activation out"
    )
    with pytest.raises(ValueError, match=message):
        make("mobilenetv2_fcn32s", weights=mobilenet, width=1 / 8, activation="relu6")


def test_make_takes_a_new_head_where_the_classes_are_others(coarse, tmp_path):
    before = load(coarse, step="last")
    before.save(tmp_path / "net.safetensors")
    options = {**before.section, "num_classes": 5, "weights": tmp_path / "net.safetensors"}
    with pytest.raises(ValueError, match="skip the layer"):
        make(**options)
    net = make(**options, skip=("params/score_.*",))
    assert net.labels.names == ("0", "1", "2", "3", "4") and len(set(net.labels.colors)) == 5
    kernel = "params/backbone/conv1/kernel"
    np.testing.assert_array_equal(net.arrays[kernel], before.arrays[kernel])


def test_make_rejects_classes_that_are_not_told_or_told_twice():
    with pytest.raises(ValueError, match="which classes are there"):
        make("vgg16_fcn32s")
    with pytest.raises(ValueError, match="num_classes=3, but labels names 2"):
        make("vgg16_fcn32s", num_classes=3, labels=("sky", "road"))
    with pytest.raises(ValueError, match="num_classes=0 must lie in"):
        make("vgg16_fcn32s", num_classes=0)


# --- what is not used of a file, though it would matter ------------------------------------------

TINY = {"width": 1 / 64, "fc_channels": 1}


def bilinear(size, num_classes):
    taps = bilinear_kernel(size)
    return np.einsum("y,x,io->yxio", taps, taps, np.eye(num_classes)).astype(np.float32)


@pytest.fixture
def vgg16_file(tmp_path):
    """Writes a file of a VGG16's weights, with other arrays beside them."""

    def write(model, requires=None, **others):
        variables = flatten_dict(shapes_of(model), sep="/")
        arrays = {path: np.zeros(leaf.shape, np.float32) for path, leaf in variables.items()}
        arrays |= {f"params/{name}/kernel": kernel for name, kernel in others.items()}
        preprocess = {key: getattr(CAFFE, key) for key in ("mean_rgb", "std_rgb", "bgr")}
        metadata = {"preprocess": json.dumps(preprocess), "requires": json.dumps(requires or {})}
        file = tmp_path / "vgg16.safetensors"
        write_safetensors(file, arrays, {"format": "fcn_jax", "network": "vgg16", **metadata})
        return file

    return write


FCN16S = get_model("vgg16_fcn16s", num_classes=2, **TINY)


@pytest.mark.parametrize(
    "kernel",
    [
        pytest.param(1.01 * bilinear(4, 2), id="other numbers"),
        pytest.param(bilinear(3, 2), id="other taps"),
        pytest.param(bilinear(4, 2)[..., ::-1], id="across classes"),
    ],
)
def test_upsampling_that_is_not_the_fixed_one_is_not_dropped(vgg16_file, kernel):
    file = vgg16_file(FCN16S, upscore2=kernel)
    with pytest.raises(ValueError) as error:
        init_from(NOTHING, FCN16S, weights=str(file))
    first, second = str(error.value).splitlines()
    assert "holds upsampling kernels that are not the network's fixed bilinear ones" in first
    assert second == "set --config.model.upsampling=learned"


def test_upsampling_that_the_network_computes_anyway_may_be_dropped(vgg16_file, capsys):
    # upscore is FCN-32s's, and has no place in an FCN-16s, learned or not.
    other = np.ones((64, 64, 2, 2), np.float32)
    file = vgg16_file(FCN16S, upscore2=bilinear(4, 2), upscore=other)
    state = TrainState(0, shapes_of(FCN16S)["params"], {}, ())
    init_from(state, FCN16S, weights=str(file))
    line = "left out, since the network has no place for it: upscore, upscore2"
    assert capsys.readouterr().out.splitlines()[-1] == line
    skip = ("params/upscore2.*",)
    init_from(state, FCN16S, weights=str(vgg16_file(FCN16S, upscore2=bilinear(3, 2))), skip=skip)


@pytest.mark.usefixtures("drawn")
def test_make_learns_the_upsampling_if_the_file_does(vgg16_file):
    kernel = 1.01 * bilinear(4, 2)
    learned = get_model("vgg16_fcn16s", num_classes=2, upsampling="learned", **TINY)
    net = make("vgg16_fcn16s", num_classes=2, weights=vgg16_file(learned, upscore2=kernel), **TINY)
    assert net.section["upsampling"] == "learned"
    np.testing.assert_array_equal(net.arrays["params/upscore2/kernel"], kernel)


def test_scales_of_skips_are_compared_skip_by_skip(vgg16_file):
    file = str(vgg16_file(FCN16S, {"skip_scales": (0.01, 0.0001)}))
    message = r"trained with skip_scales=\(0.01, 0.0001\), the network has \(\)\n"
    with pytest.raises(ValueError, match=message + "set --config.model.skip_scales=0.01,0.0001$"):
        init_from(NOTHING, FCN16S, weights=file)
    one, two = (
        read_weights(str(vgg16_file(FCN16S, {"skip_scales": scales}))) for scales in ((0.01,), ())
    )
    finer = get_model("vgg16_fcn8s_atonce", num_classes=2, **TINY)
    assert one.find_differing(finer) == {}  # the finest skip is new there
    assert two.find_differing(finer) == {"skip_scales": ()}
    assert two.find_differing(finer, skip=("params/score_pool4/.*",)) == {}
    coarser = get_model("vgg16_fcn32s", num_classes=2, **TINY)
    assert read_weights(str(vgg16_file(coarser))).find_differing(finer) == {}


def test_weights_of_another_network_are_called_by_their_name(mobilenet):
    with pytest.raises(ValueError) as error:
        init_from(NOTHING, FCN16S, weights=str(mobilenet))
    first, second = str(error.value).splitlines()
    assert first == f"{mobilenet} holds MobileNetV2, the network is on VGG16"
    assert "take weights of VGG16, or another network: --config.model.name=mobilenetv2_f" in second
