"""What a network of a run costs: multiply-adds, parameters, time."""

import functools
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from fcn_jax.errors import UserError
from fcn_jax.reports.runs import Group, Run


def list_costs(
    groups: Sequence[Group], multiply_adds: Sequence[int | None]
) -> list[tuple[str, list[float]]]:
    """Lists what is known of all costs, as (what, the cost of each group; NaN if not known)."""
    costs = [
        (
            "multiply-adds of an image, G",
            [math.nan if number is None else number / 1e9 for number in multiply_adds],
        ),
        ("parameters, M", [group.first.info["num_params"] / 1e6 for group in groups]),
        ("images/s in training", [group.first.images_per_s for group in groups]),
    ]
    return [(what, numbers) for what, numbers in costs if not all(map(math.isnan, numbers))]


def count_multiply_adds(run: Run, *, height: int, width: int) -> int | None:
    """Counts the multiply-adds of an image of this size; None if the network is not known here."""
    section = {
        key.removeprefix("model."): value
        for key, value in run.conditions.items()
        if key.startswith("model.")
    }
    try:
        return _count(json.dumps(section), len(run.class_names), height, width)
    except (UserError, TypeError, ValueError):  # a network of another version
        return None


@functools.cache
def _count(section: str, num_classes: int, height: int, width: int) -> int:
    # Here and not above: they import jax and flax.
    from fcn_jax.models.layer_table import layer_table
    from fcn_jax.models.zoo import get_model

    keywords: Mapping[str, Any] = json.loads(section)
    model = get_model(**keywords, num_classes=num_classes)
    return sum(row.multiply_adds for row in layer_table(model, height=height, width=width))
