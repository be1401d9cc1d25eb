"""Checks the annotations of fcn_jax while it is tested.

A call that breaks an annotation, or an annotation that lies about a call, is an error. jaxtyping
holds against each other the shapes that a call mentions, which makes a call ten times as dear as
beartype alone does. So of the functions only those that mention shapes are handed to it, and of the
others those that beartype alone takes otherwise: it would check what a generator yields, and it
lets the constructors of flax's modules be.
"""

from collections.abc import Callable
from inspect import get_annotations, isgeneratorfunction
from typing import Any, ForwardRef, get_args

import jaxtyping

_jaxtyped = jaxtyping.jaxtyped


def install() -> None:
    """Has every function and dataclass checked; call it before anything of fcn_jax is imported."""
    jaxtyping.jaxtyped = _checked
    jaxtyping.install_import_hook(
        ["fcn_jax"],
        # As PEP 484 has it, an int may stand where a float is asked for.
        "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))",
    )


def _checked(*, typechecker: Callable) -> Callable:
    """Stands for the decorator that the hook puts on every function and class."""

    def decorate(target):
        shapes = isinstance(target, type) or isgeneratorfunction(target) or _has_shapes(target)
        return _jaxtyped(target, typechecker=typechecker) if shapes else typechecker(target)

    return decorate


def _has_shapes(function: Callable) -> bool:
    return any(_mentions_shapes(part) for part in get_annotations(function).values())


def _mentions_shapes(annotation: Any) -> bool:
    if isinstance(annotation, str | ForwardRef):
        return True  # whatever it is the name of
    parts = annotation if isinstance(annotation, list) else get_args(annotation)
    of_jaxtyping = type(annotation).__module__.partition(".")[0] == "jaxtyping"
    return of_jaxtyping or any(_mentions_shapes(part) for part in parts)
