"""From what was typed, or read from a file, to a value of the annotated type of a parameter.

An int may stand where a float is wanted, a list where a tuple is. Nothing is lost on the way: 2.5
is no int, and a text is no sequence of letters.
"""

import ast
import contextlib
import math
import types
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Union, get_args, get_origin


class Misfit(Exception):
    """A value does not fit; the message is what was wanted."""


def annotation_of(value: Any) -> Any:
    """Returns the annotation of a parameter that has none, from its default."""
    if value is None:
        return Any
    if not isinstance(value, tuple | list):
        return type(value)
    kinds = {type(item) for item in value}
    return tuple[kinds.pop() if len(kinds) == 1 else Any, ...]


def read(text: str, annotation: Any) -> Any:
    """Reads what was typed on a command line.

    Raises:
        Misfit: if it does not fit the annotation.
    """
    if members := _members(annotation):
        return _first(members, lambda member: read(text, member), annotation)
    value = _literal(text)
    if annotation is str:
        return value if isinstance(value, str) else text
    if (element := _element(annotation)) is not None and not isinstance(value, tuple | list):
        # pool4,pool3 needs no quotes, and one value no comma.
        words = [word.strip() for word in text.split(",")] if isinstance(value, str) else [text]
        try:
            return tuple(read(word, element) for word in words if word)
        except Misfit:
            raise Misfit(describe(annotation)) from None
    return fit(value, annotation)


def write(value: Any) -> str:
    """Writes a value as it can be typed behind `--config.SECTION.KEY=`, before quotes of a shell.

    `read` reads it.
    """
    for kind in (int | float, str):
        if isinstance(value, tuple) and value and all(isinstance(item, kind) for item in value):
            return ",".join(map(str, value))
    return (value or "''") if isinstance(value, str) else str(value)


def fit(value: Any, annotation: Any) -> Any:
    """Returns a value as an annotation wants it.

    Raises:
        Misfit: if it does not fit.
    """
    if annotation is Any:
        return tuple(fit(item, Any) for item in value) if isinstance(value, list) else value
    if members := _members(annotation):
        return _first(members, lambda member: fit(value, member), annotation)
    if annotation is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, float) and not math.isfinite(value):  # as 1e999 is read
        raise Misfit(f"{describe(annotation)} that is finite")
    if annotation is int and isinstance(value, float) and value.is_integer():
        return int(value)
    if get_origin(annotation) is Literal and value in get_args(annotation):
        return value
    if _is_sequence(annotation):
        return _fit_items(value, annotation)
    fits = isinstance(annotation, type) and isinstance(value, annotation)
    if fits and (annotation is bool or not isinstance(value, bool)):  # to Python a bool is an int
        return value
    raise Misfit(describe(annotation))


def _fit_items(value: Any, annotation: Any) -> tuple:
    element, wanted = _element(annotation), get_args(annotation)
    if isinstance(value, tuple | list):
        if element is not None:
            wanted = (element,) * len(value)
        with contextlib.suppress(Misfit, ValueError):  # of an item, or another number of them
            return tuple(fit(item, kind) for item, kind in zip(value, wanted, strict=True))
    raise Misfit(describe(annotation))


_NAMES = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    type(None): "none",
    Any: "anything",
}


def describe(annotation: Any) -> str:
    """Says in words what fits."""
    if members := _members(annotation):
        return " or ".join(describe(member) for member in members)
    if get_origin(annotation) is Literal:
        return " or ".join(map(str, get_args(annotation)))
    if (element := _element(annotation)) is not None:
        return "a sequence" + (f", of {describe(element)} each" if element is not Any else "")
    if _is_sequence(annotation):
        return f"({', '.join(describe(item) for item in get_args(annotation))})"
    return _NAMES.get(annotation, f"a value of type {getattr(annotation, '__name__', annotation)}")


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return {"true": True, "false": False, "none": None}.get(text.lower(), text)


def _members(annotation: Any) -> list[Any]:
    """Lists what a union allows, texts last: anything that is typed is a text."""
    if get_origin(annotation) not in (Union, types.UnionType):
        return []
    return sorted(get_args(annotation), key=lambda member: member is str)


def _first(members: Sequence[Any], convert: Any, annotation: Any) -> Any:
    for member in members:
        try:
            return convert(member)
        except Misfit:
            continue
    raise Misfit(describe(annotation))


def _is_sequence(annotation: Any) -> bool:
    kind = get_origin(annotation) or annotation
    return isinstance(kind, type) and issubclass(kind, Sequence) and not issubclass(kind, str)


def _element(annotation: Any) -> Any:
    """Returns what each item of a sequence of any length is; None for all other annotations."""
    if not _is_sequence(annotation) or issubclass(get_origin(annotation) or annotation, Mapping):
        return None
    match get_args(annotation):
        case ():
            return Any
        case (element,) if get_origin(annotation) is not tuple:
            return element
        case (element, end) if end is Ellipsis:
            return element
    return None
