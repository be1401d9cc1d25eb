"""Networks at random values."""

import inspect

from fcn_jax.data.labels import LabelSet
from fcn_jax.models.zoo import find_takers, get_model
from fcn_jax.train import sections
from fcn_jax.train.trained import Trained

NAMES = ("background", "cat", "dog")
NARROW = {"width": 1 / 64, "fc_channels": 4, "side_channels": 2}


def make_net(draw_variables, name: str, **options) -> Trained:
    """Makes a narrow network of three classes."""
    known = {key for taker in find_takers(name) for key in inspect.signature(taker).parameters}
    narrow = {key: value for key, value in NARROW.items() if key in known}
    section = sections.resolve_section("model", {"name": name, **narrow, **options})
    model = get_model(**section, num_classes=len(NAMES))
    labels = LabelSet.in_voc_colors(NAMES)
    return Trained(model, draw_variables(model), labels, section, origin={"step": 7})
