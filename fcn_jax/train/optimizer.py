"""Optimizers whose learning rate and weight decay are set parameter by parameter.

Source: BVLC/caffe sgd_solver.cpp (the learning rate is inside the velocity) and its lr_mult and
decay_mult; the schedules are Caffe's lr_policy.
"""

import re
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from fcn_jax.errors import UserError

Rules = Sequence[tuple[str, float]]


def label_params(params: Any, rules: Sequence[Any]) -> Any:
    """Gives every parameter the value of the first rule whose pattern matches its whole path.

    Raises:
        UserError: If a parameter is matched by no rule, or a rule matches no parameter, or is no
            pair of a regular expression and a number.
    """
    for rule in rules:
        _check_rule(rule)
    used = set()

    def label(path, _):
        name = "/".join(key.key for key in path)
        for pattern, value in rules:
            if re.fullmatch(pattern, name):
                used.add(pattern)
                return value
        raise UserError(
            f"no pattern of optim.lr_multipliers or optim.decay_multipliers matches parameter "
            f"{name!r} of {[p for p, _ in rules]}; end with a pattern for all others: ('.*', 1.0)"
        )

    labels = jax.tree_util.tree_map_with_path(label, params)
    if dead := [pattern for pattern, _ in rules if pattern not in used]:
        raise UserError(
            f"patterns of optim.lr_multipliers or optim.decay_multipliers that match no parameter: "
            f"{dead}; remove them: the first pattern that matches counts"
        )
    return labels


def _check_rule(rule: Any) -> None:
    match rule:
        case (str(pattern), int() | float()):
            try:
                re.compile(pattern)
            except re.error as error:
                raise UserError(
                    f"{pattern!r} is no regular expression ({error}); write it as in 'backbone/.*'"
                ) from error
        case _:
            raise UserError(
                f"{rule!r} is no pair of a pattern and a number, such as ('backbone/.*', 0.1)"
            )


def make_optimizer(
    params: Any,
    *,
    num_steps: int,
    name: str,
    learning_rate: float,
    warmup_steps: int = 0,
    schedule: str = "constant",
    power: float = 0.9,
    gamma: float = 0.1,
    step_size: int = 2000,
    momentum: float = 0.9,
    beta2: float = 0.999,
    weight_decay: float = 0.0,
    lr_multipliers: Rules = ((".*", 1.0),),
    decay_multipliers: Rules = ((".*", 1.0),),
) -> tuple[optax.GradientTransformation, optax.Schedule]:
    """Makes (optimizer, schedule); the keywords are section `optim`, and the length of the run.

    Args:
        params: Parameters of the network, or their shapes.
        num_steps: Number of steps of the whole run, over which `poly` falls to 0.
        name: Update rule: `sgd`, which is Caffe's (v = momentum * v + lr * (g + decay * w),
            w = w - v), or `adamw` with decoupled decay (w = w - lr * (adam(g) + decay * w)).
        learning_rate: Learning rate of the first step, or at the end of the warm-up, before its
            multipliers.
        warmup_steps: First steps, in which the learning rate of the schedule is multiplied by
            (step + 1) / warmup_steps: for large batches. Source: Goyal et al. 2017, Accurate, Large
            Minibatch SGD.
        schedule: Course of the learning rate: `constant`; `poly`, learning_rate *
            (1 - step / num_steps) ** power; or `step`, learning_rate * gamma ** floor(step /
            step_size).
        power: Exponent of `poly`.
        gamma: Factor of `step`, applied every `step_size` steps.
        step_size: Number of steps, 1 or more, between two falls of `step`.
        momentum: Momentum of sgd, in [0, 1); beta1 of adamw.
        beta2: Decay rate of adamw's squared gradients, in [0, 1); what they remember, about
            1 / (1 - beta2) steps, should be shorter than the run.
        weight_decay: Weight decay, before its multipliers.
        lr_multipliers: Ordered (pattern, factor) pairs. The learning rate of a parameter is
            multiplied by the factor of the first pattern that matches its whole path, such as
            `backbone/conv1_1/bias`; a factor of 0 freezes it.
        decay_multipliers: Ordered (pattern, factor) pairs that multiply the weight decay likewise.
    """
    rate = _make_schedule(
        schedule,
        learning_rate=learning_rate,
        num_steps=num_steps,
        power=power,
        gamma=gamma,
        step_size=step_size,
    )
    if warmup_steps:
        rate = _warm_up(rate, warmup_steps)
    signed = {"learning_rate": learning_rate, "warmup_steps": warmup_steps}
    for key, value in {**signed, "weight_decay": weight_decay}.items():
        if value < 0:
            raise UserError(f"optim.{key}={value} must not be negative")
    for key, value in {"momentum": momentum, "beta2": beta2}.items():
        if not 0 <= value < 1:
            raise UserError(f"optim.{key}={value} must lie in [0, 1)")
    decay = _decay(weight_decay, label_params(params, decay_multipliers))
    scale_lr = _multiply(label_params(params, lr_multipliers))
    match name:
        case "sgd":
            parts = decay, optax.scale_by_schedule(rate), scale_lr, optax.trace(momentum)
        case "adamw":
            adam = optax.scale_by_adam(b1=momentum, b2=beta2)
            parts = adam, decay, optax.scale_by_schedule(rate), scale_lr
        case _:
            raise UserError(f"unknown optim.name {name!r}; known: sgd, adamw")
    return optax.chain(*parts, optax.scale(-1.0)), rate


def _warm_up(rate: optax.Schedule, num_steps: int) -> optax.Schedule:
    return lambda step: rate(step) * jnp.minimum(1.0, (step + 1) / num_steps)


def _make_schedule(
    schedule: str,
    *,
    learning_rate: float,
    num_steps: int,
    power: float,
    gamma: float,
    step_size: int,
) -> optax.Schedule:
    """Makes the learning rate as a function of the step."""
    if step_size < 1:
        raise UserError(f"optim.step_size={step_size} must be 1 or more")
    match schedule:
        case "constant":
            return optax.constant_schedule(learning_rate)
        case "poly":
            # Whole numbers until the division: 1 - step / num_steps would lose the last steps.
            return lambda step: (
                learning_rate * (jnp.maximum(num_steps - step, 0) / num_steps) ** power
            )
        case "step":
            return lambda step: learning_rate * gamma ** (step // step_size)
    raise UserError(f"unknown optim.schedule {schedule!r}; known: constant, poly, step")


def _multiply(factors: Any) -> optax.GradientTransformation:
    """Multiplies every update by its own constant."""
    return optax.stateless(
        lambda updates, _: jax.tree.map(lambda update, f: update * f, updates, factors)
    )


def _decay(weight_decay: float, factors: Any) -> optax.GradientTransformation:
    """Adds weight_decay * factor * parameter to every update."""
    return optax.stateless(
        lambda updates, params: jax.tree.map(
            lambda update, p, f: update + weight_decay * f * p, updates, params, factors
        )
    )
