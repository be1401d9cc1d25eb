"""A step that was made again, as text for people and as JSON for programs."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from fcn_jax.train.failure import as_json
from fcn_jax.train.replayed_step import Extent, Replay


def to_dict(result: Replay) -> dict[str, Any]:
    """Returns a replay for JSON, in which NaN and infinity are text."""

    def plain(value: Any) -> Any:
        if hasattr(value, "_asdict"):
            return {key: plain(item) for key, item in value._asdict().items()}
        if isinstance(value, list):
            return [plain(item) for item in value]
        return as_json(value) if isinstance(value, float) else value

    first = result.first_not_finite
    facts = {"is_reproduced": result.is_reproduced, "first_not_finite": first and list(first)}
    return {**plain(result), **facts}


def describe(result: Replay) -> Iterator[str]:
    """Writes a replay as lines of at most 80 columns, ids and names of layers permitting."""
    began = f"checkpoint {result.start_step}" if result.start_step else "the beginning"
    yield (
        f"step {result.step}, from {began}: loss {result.loss:.5g}, gradient norm "
        f"{result.grad_norm:.5g}"
    )
    yield f"learning rate {result.learning_rate:.5g}"
    match result.is_reproduced:
        case None:
            yield "the run noted no loss of this step alone, so there is nothing to compare"
        case True:
            yield "the loss and the norm that the run noted are reproduced to the last digit"
        case False:
            yield "NOT REPRODUCED: this is not, to the last digit, what the run noted:"
            yield f"loss {result.noted_loss}, gradient norm {result.noted_grad_norm}"
            yield f"here {result.loss}, {result.grad_norm}"
            yield "other devices, another version of jax or other data change the digits"
    yield ""
    first = result.first_not_finite
    width = max(len("layer"), *(len(layer.name) for layer in result.layers))
    headings = "params", "activation", "gradient", "norm of it", "update"
    yield f"  {'layer':{width}}" + "".join(f" {heading:>10}" for heading in headings)
    for layer in result.layers:
        norm = None if layer.grad_norm is None else f"{layer.grad_norm:.2e}"
        cells = [
            *map(_write, (layer.params, layer.activations, layer.gradient)),
            norm or "",
            _write(layer.update),
        ]
        mark = ">" if first and layer.name == first[0] else " "
        yield f"{mark} {layer.name:{width}}{''.join(f' {cell:>10}' for cell in cells)}".rstrip()
    yield ""
    yield "largest absolute value of each; 12! counts 12 values that are not finite"
    if first:
        yield f"first value that is not finite (>): {first[0]}, {first[1]}"
        if first[1] == "params" and result.step > 1:
            yield f"it was there before this step: --step={result.step - 1} shows the step before"
    elif not np.isfinite([result.loss, result.grad_norm]).all():
        yield "all layers are finite: the loss, or the square of a gradient, is not"
    else:
        yield "everything is finite"
    if result.spoiled:
        yield f"not finite after the step: {len(result.spoiled)} leaves of the state,"
        yield f"first {result.spoiled[0]}"
    yield ""
    yield f"  {'void':>6} {'values':>8} {'loss':>10}  image"
    for image in result.images:
        values = f"{image.lowest}..{image.highest}"
        yield f"  {image.void_frac:6.1%} {values:>8} {image.loss:10.4g}  {image.id}"


def _write(extent: Extent | None) -> str:
    if extent is None:
        return ""
    return f"{extent.not_finite}!" if extent.not_finite else f"{extent.largest:.2e}"
