"""The annotations of fcn_jax are checked while these tests run, and shapes against each other."""

from functools import partial

import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from beartype import beartype
from beartype.roar import BeartypeCallHintViolation
from jaxtyping import Float

from fcn_jax.models.vgg import VGG16
from fcn_jax.ops.losses import make_loss
from fcn_jax.ops.metrics import confusion_counts
from fcn_jax.train.options import TrainOptions
from fcn_jax.train.sections import flatten

VIOLATIONS = (BeartypeCallHintViolation, jaxtyping.TypeCheckError)


@pytest.mark.parametrize(
    "call",
    [
        partial(flatten, 3),
        partial(TrainOptions, num_steps="6", batch_size=1),
        partial(make_loss, num_classes=3.5, ignore_label=255),
        partial(VGG16, width="1"),
        partial(
            confusion_counts,
            jnp.zeros((1, 2, 2), int),
            jnp.zeros((1, 2, 3), int),
            num_classes=2,
            ignore_label=255,
        ),
    ],
    ids=["function", "dataclass", "keyword", "network", "shapes"],
)
def test_call_that_breaks_an_annotation_is_an_error(call):
    with pytest.raises(VIOLATIONS):
        call()


def of_a_type(number: int) -> str:
    return number


def of_a_shape(rows: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    return rows[1:]


def of_a_quoted_type(number: int) -> "str":
    return number


@pytest.mark.parametrize(
    ("lie", "argument"), [(of_a_type, 1), (of_a_shape, np.zeros(3)), (of_a_quoted_type, 1)]
)
def test_annotation_that_lies_is_an_error(lie, argument):
    checked = jaxtyping.jaxtyped(typechecker=beartype)(lie)
    with pytest.raises(VIOLATIONS):
        checked(argument)
