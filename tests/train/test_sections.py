"""Every key of every experiment: settable, explained, with one default, and known to old runs."""

import inspect
import json
from functools import cache
from pathlib import Path

import jax
import pytest

from fcn_jax.commands import experiments
from fcn_jax.train import annotations, sections
from fcn_jax.train.annotations import Misfit
from fcn_jax.train.conditions import list_conditions

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "experiments"
NAMES = experiments.experiment_names(FOLDER)
GOLDEN = ROOT / "tests" / "goldens" / "experiments.json"


@cache
def load(name: str) -> experiments.Experiment:
    return experiments.load_experiment(experiments.find_experiment(name, FOLDER), FOLDER)


@cache
def resolve(name: str) -> dict:
    return experiments.resolve(load(name)).config


@cache
def keys_of(name: str) -> dict[str, sections.Key]:
    config = resolve(name)
    keys = {
        f"{section}.{leaf}": key
        for section in sections.SECTIONS
        for leaf, key in sections.keys_of_section(section, config).items()
    }
    return keys | {"seed": sections.SEED}


# What else a text can be than it is in an experiment, where its taker knows only some.
OTHER = {
    "augment.scale_range": "0.7,1.3",
    "augment.rotation_range": "-5,5",
    "augment.blur_sigma_range": "0.2,0.4",
    "data.name": "tfds:pets",
    "eval.convention": "present",
    "eval.split": "other",
    "init.step": "best",
    "loss.class_weights": ("median", "inverse_log"),
    "loss.divide_by": ("images", "pixels"),
    "model.activation": ("relu", "relu6"),
    "model.aspp_rates": "2,3",
    "model.dtype": "bfloat16",
    "model.fc6_rate": "6,12",
    "model.fusion": "concat",
    "model.input_scales": ("0.75,0.5", "1.25"),
    "model.head_activation": "relu6",
    "model.head_norm": ("batch", "none"),
    "model.multi_grid": "1,2",
    "model.norm": ("batch", "none"),
    "model.output_stride": ("16", "8"),
    "model.padding": ("same", "caffe"),
    "model.pools": ("pool3", "noup"),
    "model.preprocess": ("torchvision", "caffe"),
    "model.rates": ("atrous45", "largefov"),
    "model.sides": "data,pool1",
    "model.skip_scales": "0.5",
    "model.skips": ("pool4", "pool4,pool3"),
    "model.strides": ("1,2,2,2,1,2,1", "1,2,2,1,2,2,1"),
    # Heads know different kinds.
    "model.upsampling": {
        "bilinear": "learned",
        "learned": "bilinear",
        "align_corners": "half_pixel",
    },
    "optim.lr_multipliers": "(('backbone/.*', 0.5), ('.*', 1.0))",
    "optim.decay_multipliers": "(('.*', 0.5),)",
    "optim.name": ("sgd", "adamw"),
    "optim.schedule": ("constant", "step"),
    "train.split": "other",
    "train.reduce_dtype": "bfloat16",
}
# A choice that needs another one beside it, or that another one stands in the way of.
BESIDE = {
    "model.skip_scales": [("model.skips", "8")],
    "model.sides": [("model.pools", "pool3")],
    "model.pools": [("model.sides", "()")],
    "model.atrous_pools": [("model.pools", "pool3")],
    "model.input_scales": [("model.label_shrink", "false"), ("model.aux", "")],
    "model.output_stride": [("model.pools", "pool3")],
}


def other_text(key: str, value, annotation) -> str:
    """Types another value for a key than it has."""
    if isinstance(OTHER.get(key), dict):
        return OTHER[key][value]
    if key in OTHER:
        choices = OTHER[key] if isinstance(OTHER[key], tuple) else (OTHER[key],)
        return next(text for text in choices if annotations.read(text, annotation) != value)
    match value:
        case bool():
            return str(not value).lower()
        case int():
            return str(value + 2)
        case float():
            return str(value / 2 or 0.25)
        case str():
            return f"another_{key.rpartition('.')[2]}"
    return "0.25,0.5" if annotations.describe(annotation).endswith("a number each") else "a,b"


@pytest.mark.parametrize("name", NAMES)
def test_every_key_is_set_from_the_command_line(name):
    from fcn_jax.models.zoo import get_model

    config = resolve(name)
    for key, wanted in keys_of(name).items():
        if key == "model.name":
            continue  # test_experiments.py: another network has other keys
        now = sections.flatten(config)[key]
        text = other_text(key, now, wanted.annotation)
        beside = [item for item in BESIDE.get(key, []) if item[0] in keys_of(name)]
        got = experiments.resolve(load(name), overrides=[*beside, (key, text)]).config
        value = sections.flatten(got)[key]
        assert value == annotations.read(text, wanted.annotation) != now, key
        if key.startswith("model.") and not (key == "model.skips" and "8" in text):
            get_model(**got["model"], num_classes=3)


@pytest.mark.parametrize("name", NAMES)
def test_every_key_has_a_meaning(name):
    silent = [key for key, of in keys_of(name).items() if not of.meaning]
    assert not silent, "these need an entry under Args: (or Attributes:) of the taker"


@pytest.mark.parametrize("name", NAMES)
def test_every_section_is_taken(name):
    """Fails if a constructor refuses a value, or a rule matches no parameter."""
    from fcn_jax.models.zoo import get_model
    from fcn_jax.ops.losses import make_loss
    from fcn_jax.train.optimizer import make_optimizer
    from fcn_jax.train.options import TrainOptions

    config = resolve(name)
    make_loss(num_classes=3, ignore_label=255, **config["loss"])
    options = TrainOptions(**config["train"])
    model = get_model(**config["model"], num_classes=3)
    params = _params_of(model)
    make_optimizer(params, num_steps=options.num_steps, **config["optim"])


@cache
def _params_of(model):
    images = jax.ShapeDtypeStruct((1, 32, 32, 3), "float32")
    return jax.eval_shape(
        lambda key, images: model.init(key, images, train=False), jax.random.key(0), images
    )["params"]


def test_no_experiment_is_changed_by_a_default():
    """A default that changes changes experiments: this says which.

    New keys are welcome. Where a change is meant, write the file again: it is
    `{name: sections.flatten(resolve(name)) for name in NAMES}` as JSON.
    """
    golden = json.loads(GOLDEN.read_text())
    assert set(golden) == set(NAMES)
    changed = []
    for name, values in golden.items():
        flat = json.loads(json.dumps(sections.flatten(resolve(name))))
        changed += [f"{name}: {key}" for key in values if flat.get(key, ...) != values[key]]
    assert not changed


@pytest.mark.parametrize("name", NAMES)
def test_config_json_resolves_to_itself(name):
    config = resolve(name)
    assert sections.resolve(json.loads(json.dumps(config))) == config


def test_run_of_before_gets_the_defaults_of_new_keys_and_the_names_of_today():
    config = resolve("voc_fcn32s")
    old = json.loads(json.dumps(config))
    del old["loss"], old["augment"]["hue"], old["init"]["skip"], old["model"]["fusion"]
    old["train"]["normalize"] = False
    old["init"]["leave"] = []
    assert sections.resolve(old) == config


def test_run_folder_of_before_belongs_to_the_same_experiment(tmp_path):
    from fcn_jax.train.run_folder import RunFolder

    config = resolve("shapes_fcn8s")
    old = json.loads(json.dumps(config))
    del old["loss"]["dice_weight"]
    (tmp_path / "config.json").write_text(json.dumps(old))
    RunFolder(tmp_path).open(config, has_steps=True)
    with pytest.raises(ValueError, match="loss.dice_weight is 0.0 there and 0.5 here"):
        RunFolder(tmp_path).open(
            config | {"loss": config["loss"] | {"dice_weight": 0.5}}, has_steps=True
        )


def test_run_of_before_may_name_what_its_data_set_does_not_take():
    config = resolve("custom_fcn8s")
    old = json.loads(json.dumps(config))
    old["data"] |= {"mask_key": "", "mask_classes": []}
    assert sections.resolve(old) == config


@pytest.mark.parametrize(
    "path", sorted((ROOT / "docs" / "results").glob("*/config.json")), ids=lambda p: p.parent.name
)
def test_committed_runs_resolve(path):
    old = json.loads(path.read_text())
    new = json.loads(json.dumps(sections.resolve(old)))
    translated = sections.flatten(sections.translate(old))
    assert {key: sections.flatten(new)[key] for key in translated} == translated


def test_conditions_are_the_keys_that_change_a_number():
    config = resolve("shapes_fcn8s")
    conditions = list_conditions(config)
    assert set(sections.NEUTRAL) <= set(sections.flatten(config))  # no neutral key is misspelt
    assert set(conditions) == set(sections.flatten(config)) - set(sections.NEUTRAL)


def test_what_the_caller_fills_in_is_no_key():
    flat = sections.flatten(resolve("shapes_fcn8s"))
    for section, names in sections.FILLED_IN.items():
        assert not {f"{section}.{name}" for name in names} & set(flat)
    # And is a keyword of the taker still.
    module, _, taker = sections.SECTIONS["augment"].partition(":")
    taker = getattr(sections.importlib.import_module(module), taker)
    assert set(sections.FILLED_IN["augment"]) <= set(inspect.signature(taker).parameters)


def test_entries_are_read_out_of_a_docstring():
    def taker():
        """Does something: with a colon.

        Args:
            low, high: Ends of the range
                on two lines.
            name: One of
            these: Another.
            **options: What others take.

        Returns:
            nothing: No entry.

        Attributes:
            last: The end.
        """

    assert sections.read_entries(inspect.getdoc(taker)) == {
        "low": "Ends of the range on two lines.",
        "high": "Ends of the range on two lines.",
        "name": "One of",
        "these": "Another.",
        "options": "What others take.",
        "last": "The end.",
    }


@pytest.mark.parametrize(
    ("text", "annotation", "value"),
    [
        ("12", int | tuple[int, ...], 12),
        ("6,12", int | tuple[int, ...], (6, 12)),
        ("atrous45", str | tuple[int, ...], "atrous45"),
        ("1,1,2", str | tuple[int, ...], (1, 1, 2)),
        ("16,8", tuple[str | int, ...], (16, 8)),
        ("16", tuple[str | int, ...], (16,)),
        ("pool4,8", tuple[str | int, ...], ("pool4", 8)),
        ("none", float | None, None),
        ("2", float | None, 2.0),
        ("none", str, "none"),
        ("[[1]]", sections.Any, ((1,),)),
    ],
)
def test_text_is_read_as_the_annotation_wants_it(text, annotation, value):
    got = annotations.read(text, annotation)
    assert (got, type(got)) == (value, type(value))


@pytest.mark.parametrize(
    ("value", "annotation", "wanted"),
    [
        (True, int, "a whole number"),
        (True, float, "a number"),
        (1e999, float, "a number that is finite"),
        (1, bool, "true or false"),
        (2.5, int, "a whole number"),
        (3, str, "a text"),
        ("abc", tuple[str, ...], "a sequence, of a text each"),
        ((1, 2, 3), tuple[float, float], r"\(a number, a number\)"),
        ("x", int | tuple[int, ...], "a whole number or a sequence, of a whole number each"),
        ("x", float | None, "a number or none"),
    ],
)
def test_value_of_another_type_is_refused(value, annotation, wanted):
    with pytest.raises(Misfit, match=f"^{wanted}$"):
        annotations.fit(value, annotation)


def test_list_of_json_becomes_a_tuple():
    rules = annotations.fit([[".*", 1]], sections.find_keys("optim")["lr_multipliers"].annotation)
    assert rules == ((".*", 1.0),)
