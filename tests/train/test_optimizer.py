"""Optimizers against the update rules written out, one number at a time."""

import jax
import numpy as np
import pytest

from fcn_jax.train.optimizer import label_params, make_optimizer
from tests.oracles import load_golden

PARAMS = {
    "backbone": {"conv1_1": {"kernel": np.array([0.5, -1.0]), "bias": np.array([0.25])}},
    "score_fr": {"kernel": np.array([2.0]), "bias": np.array([-0.5])},
}
CAFFE_RULES = ((r".*/bias", 2.0), (r"score_fr/.*", 10.0), (r".*", 1.0))
CAFFE_DECAY = ((r".*/bias", 0.0), (r".*", 1.0))


def names_and_leaves(tree):
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {"/".join(k.key for k in path): np.asarray(leaf) for path, leaf in leaves}


def make_schedule(schedule, **options):
    _, rate = make_optimizer(PARAMS, name="sgd", schedule=schedule, **options)
    return rate


def test_sgd_is_caffes_to_the_letter():
    """The learning rate drops at step 2: only with the rate inside the velocity do these agree."""
    lr_of = {"backbone/conv1_1/kernel": 1, "backbone/conv1_1/bias": 2}
    lr_of |= {"score_fr/kernel": 10, "score_fr/bias": 2}
    optimizer, schedule = make_optimizer(
        PARAMS,
        num_steps=4,
        name="sgd",
        learning_rate=0.1,
        schedule="step",
        step_size=2,
        gamma=0.1,
        momentum=0.9,
        weight_decay=0.01,
        lr_multipliers=CAFFE_RULES,
        decay_multipliers=CAFFE_DECAY,
    )
    params = jax.tree.map(np.float32, PARAMS)
    state = optimizer.init(params)
    weights = names_and_leaves(params)
    velocity = {name: 0 * w for name, w in weights.items()}
    for step in range(4):
        grads = jax.tree.map(lambda p, step=step: np.float32(np.sin(p + step)), PARAMS)
        updates, state = optimizer.update(grads, state, params)
        params = jax.tree.map(lambda p, u: p + u, params, updates)
        assert float(schedule(step)) == pytest.approx(0.1 * 0.1 ** (step // 2))
        for name, grad in names_and_leaves(grads).items():
            decay = 0.0 if name.endswith("bias") else 0.01
            rate = 0.1 * 0.1 ** (step // 2) * lr_of[name]
            velocity[name] = 0.9 * velocity[name] + rate * (grad + decay * weights[name])
            weights[name] = weights[name] - velocity[name]
        for name, leaf in names_and_leaves(params).items():
            np.testing.assert_allclose(leaf, weights[name], rtol=1e-5, err_msg=name)


def test_sgd_matches_the_caffe_golden():
    """Eight updates of one weight and one bias, with two drops of the learning rate."""
    golden = load_golden("sgd")
    rates = np.array(golden["lr"])
    assert rates[3] == pytest.approx(rates[0] / 10) and rates[6] == pytest.approx(rates[0] / 100)
    optimizer, _ = make_optimizer(
        {"w": np.zeros(1), "b": np.zeros(1)},
        num_steps=8,
        name="sgd",
        learning_rate=rates[0],
        schedule="step",
        step_size=3,
        momentum=golden["momentum"],
        weight_decay=golden["weight_decay"],
        lr_multipliers=tuple(golden["lr_mult"].items()),
        decay_multipliers=tuple(golden["decay_mult"].items()),
    )
    params = {"w": np.float32(golden["w0"]), "b": np.float32(golden["b0"])}
    state = optimizer.init(params)
    ours = []
    for grad_w, grad_b in zip(golden["grad_w"], golden["grad_b"], strict=True):
        grads = {"w": np.float32(grad_w), "b": np.float32(grad_b)}
        updates, state = optimizer.update(grads, state, params)
        params = jax.tree.map(lambda p, u: p + u, params, updates)
        ours.append([params["w"], params["b"]])
    np.testing.assert_allclose(ours, golden["caffe_wb"], rtol=1e-5)
    # With the rate outside of the velocity, as in PyTorch, all is the same until the rate drops.
    differs = ~np.isclose(ours, golden["torch_style_wb"], rtol=1e-5)
    np.testing.assert_array_equal(differs, [[False] * 2] * 3 + [[True] * 2] * 5)


def test_adamw_is_loshchilov_and_hutters():
    optimizer, _ = make_optimizer(
        PARAMS,
        num_steps=3,
        name="adamw",
        learning_rate=0.1,
        weight_decay=0.2,
        decay_multipliers=CAFFE_DECAY,
    )
    params = jax.tree.map(np.float32, PARAMS)
    state = optimizer.init(params)
    weights = names_and_leaves(params)
    first = {name: 0 * w for name, w in weights.items()}
    second = {name: 0 * w for name, w in weights.items()}
    for step in range(1, 4):
        grads = jax.tree.map(lambda p, step=step: np.float32(np.cos(p * step)), PARAMS)
        updates, state = optimizer.update(grads, state, params)
        params = jax.tree.map(lambda p, u: p + u, params, updates)
        for name, grad in names_and_leaves(grads).items():
            first[name] = 0.9 * first[name] + 0.1 * grad
            second[name] = 0.999 * second[name] + 0.001 * grad**2
            adam = first[name] / (1 - 0.9**step)
            adam = adam / (np.sqrt(second[name] / (1 - 0.999**step)) + 1e-8)
            decay = 0.0 if name.endswith("bias") else 0.2
            weights[name] = weights[name] - 0.1 * (adam + decay * weights[name])
        for name, leaf in names_and_leaves(params).items():
            np.testing.assert_allclose(leaf, weights[name], rtol=1e-4, err_msg=name)


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_multiplier_of_zero_freezes(name):
    optimizer, _ = make_optimizer(
        PARAMS,
        num_steps=2,
        name=name,
        learning_rate=0.1,
        weight_decay=0.1,
        lr_multipliers=((r"backbone/.*", 0.0), (r".*", 1.0)),
    )
    params = jax.tree.map(np.float32, PARAMS)
    updates, _ = optimizer.update(params, optimizer.init(params), params)
    assert all(not leaf.any() for leaf in jax.tree.leaves(updates["backbone"]))
    assert all(leaf.any() for leaf in jax.tree.leaves(updates["score_fr"]))


def test_poly_ends_at_zero():
    schedule = make_schedule("poly", learning_rate=2.0, num_steps=100, power=0.9)
    steps = np.array([0, 1, 50, 99, 100])
    expected = 2.0 * (1 - steps / 100) ** 0.9
    np.testing.assert_allclose([float(schedule(s)) for s in steps], expected, rtol=1e-5)


def test_schedules_match_the_goldens():
    for case in load_golden("schedules")["cases"]:
        schedule = make_schedule(case["schedule"], **case["options"])
        ours = [float(schedule(step)) for step in case["steps"]]
        np.testing.assert_allclose(ours, case["learning_rates"], rtol=2e-5)


def test_first_matching_rule_counts():
    labels = label_params(PARAMS, CAFFE_RULES)
    assert labels["score_fr"] == {"kernel": 10.0, "bias": 2.0}


def test_label_params_rejects_an_unmatched_parameter():
    with pytest.raises(ValueError, match="matches parameter 'backbone/conv1_1/bias'"):
        label_params(PARAMS, ((r".*/kernel", 1.0),))


def test_label_params_rejects_a_rule_that_matches_nothing():
    with pytest.raises(ValueError, match=r"that match no parameter: \['fc9/.*'\]"):
        label_params(PARAMS, ((r".*", 1.0), (r"fc9/.*", 2.0)))


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ((("*/kernel", 1.0),), r"'\*/kernel' is no regular expression"),
        ((".*", 1.0), "'.\\*' is no pair of a pattern and a number"),
        (((1.0, 2.0),), r"\(1.0, 2.0\) is no pair"),
    ],
)
def test_label_params_rejects_what_is_no_rule(rules, message):
    with pytest.raises(ValueError, match=message):
        label_params(PARAMS, rules)


def test_unknown_names_are_rejected():
    with pytest.raises(ValueError, match="unknown optim.name 'lamb'; known: sgd, adamw"):
        make_optimizer(PARAMS, num_steps=1, name="lamb", learning_rate=1.0)
    with pytest.raises(ValueError, match="unknown optim.schedule 'cosine'"):
        make_optimizer(PARAMS, num_steps=1, name="sgd", learning_rate=1.0, schedule="cosine")


def test_schedule_needs_a_step_size():
    with pytest.raises(ValueError, match="optim.step_size=0 must be 1 or more"):
        make_schedule("step", learning_rate=1.0, num_steps=9, step_size=0)


def test_warm_up_rises_in_a_line_to_the_schedule():
    options = {"num_steps": 10, "learning_rate": 0.5, "power": 0.9}
    plain = make_schedule("poly", **options)
    warm = make_schedule("poly", warmup_steps=4, **options)
    for step in range(10):
        factor = min(1.0, (step + 1) / 4)
        assert float(warm(step)) == pytest.approx(factor * float(plain(step)))
